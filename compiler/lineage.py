"""Where a package comes from: the model file, the versions that compiled it, the machine that measured it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanderling import __version__

if TYPE_CHECKING:
    from .frontends import OnnxModel

_TOOLS = ("apache-tvm", "numpy", "onnx")


def describe_source(model: OnnxModel) -> dict[str, Any]:
    """`lineage` of the manifest. Of the model's path only the file's name is kept."""
    return {
        "source_sha256": model.sha256,
        "source_name": Path(model.name).name,
        "opset": model.opset,
        "producer": f"{model.proto.producer_name} {model.proto.producer_version}".strip(),
        "compiler": {"sanderling": __version__, **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def machine_name() -> str:
    """The CPU's name as it gives it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.machine()
