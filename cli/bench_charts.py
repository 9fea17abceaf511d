"""Charts as PNG for files, and as SVG for pages that follow the reader's light or dark colours.

A chart is a list of panels. A PNG holds them all in a grid; a page shows each as a picture of its own, so
that they flow into as many columns as fit. The same chart gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE = "#1c2529", "#5b6a70", "#d9e0e3"
_PAGE_COLOURS = {INK: "currentColor", SOFT: "var(--soft)", LINE: "var(--line)"}
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
}
_WIDTH = 3.7  # of a panel, inches, as all that follow
_HEADING, _KEY, _FOOT = 0.35, 0.3, 0.3
_NOTE = 0.135
_COLOURS = 128  # of a PNG


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: its title, its height in inches, what draws into it, and lines of text below."""

    title: str
    height: float
    draw: Callable[[Axes], None]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Panels under a heading. `key`: (label, colour, opacity) of what the panels do not label themselves."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    key: tuple[tuple[str, str, float], ...] = ()


def png(chart: Chart, source: str) -> bytes:
    """The chart as one picture; `source` says below it where the numbers come from."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    columns = min(len(chart.panels), 2 if len(chart.panels) == 4 else 3)
    lines = [chart.panels[start : start + columns] for start in range(0, len(chart.panels), columns)]
    heights = [
        max(panel.height + _NOTE * (len(panel.notes) + bool(panel.notes)) for panel in line) for line in lines
    ]
    with mpl.rc_context(_SETTINGS):
        height = sum(heights) + _HEADING + _FOOT + (_KEY if chart.key else 0)
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(max(_WIDTH * columns, 5.0), height), layout=layout, facecolor="white")
        axes = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        for line, row in zip(lines, axes, strict=True):
            for panel, place in zip(line, row, strict=False):
                place.set_title(panel.title)
                panel.draw(place)
                _write_notes(place, panel)
            for place in row[len(line) :]:
                place.set_axis_off()
        # The second, empty line of the heading keeps the room that the key is then put into.
        heading = chart.title + ("\n" if chart.key else "")
        figure.suptitle(heading, x=0.01, ha="left", fontsize=11, fontweight="bold", linespacing=1.6)
        figure.supxlabel(source, x=0.99, ha="right", fontsize=7, color=SOFT)
        if chart.key:
            patches = [Patch(color=colour, alpha=alpha, label=label) for label, colour, alpha in chart.key]
            below = (0.0, 1 - _HEADING / height)
            figure.legend(
                handles=patches, loc="upper left", bbox_to_anchor=below, ncols=len(patches), frameon=False
            )
        return _in_few_colours(_saved(figure, "png", dpi=115, metadata={"Software": None}))


def svg(chart: Chart, panel: Panel) -> str:
    """One panel as SVG that takes font and colours from the page, which writes title and notes itself."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Identifiers come from this salt: pictures of one page must not share any.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": f"{chart.name} {panel.title}"}):
        figure = Figure(figsize=(_WIDTH, panel.height), layout="constrained")
        panel.draw(figure.subplots())
        text = _saved(figure, "svg", transparent=True, metadata={"Date": None, "Creator": None}).decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<g\b[^>]*?) id="[^"]*"', r"\1", text)
    for colour, variable in _PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    (box,) = re.findall(r'viewBox="[^"]*"', text)
    head = f'<svg {box} xmlns:xlink="http://www.w3.org/1999/xlink" role="img">'
    title = escape(f"{chart.title}: {panel.title}")
    return re.sub(r"^<svg[^>]*>", lambda _: f"{head}<title>{title}</title>", text)


def page_colour(colour: str) -> str:
    """A colour as a page has it: those that depend on light or dark are variables there."""
    return _PAGE_COLOURS.get(colour, colour)


def _write_notes(axes: Axes, panel: Panel) -> None:
    below = -0.62 / (panel.height - 0.75)  # of the height of the axes: under ticks and their label
    text = axes.text(0, below, "\n".join(panel.notes), transform=axes.transAxes, va="top", linespacing=1.35)
    text.set_fontsize(6.5)


def _in_few_colours(picture: bytes) -> bytes:
    """The same PNG with a palette: a third of the size, and charts have few colours."""
    from PIL import Image

    content = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=kind, **options)
    return content.getvalue()
