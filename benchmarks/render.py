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
from sanderling.cli import bench_document, bench_report
from sanderling.cli.bench_figures import RUNTIMES
from sanderling.compiler.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS = RUNTIMES["sanderling"][1]
Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    folder: Path = parser.parse_args(arguments).folder
    for path in sorted(folder.glob("*.json")):
        if path.stem == "latency":
            print(_latency(path))
            continue
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


def _latency(path: Path) -> Path:
    """Page beside the document, pictures in a folder of its name: just those of this document."""
    document = bench_document.read(path)
    page_path, pictures = path.with_suffix(".html"), path.with_suffix("")
    bench_report.write(page_path, document)
    drawn = bench_report.write_pictures(pictures, document)
    for left in set(pictures.glob("*.png")) - set(drawn):
        left.unlink()
    return page_path


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
