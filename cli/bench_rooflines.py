"""Rooflines: what each call of a kernel reaches, beside what the machine's arithmetic and memory allow.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sanderling.cli.bench_charts import INK, SOFT, Chart, Panel
from sanderling.cli.bench_document import OURS, Document, Layer, thread_text
from sanderling.cli.bench_figures import Contestant, limit_gflops, slowest
from sanderling.cli.bench_text import shortened, slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where a number may stand, in points from the middle of its dot.
_BESIDE = ((0, 0), (0, 9), (9, 0), (0, -9), (-9, 0), (9, 9), (-9, 9), (9, -9), (-9, -9), (0, 18), (18, 0))


def rooflines(document: Document) -> list[Chart]:
    groups: dict[tuple[str, int], dict[str, list[Layer]]] = {}
    for layer in document.layers:
        group = groups.setdefault((layer.target, layer.threads), {})
        group.setdefault(layer.model, []).append(layer)
    return [
        Chart(
            f"roofline-{target}-{slug(threads)}",
            f"Roofline, {target}, {thread_text(threads)}",
            "One dot a call of a kernel, its area in proportion to its time; the five slowest are numbered "
            "and listed, with the share of what the lines allow. The lines were measured on this machine. "
            "Calls whose data stay in a cache can be above the memory's line.",
            tuple(
                Panel(
                    model,
                    2.6,
                    partial(_draw_roofline, document=document, layers=layers),
                    _notes(document, layers),
                )
                for model, layers in models.items()
            ),
        )
        for (target, threads), models in groups.items()
    ]


def _draw_roofline(axes: Axes, document: Document, layers: Sequence[Layer]) -> None:
    drawn = [layer for layer in layers if _has_place(layer)]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_ylabel("GFLOP/s")
    axes.set_xlabel("FLOP per byte")
    if not drawn:
        return
    xs, ys = [layer.intensity for layer in drawn], [layer.gflops for layer in drawn]
    total = sum(layer.us for layer in layers)
    areas = [5 + 1200 * layer.us / total for layer in drawn]
    dots = axes.scatter(xs, ys, areas, Contestant(OURS, "").colour, edgecolors=INK, linewidth=0.5)
    dots.set(alpha=0.45, zorder=2)
    low, high = min(0.5, *xs) / 2, max(50.0, *xs) * 2
    limits = [limit for x in (low, high) if (limit := _limit(document, layers[0], x))]
    axes.set_xlim(low, high)
    axes.set_ylim(min(*ys, *limits, 10.0) / 1.5, max(*ys, *limits, 10.0) * 2)
    peak, bandwidth = _roof(document, layers[0])
    if peak and bandwidth:
        knee = peak / bandwidth
        axes.plot([low, knee, high], [low * bandwidth, peak, peak], color=SOFT, linewidth=1.0, zorder=1)
    taken: list[tuple[float, float]] = []
    for rank, layer in enumerate(slowest(layers), 1):
        if _has_place(layer):
            _draw_number(axes, rank, layer, taken)


def _notes(document: Document, layers: Sequence[Layer]) -> tuple[str, ...]:
    """What the lines and the numbered dots are, and what is not drawn."""
    total = sum(layer.us for layer in layers) or 1.0
    peak, bandwidth = _roof(document, layers[0])
    notes = (
        [f"lines: arithmetic {peak:.0f} GFLOP/s, memory {bandwidth:.0f} GB/s"] if peak and bandwidth else []
    )
    for rank, layer in enumerate(slowest(layers), 1):
        note = f"{rank}  {shortened(layer.node, 27, keep_end=True)}: {layer.us / total:.0%} of the time"
        if _has_place(layer):
            limit = limit_gflops(document, layer)
            note += f", {layer.gflops:.0f} GFLOP/s" + (f" ({layer.gflops / limit:.0%})" if limit else "")
        notes.append(note)
    rest = [layer for layer in layers if not _has_place(layer)]
    if rest:
        calls = f"{len(rest)} call{'' if len(rest) == 1 else 's'}"
        share = sum(layer.us for layer in rest) / total
        notes.append(f"not drawn: {calls} without arithmetic, {share:.0%} of the time")
    return tuple(notes)


def _has_place(layer: Layer) -> bool:
    """Whether it has one on logarithmic axes."""
    return bool(layer.gflops and layer.intensity)


def _draw_number(axes: Axes, rank: int, layer: Layer, taken: list[tuple[float, float]]) -> None:
    """A number on its dot, or beside it where another number is already."""
    x, y = axes.transData.transform((layer.intensity, layer.gflops))
    scale = axes.figure.dpi / 72
    places = [(x + dx * scale, y + dy * scale) for dx, dy in _BESIDE]
    free = [place for place in places if all(math.dist(place, other) > 8 * scale for other in taken)]
    taken.append((free or places)[0])
    offset = (taken[-1][0] - x) / scale, (taken[-1][1] - y) / scale
    axes.annotate(
        str(rank),
        (layer.intensity, layer.gflops),
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontweight="bold",
        fontsize=7,
    )


def _limit(document: Document, layer: Layer, intensity: float) -> float | None:
    return limit_gflops(document, replace(layer, flops=intensity * layer.bytes))


def _roof(document: Document, layer: Layer) -> tuple[float, float]:
    """GFLOP/s of all threads and GB/s; zeros if they were not measured."""
    return document.fma_gflops.get(layer.target, 0.0) * layer.threads, document.memory_gbps or 0.0
