"""What a benchmark ran on, so that its numbers mean something next year."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("sanderling", "apache-tvm", "numpy", "onnx", "onnxruntime")


def describe_machine() -> dict[str, Any]:
    """CPU, cores that this process may use, memory, system. Nothing that tells whose machine it is."""
    return {
        "cpu": _first(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo")) or platform.machine(),
        "arch": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(_first(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo")) or 0) * 1024,
        "system": _first(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release")) or "Linux",
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Python and the installed packages that shape results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _first(pattern: str, path: Path) -> str | None:
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1).strip() if found else None
