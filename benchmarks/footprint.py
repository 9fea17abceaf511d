"""What the runtime weighs: size and needs of its libraries; a cold start and peak memory of `sanderling-run`.

python -m benchmarks.footprint [--starts 20] [--model mobilenet_v2]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import names, prepare
from benchmarks.results import RESULTS, write
from sanderling import compiler
from sanderling.cli.arguments import positive_int
from sanderling.cli.console import Progress
from sanderling.runtime import _core

FOLDER = Path(_core.__file__).parent
FILES = ("libsanderling.so", Path(_core.__file__).name, "sanderling-run")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--starts", type=positive_int, default=20, help="fresh processes (default: 20)")
    parser.add_argument("--model", choices=names(), default="mobilenet_v2")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sanderling-footprint-") as name:
        folder = Path(name)
        rows = [_library(FOLDER / file, folder) for file in FILES]
        rows.append(_start(args.model, folder, args.starts))
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    print(write(args.output, "footprint", arguments, rows))
    return 0


def _library(path: Path, folder: Path) -> dict[str, Any]:
    """Size as installed and stripped, and the libraries that the file names as needed."""
    stripped = folder / path.name
    shutil.copy(path, stripped)
    subprocess.run(["strip", "--strip-all", stripped], check=True)
    dynamic = subprocess.run(
        ["readelf", "--dynamic", "--wide", path], check=True, capture_output=True, text=True
    )
    return {
        "what": "_core" if path.name.startswith("_core") else path.name,
        "bytes": path.stat().st_size,
        "stripped_bytes": stripped.stat().st_size,
        "needs": re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic.stdout),
    }


def _start(name: str, folder: Path, starts: int) -> dict[str, Any]:
    """A cold process up to its first result, whole process by whole process, against its own median run.

    Runs and starts are interleaved, so that both see the same machine. Peak memory is what the process itself
    reads at its end (VmHWM): what the kernel tells the parent would include the parent's own memory.
    """
    model, package = prepare(name, folder), folder / f"{name}.sand"
    with Progress() as progress:
        compiler.compile(model.path, output=package, pipeline=model.pipeline, progress=progress)
    walls, firsts, memory, medians = [], [], [], []
    for _ in range(starts):
        began = time.perf_counter()
        start = _run(package, "--runs", "0")
        walls.append(1000 * (time.perf_counter() - began))
        firsts.append(start["before_main_ms"] + start["first_ms"])
        memory.append(start["peak_rss_bytes"])
        medians.append(_run(package, "--runs", "30")["p50_ms"])
    run = statistics.median(medians)
    return {
        "what": f"sanderling-run {name}",
        "variant": start["variant"],
        "starts": starts,
        "median_run_ms": round(run, 3),
        "process_to_first_result_ms": round(statistics.median(firsts), 3),
        "whole_process_ms": round(statistics.median(walls), 3),
        "whole_process_above_a_run_ms": round(statistics.median(walls) - run, 3),
        "peak_memory_bytes": max(memory),
    }


def _run(package: Path, *arguments: str) -> dict[str, Any]:
    command = [FOLDER / "sanderling-run", package, "--json", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.exit(main())
