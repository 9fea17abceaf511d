"""The README's figures, written from the committed results: `python -m benchmarks.readme [--check]`.

Nobody copies a number by hand, and a test fails when README and results differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, machine_text, read
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
    sections = {
        "latency": _latency,
        "footprint": _footprint,
        "compile_time": _compile_time,
        "birds-accuracy": _accuracy,
    }
    parts = [
        write(read(folder / f"{name}.json"))
        for name, write in sections.items()
        if (folder / f"{name}.json").exists()
    ]
    return "\n\n".join(parts) or "No results are committed yet."


def _latency(document: dict[str, Any]) -> str:
    rows = [
        [
            row["model"],
            row["target"],
            str(row["threads"]),
            f"{row['native']['p50_ms']:.2f}",
            f"{row['onnxruntime']['p50_ms']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['error']:.0e}",
        ]
        for row in document["rows"]
    ]
    header = ["model", "target", "threads", "Sanderling, ms", "ONNX Runtime, ms", "ratio", "largest error"]
    where = f"{machine_text(document)}, {document['date']}"
    return (
        "Median latency of one call from Python, in turns with ONNX Runtime "
        f"{document['versions']['onnxruntime']} on one machine ({where}). The error is relative to the "
        "largest output. [All figures](benchmarks/results/latency.json), "
        "[picture](benchmarks/results/latency.png).\n\n" + _table(header, rows)
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
