"""The README's figures, written from the committed results: `python -m benchmarks.readme [--check]`.

Nobody copies a number by hand, and a test fails when README and results differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, read
from sanderling.cli import bench_document
from sanderling.cli.bench_document import Document, Row
from sanderling.cli.bench_figures import best, contestants, display_name, identity, mean, speed_ups, unique
from sanderling.cli.bench_text import shortened, three
from sanderling.compiler.files import replacing

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: written by `python -m benchmarks.readme` -->", "<!-- end of figures -->"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the README is out of date"
    )
    args = parser.parse_args(arguments)
    text = README.read_text(encoding="utf-8")
    wanted = updated(text, figures(RESULTS))
    if args.check:
        return int(text != wanted)
    with replacing(README) as file:
        file.write(wanted.encode())
    return 0


def updated(text: str, content: str) -> str:
    """`text` with `content` between the marks. Raises ValueError if the marks are not there exactly once."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"the README needs {BEGIN!r} and {END!r}, once")
    return pattern.sub(lambda _: f"{BEGIN}\n{content}\n{END}", text)


def figures(folder: Path) -> str:
    """Markdown for those results that are there."""
    sections: dict[str, Callable[[Path], str]] = {
        "latency": lambda path: _latency(bench_document.read(path)),
        "footprint": lambda path: _footprint(read(path)),
        "compile_time": lambda path: _compile_time(read(path)),
        "birds-accuracy": lambda path: _accuracy(read(path)),
    }
    paths = {name: folder / f"{name}.json" for name in sections}
    parts = [write(paths[name]) for name, write in sections.items() if paths[name].exists()]
    return "\n\n".join(parts) or "No results are committed yet."


def _latency(document: Document) -> str:
    rows = [row for row in document.rows if row.ours or row.target == "native"]
    who = contestants(rows)
    by_place = {(row.model, row.threads, identity(row)): row for row in rows}
    places = dict.fromkeys((row.model, row.threads) for row in sorted(rows, key=lambda row: row.threads))
    header = ["median, ms", "threads", *(contestant.name for contestant in who.values())]
    lines = [
        [model, str(threads), *_medians([by_place.get((model, threads, one)) for one in who])]
        for model, threads in places
    ]
    versions = unique(
        f"{display_name(row.runtime)} {row.version}" for row in rows if row.version and not row.ours
    )
    where = f"{document.machine_text}, {document.date}; {', '.join(versions)}"
    return "\n\n".join(
        [_PICTURE, _ABOUT.format(where), _table(header, lines), _means(rows), *_not_right(rows)]
    )


_PICTURE = (
    "![A peer's median divided by ours, for each model, target and number of threads]"
    "(benchmarks/results/latency/speed-up.png)"
)
_ABOUT = (
    "Medians of one call from Python, float32, batch 1; the runtimes took turns, each in a process of its "
    "own ({}). Bold is the fastest. [Everything measured](benchmarks/results/latency.html), with memory, "
    "start-up and rooflines; [how](docs/benchmarks.md)."
)


def _medians(rows: Sequence[Row | None]) -> list[str]:
    """A cell a row; only right answers can be the fastest."""
    fastest = min((row.p50_ms for row in rows if row and row.right), default=0.0)
    return [_median(row, fastest) for row in rows]


def _median(row: Row | None, fastest: float) -> str:
    if row is None:
        return "–"
    if not row.right:
        return row.outcome
    median = three(row.p50_ms)
    return f"**{median}**" if row.p50_ms == fastest else median


def _means(rows: Sequence[Row]) -> str:
    """Geometric means, and every loss by name."""
    pairs = speed_ups(rows)
    lines = []
    for target, threads in dict.fromkeys((pair.own.target, pair.own.threads) for pair in pairs):
        group = [pair for pair in pairs if (pair.own.target, pair.own.threads) == (target, threads)]
        peers = unique(pair.peer.runtime for pair in group)
        each = [(peer, mean(pair for pair in group if pair.peer.runtime == peer)) for peer in peers]
        lost = [f"{pair.own.model} ({pair.ratio:.2f})" for pair in best(group) if pair.ratio < 1]
        lines.append(
            [
                f"Sanderling {target}",
                str(threads),
                f"{mean(best(group)):.2f}",
                ", ".join(f"{display_name(peer)} {ratio:.2f}" for peer, ratio in each),
                ", ".join(lost) or "none",
            ]
        )
    columns = ("threads", "fastest peer", "each peer", "slower than the fastest peer")
    return _table(["peer's median ÷ ours, geometric mean", *columns], lines)


def _not_right(rows: Sequence[Row]) -> list[str]:
    """One line for each reason why a number is missing."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if not row.right:
            why = f"{row.outcome}: {shortened(row.note or 'no reason given', 200)}"
            reasons.setdefault(why, []).append(f"{display_name(row.runtime)} with {row.model}")
    return (
        ["; ".join(f"{', '.join(unique(which))} {why}" for why, which in reasons.items()) + "."]
        if reasons
        else []
    )


def _footprint(document: dict[str, Any]) -> str:
    libraries = {row["what"]: row for row in document["rows"] if "stripped_bytes" in row}
    start = next(row for row in document["rows"] if "starts" in row)
    runtime, core = libraries["libsanderling.so"], libraries["_core"]
    both = runtime["stripped_bytes"] + core["stripped_bytes"]
    return _table(
        ["footprint", ""],
        [
            [
                "`libsanderling.so`, stripped",
                f"{runtime['stripped_bytes'] / 1000:.0f} kB; needs {', '.join(runtime['needs'])}",
            ],
            ["with Python's `_core`", f"{both / 1000:.0f} kB"],
            [
                f"`{start['what']}`: cold process, start to end",
                f"{start['whole_process_ms']:.1f} ms (a run: {start['median_run_ms']:.1f} ms)",
            ],
            ["peak memory of that process", f"{start['peak_memory_bytes'] / 1e6:.1f} MB"],
        ],
    )


def _compile_time(document: dict[str, Any]) -> str:
    rows = [
        [f"compile {row['model']}, tuning database: {row['database']}", f"{row['seconds']:.0f} s"]
        for row in document["rows"]
    ]
    return _table(["compilation, comparison with ONNX Runtime included", ""], rows)


def _accuracy(document: dict[str, Any]) -> str:
    overall = {row["metric"]: row["value"] for row in document["rows"] if "class" not in row}
    scenes = document["scenes"]["rendered"]
    rows = [
        [f"{metric}, {scenes} rendered scenes of unseen seeds", f"{value:.2f}"]
        for metric, value in overall.items()
    ]
    return _table(["accuracy of the bird detector", ""], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
