"""Where results go and what every one of them says: machine, versions, date, command, rows."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sanderling.cli.machine import describe_machine, versions
from sanderling.cli.session import write_json

RESULTS = Path(__file__).parent / "results"


def write(
    folder: Path, name: str, arguments: Sequence[str] | None, rows: list[dict[str, Any]], **facts: Any
) -> Path:
    """Write `<folder>/<name>.json` whole or not at all, and return its path."""
    document = {
        "benchmark": name,
        "command": command_line(name, arguments),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "versions": versions(),
        **facts,
        "rows": rows,
    }
    return save(folder, name, document)


def command_line(name: str, arguments: Sequence[str] | None) -> str:
    """How a benchmark was called. Where its file lies does not matter, and may be nobody's business."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--output" in given:
        del given[given.index("--output") : given.index("--output") + 2]
    return shlex.join(["python", "-m", f"benchmarks.{name}", *given])


def save(folder: Path, name: str, document: dict[str, Any]) -> Path:
    """Write a finished document as `<folder>/<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_json(path, document)
    return path


def machine_text(document: dict[str, Any]) -> str:
    """The machine in words. `sanderling.models`, which knows nothing of this module, writes words already."""
    machine = document["machine"]
    return (
        machine
        if isinstance(machine, str)
        else f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}"
    )


def read(path: Path) -> dict[str, Any]:
    """A document that `write` wrote."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
