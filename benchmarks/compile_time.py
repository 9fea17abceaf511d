"""How long a compilation takes: with no tuning database at all, then with the one that the first run left.

    python -m benchmarks.compile_time [--model mobilenet_v2]

Each compilation is a process of its own, start of Python and check against ONNX Runtime included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import names, prepare
from benchmarks.results import RESULTS, write

# The database that ships with the project would answer before anything is measured, so it is taken away.
_COMPILE = """
import sys
from pathlib import Path
from sanderling.compiler import database
from sanderling.cli import main
database._SHIPPED = Path(sys.argv.pop(1))
sys.exit(main())
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_time", description=__doc__)
    parser.add_argument("--model", choices=names(), default="mobilenet_v2")
    parser.add_argument("--target", default="host")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sanderling-compile-") as name:
        folder = Path(name)
        model = prepare(args.model, folder)
        for database in ("none", "from the first run"):
            seconds = _seconds(model.path, folder, args.target)
            rows.append(
                {
                    "model": args.model,
                    "target": args.target,
                    "database": database,
                    "seconds": round(seconds, 2),
                }
            )
            print(f"{args.model}, database {database}: {seconds:.1f} s", flush=True)
    print(write(args.output, "compile_time", arguments, rows))
    return 0


def _seconds(model: Path, folder: Path, target: str) -> float:
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-c",
        _COMPILE,
        empty,
        "compile",
        model,
        "-o",
        folder / "out.sand",
        "--target",
        target,
    ]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
