"""The page that `sanderling bench --html` writes: one file with everything inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sanderling.cli.charts import bars, histogram
from sanderling.cli.console import size
from sanderling.cli.contest import Result
from sanderling.compiler.files import replacing

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; color: #223; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #dde; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { font-size: 13px; fill: #445; }
.series0 { fill: #2a7f9e; opacity: .85; } .series1 { fill: #d98236; opacity: .65; }
.median0 { stroke: #1b5a70; } .median1 { stroke: #a65c1e; } .axis { stroke: #99a; }
.soft { color: #667; } .swatch { display: inline-block; width: .8em; height: .8em; border-radius: .2em; }
.swatch0 { background: #2a7f9e; } .swatch1 { background: #d98236; }
"""
_COLUMNS = ("min", "p50", "p90", "p99", "mean", "runs/s", "first", "load", "error")


def write(path: Path, document: Mapping[str, Any], results: Sequence[Result]) -> None:
    """Write the page. Raises OSError."""
    with replacing(path) as file:
        file.write(page(document, results).encode())


def page(document: Mapping[str, Any], results: Sequence[Result]) -> str:
    """`document` is what `--json` writes; each number of threads gets a section."""
    machine = "{cpu}, {cpus} CPUs, {system}".format_map(document["machine"])
    threads = dict.fromkeys(result.threads for result in results)
    sections = "\n".join(_section([r for r in results if r.threads == count]) for count in threads)
    title = escape(f"{document['model']}: latency")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p class="soft">{escape(machine)}; package {size(document["package_bytes"])}.
 Every runtime in a process of its own, in turns, on the same inputs.</p>
{sections}
</body></html>
"""


def _section(results: Sequence[Result]) -> str:
    count = results[0].threads
    head = "".join(f"<th>{name}</th>" for name in ("ms", *_COLUMNS))
    times = histogram({r.entry.name: r.milliseconds for r in results}, "milliseconds per run", width=900)
    memory = bars({r.entry.name: (r.peak_bytes, size(r.peak_bytes)) for r in results})
    rows = "\n".join(_row(index, result) for index, result in enumerate(results))
    return f"""<h2>{count} thread{"s" if count > 1 else ""}</h2>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<h3>Time per run</h3>{times}
<h3>Peak memory</h3>{memory}"""


def _row(index: int, result: Result) -> str:
    latency = result.latency
    times = (latency.min_ms, latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.mean_ms)
    cells = [f"{value:.3f}" for value in times]
    cells += [f"{latency.throughput:.1f}", f"{result.first_ms:.2f}", f"{result.load_ms:.1f}"]
    cells += ["reference" if result.error is None else f"{result.error:.1e}"]
    name = escape(f"{result.entry.name} {result.version}")
    swatch = f'<span class="swatch swatch{index}"></span>'
    return f"<tr><td>{swatch} {name}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
