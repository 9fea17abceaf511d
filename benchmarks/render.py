"""Pictures and pages from committed results: `python -m benchmarks.render [--folder benchmarks/results]`.

Every figure comes from the JSON beside it, so whoever doubts a picture can look up the number.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results import RESULTS, machine_text, read
from sanderling.compiler.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS = "#0b7a75", "#c98a2b"
Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    folder: Path = parser.parse_args(arguments).folder
    for path in sorted(folder.glob("*.json")):
        document = read(path)
        draw = DRAWINGS.get(path.stem)
        if draw is not None:
            _picture(document, draw, path.with_suffix(".png"))
        with replacing(path.with_suffix(".html")) as file:
            file.write(
                page(path.stem, document, picture=path.with_suffix(".png").name if draw else None).encode()
            )
        print(path.with_suffix(".html"))
    return 0


def _picture(document: Document, draw: Callable[[Document, Axes], None], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = len(document["rows"])
    figure, axes = plt.subplots(figsize=(8, max(2.4, 0.62 * rows + 1.2)), layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    draw(document, axes)
    figure.supxlabel(f"{machine_text(document)}, {document['date']}", fontsize=8, color="#666")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)


def _latency(document: Document, axes: Axes) -> None:
    rows = document["rows"]
    for index, row in enumerate(rows):
        own, peer = row["native"]["p50_ms"], row["onnxruntime"]["p50_ms"]
        axes.barh(index - 0.19, own, 0.36, color=OURS, label="Sanderling" if index == 0 else None)
        axes.barh(index + 0.19, peer, 0.36, color=THEIRS, label="ONNX Runtime" if index == 0 else None)
        axes.text(own, index - 0.19, f" {own:.2f} ms ({row['ratio']:.2f} ×)", va="center", fontsize=8)
        axes.text(peer, index + 0.19, f" {peer:.2f} ms", va="center", fontsize=8)
    many = len({row["threads"] for row in rows}) > 1
    names = [
        f"{row['model']}\n{row['target']}" + (f", {row['threads']} threads" if many else "") for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_xlabel("median milliseconds, in turns" + ("" if many else f", {rows[0]['threads']} thread"))
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _compile_time(document: Document, axes: Axes) -> None:
    rows = document["rows"]
    axes.barh(
        [f"{row['model']},\ndatabase: {row['database']}" for row in rows],
        [row["seconds"] for row in rows],
        color=OURS,
    )
    for index, row in enumerate(rows):
        axes.text(row["seconds"], index, f" {row['seconds']:.1f} s", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("seconds")


def _footprint(document: Document, axes: Axes) -> None:
    rows = [row for row in document["rows"] if "stripped_bytes" in row]
    axes.barh([row["what"] for row in rows], [row["stripped_bytes"] / 1000 for row in rows], color=OURS)
    for index, row in enumerate(rows):
        needs = ", ".join(row["needs"]) or "nothing"
        text = f" {row['stripped_bytes'] / 1000:.0f} kB, needs {needs}"
        axes.text(row["stripped_bytes"] / 1000, index, text, va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 3 * max(row["stripped_bytes"] for row in rows) / 1000)
    axes.set_xlabel("kilobytes, stripped")


DRAWINGS: dict[str, Callable[[Document, Axes], None]] = {
    "latency": _latency,
    "compile_time": _compile_time,
    "footprint": _footprint,
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1c2529; }}
body {{ max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; }} code {{ background: #f2f2ee; padding: 0.1em 0.3em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #d9e0e3; padding: 0.3rem 0.7rem; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
<p>{date}, {machine}. Made by <code>{command}</code>.</p>
{picture}
{table}
<p>{versions}</p>
</body></html>
"""


def page(name: str, document: Document, picture: str | None) -> str:
    """One HTML page: picture and all rows."""
    title = escape(name.replace("_", " ").replace("-", " "))
    return _PAGE.format(
        title=title,
        date=escape(document["date"]),
        machine=escape(machine_text(document)),
        command=escape(document["command"]),
        picture=f'<img src="{escape(picture)}" alt="{title}">' if picture else "",
        table=_table(document["rows"]),
        versions=escape(", ".join(f"{name} {version}" for name, version in document["versions"].items())),
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    flat = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row.get(name, '')))}</td>" for name in columns) + "</tr>"
        for row in flat
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _flatten(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name} ")
        else:
            flat[prefix + name] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat


if __name__ == "__main__":
    sys.exit(main())
