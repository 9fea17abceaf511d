"""A benchmark document as it grows: where results come from, what the machine can do, the file in the end."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sanderling.cli import contest
from sanderling.cli.agreement import TOLERANCE
from sanderling.cli.bench_document import SCHEMA
from sanderling.cli.contest import Limits
from sanderling.cli.machine import describe_machine, versions
from sanderling.compiler.errors import CompileError
from sanderling.compiler.files import replacing
from sanderling.compiler.serve import Server


def new_document(limits: Limits, seed: int, command: str) -> dict[str, Any]:
    """A document without results; docs/benchmarks.md says what everything means."""
    return {
        "schema": SCHEMA,
        "benchmark": "latency",
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "versions": versions(),
        "limits": {},
        "settings": {
            **({"runs": limits.runs} if limits.by_count else {"duration_s": limits.seconds}),
            "pause_ms": 1000 * contest.PAUSE_SECONDS,
            "turn_ms": 1000 * contest.TURN_SECONDS,
            "warm_up_s": contest.WARM_UP_SECONDS,
            "starts": limits.starts,
            "pinned": True,
            "batch": 1,
            "seed": seed,
            "tolerance": TOLERANCE,
        },
        "rows": [],
        "layers": [],
    }


def machine_limits(targets: Iterable[str], server: Server | None = None) -> dict[str, Any]:
    """What one core of this machine (or the server's) can do for each target: the document's `limits`.

    Empty, with a warning, where nothing can be compiled.
    """
    from sanderling.compiler.limits import measure_limits
    from sanderling.compiler.target import known_targets

    known = known_targets()
    wanted = [known[name] for name in dict.fromkeys(targets) if name in known]
    try:
        with tempfile.TemporaryDirectory(prefix="sanderling-limits-") as folder:
            if server is not None:
                return measure_limits(server, wanted, Path(folder)).to_json()
            with Server() as own:
                return measure_limits(own, wanted, Path(folder)).to_json()
    except (CompileError, ModuleNotFoundError) as error:
        warnings.warn(f"the limits of the machine were not measured: {error}", stacklevel=2)
        return {}


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Whole or not at all. Raises OSError."""
    with replacing(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")
