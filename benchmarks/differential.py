"""Random graphs of everything that image models use, compiled for AVX2 and AVX-512, against ONNX Runtime.

    python -m benchmarks.differential --graphs 100 --seed 0     # writes differential.json
    python -m benchmarks.differential --minutes 10              # new seeds for as long, and no file

A graph is right if it is so for every target that this machine can run, with one thread and with two. What
fails is made small and saved as `.onnx`, with the verdict beside it, in the folder `--failures`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import onnx

from benchmarks.results import RESULTS, write
from tests.support.differential import TARGETS, THREADS, Court, Verdict
from tests.support.random_graphs import OPERATORS, operators, random_graph
from tests.support.shrink import shrunk


@dataclass
class Tally:
    """What has been found so far."""

    graphs: int = 0
    native: int = 0
    right: int = 0
    nodes: int = 0
    runs: int = 0
    error: float = 0.0
    covered: Counter[str] = field(default_factory=Counter)
    missing: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, seed: int, model: onnx.ModelProto, verdict: Verdict, reproducer: Path | None) -> None:
        self.graphs += 1
        self.native += verdict.native
        self.right += verdict.right
        self.nodes += len(model.graph.node)
        self.runs += verdict.runs
        self.error = max(self.error, verdict.error if verdict.right else 0.0)
        self.covered.update(operators(model))
        self.missing += [{"seed": seed, **row} for row in verdict.missing]
        if reproducer is not None:
            row = {"seed": seed, "wrong": verdict.wrong, "reproducer": reproducer.name}
            self.failures.append(row)

    def rows(self) -> list[dict[str, Any]]:
        """One row of counts, then one for each operator: in how many graphs it is."""
        counts = {
            "graphs": self.graphs,
            "right": self.right,
            "native": self.native,
            "nodes": self.nodes,
            "runs": self.runs,
            "operators": len(self.covered),
            "largest_error": float(f"{self.error:.1g}"),
        }
        return [counts, *({"operator": op, "graphs": self.covered[op]} for op in sorted(OPERATORS))]

    def __str__(self) -> str:
        return (
            f"{self.graphs} graphs: {self.right} right, {self.native} fully native; {len(self.covered)} of "
            f"{len(OPERATORS)} operators, {self.runs} runs, largest error {self.error:.1e}"
        )


def judged(seeds: Iterable[int], failures: Path) -> Iterator[Tally]:
    """Judges the graphs of the seeds, the same tally after each."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="sanderling-graphs-") as folder, Court(Path(folder)) as court:
        for seed in seeds:
            model = random_graph(seed)
            verdict = court.judge(model)
            reproducer = None if verdict.right else _reproducer(court, model, verdict, failures, seed)
            tally.add(seed, model, verdict, reproducer)
            if not (verdict.right and verdict.native):
                nodes = "; ".join(f"{row['node']} ({row['op']}): {row['reason']}" for row in verdict.missing)
                print(f"seed {seed}: {verdict.wrong or 'not native: ' + nodes}", flush=True)
            yield tally


def _reproducer(court: Court, model: onnx.ModelProto, verdict: Verdict, folder: Path, seed: int) -> Path:
    """The file with the smallest model that fails in the same way."""

    def kind(text: str) -> str:
        return re.sub(r"[\w.]*\d[\w.-]*", "#", text)[:60]

    small = shrunk(model, lambda other: kind(court.judge(other).wrong) == kind(verdict.wrong))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"graph_{seed}.onnx"
    onnx.save(small, path)
    text = f"{verdict.wrong}\n\nmade small:\n{court.judge(small).wrong}\n\n{onnx.printer.to_text(small)}\n"
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.differential", description=__doc__)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first graph")
    parser.add_argument("--minutes", type=float, help="go on that long, whatever --graphs says; no results")
    parser.add_argument("--failures", type=Path, default=Path("build/differential"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    seeds: Iterable[int] = range(args.seed, args.seed + args.graphs)
    if args.minutes is not None:
        seeds = _until(time.monotonic() + 60 * args.minutes, args.seed)
    tally = Tally()
    for tally in judged(seeds, args.failures):
        if tally.graphs % 10 == 0:
            print(tally, flush=True)
    print(tally)
    if args.minutes is None:
        facts = {"targets": list(TARGETS), "threads": list(THREADS)}
        notes = {"failures": tally.failures, "not_native": tally.missing}
        print(write(args.output, "differential", arguments, tally.rows(), **facts, **notes))
    return int(tally.right < tally.graphs)


def _until(end: float, first: int) -> Iterator[int]:
    for seed in count(first):
        if time.monotonic() >= end:
            return
        yield seed


if __name__ == "__main__":
    sys.exit(main())
