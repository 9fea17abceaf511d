"""Random inputs for everything that reads a file: `make fuzz`, or `python -m benchmarks.fuzz --build DIR`.

Runs each libFuzzer target of cpp/fuzz, built with AddressSanitizer and UndefinedBehaviorSanitizer, for a
number of inputs, and says how many it executed, what it found, and how much of the code under test they
reached: edges of the control-flow graph of the files that the target is about, out of all edges there. (Those
of the sanitizers' own checks, whose failure branches must not be reached, are among them.) The corpus is kept
beside the target, so a later run starts from it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, write
from sanderling.cli.arguments import positive_int

# Target → the sources whose coverage counts.
TARGETS: Mapping[str, str] = {
    "package": r"cpp/src/(api/package|core/(zip|plan|plan_calls|plan_buffers|pipeline|crc32|sha256))\.(cc|h)",
    "plan": r"cpp/src/core/(plan|plan_calls|plan_buffers|pipeline|executor)\.(cc|h)",
    "elf": r"cpp/src/core/elf\.(cc|h)",
}
_LIMITS = ("-timeout=5", "-rss_limit_mb=1024")
_FINDINGS = ("crash-*", "leak-*", "oom-*", "slow-unit-*", "timeout-*")
_COVERED = re.compile(r"^(?:UN)?COVERED_FUNC: hits: \d+ edges: (\d+)/(\d+) .* (\S+):\d+$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="the folder with the targets")
    parser.add_argument("--runs", type=positive_int, default=1_000_000, help="inputs per target")
    parser.add_argument("--seed", type=positive_int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    rows = []
    for name, sources in TARGETS.items():
        rows.append(fuzz(name, args.build / f"fuzz_{name}", sources, args.runs, args.seed))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    options = ["--runs", str(args.runs), "--seed", str(args.seed)]
    write(args.output, "fuzz", ["--build", "build/fuzz", *options], rows, sanitizers=["address", "undefined"])
    return 1 if any(row["findings"] for row in rows) else 0


def fuzz(name: str, target: Path, sources: str, runs: int, seed: int) -> dict[str, Any]:
    """One row: inputs executed, coverage, findings, which lie in the target's folder of that name."""
    corpus, found = (Path(f"{target}.{part}") for part in ("corpus", "findings"))
    for folder in (corpus, found):
        folder.mkdir(exist_ok=True)
    for pattern in _FINDINGS:
        for old in found.glob(pattern):
            old.unlink()
    started = time.monotonic()
    command = [str(target), f"-runs={runs}", f"-seed={seed}", *_LIMITS, f"-artifact_prefix={found}/"]
    with Path(f"{target}.log").open("wb") as log:
        done = subprocess.run(
            [*command, "-print_final_stats=1", str(corpus)], stderr=log, stdout=log, check=False
        )
    seconds = time.monotonic() - started
    said = Path(f"{target}.log").read_text(errors="replace")
    findings = sorted(path.name for pattern in _FINDINGS for path in found.glob(pattern))
    if done.returncode and not findings:
        raise SystemExit(f"{target} ended with status {done.returncode}:\n{said[-2000:]}")
    reached, edges = coverage(target, corpus, sources)
    return {
        "target": name,
        "inputs": executed(said),
        "findings": findings,
        "seconds": round(seconds),
        "edges": edges,
        "reached": reached,
        "coverage": round(reached / edges, 3),
        "corpus": len(list(corpus.iterdir())),
    }


def executed(log: str) -> int:
    """How many inputs libFuzzer says it executed; where it was ended by a finding, the last it counted."""
    counts = re.findall(r"^(?:stat::number_of_executed_units: |#)(\d+)", log, re.MULTILINE)
    return int(counts[-1]) if counts else 0


def coverage(target: Path, corpus: Path, sources: str) -> tuple[int, int]:
    """Edges that the corpus reaches in the files whose path ends in a match of `sources`, and all of them."""
    command = [str(target), "-runs=0", "-print_coverage=1", *_LIMITS, str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    return count_edges(done.stderr, sources)


def count_edges(report: str, sources: str) -> tuple[int, int]:
    """Of libFuzzer's coverage report: edges reached and all edges, of functions in the matching files."""
    pattern = re.compile(rf"(?:^|/){sources}$")
    rows = [
        (int(reached), int(edges))
        for reached, edges, file in _COVERED.findall(report)
        if pattern.search(file)
    ]
    return sum(reached for reached, _ in rows), sum(edges for _, edges in rows)


if __name__ == "__main__":
    sys.exit(main())
