"""What a benchmark document looks like: a chart for latency, speed-up, roofline, memory and start-up.

Everything is drawn from zero or, where ratios are compared, on a logarithmic axis; losses like wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sanderling.cli.bench_charts import INK, LINE, SOFT, Chart, Panel
from sanderling.cli.bench_document import OURS, Document, Row, thread_text
from sanderling.cli.bench_figures import (
    Contestant,
    SpeedUp,
    best,
    contestants,
    display_name,
    identity,
    mean,
    speed_ups,
    unique,
)
from sanderling.cli.bench_rooflines import rooflines
from sanderling.cli.bench_text import marked, shortened, slug, three, two_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_WHISKER = 2.2  # of the slowest median: what is longer ends in an arrow
_TICKS = (0.125, 0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)

_PHASES = {"import": 1.0, "load": 0.62, "first run": 0.3}  # with opacity

Who = dict[tuple[str, str, str, str], Contestant]


def charts(document: Document) -> list[Chart]:
    """All that the document has numbers for."""
    found = [_speed_up(document), *_latency(document), *rooflines(document), _memory(document)]
    return [chart for chart in [*found, _start(document)] if chart.panels]


def _latency(document: Document) -> list[Chart]:
    who = contestants(document.rows)
    found = []
    for threads in _threads(document):
        panels = _per_model(document, [threads], lambda _: True, partial(_draw_latency, who=who))
        found.append(
            Chart(
                f"latency-{slug(threads)}",
                f"Latency, {thread_text(threads)}",
                "Bars are medians of one call from Python, whiskers reach from the fastest run to the 99th "
                "percentile (an arrow: beyond the picture). Every model has its own axis. Hatched: wrong.",
                panels,
            )
        )
    return found


def _draw_latency(axes: Axes, rows: Sequence[Row], who: Who) -> None:
    times = [row.latency for row in rows if row.latency]
    slowest_median = max((time.p50_ms for time in times), default=1.0)
    limit = min(max((time.p99_ms for time in times), default=1.0), _LONGEST_WHISKER * slowest_median)
    for place, row in enumerate(rows):
        time, colour = row.latency, who[identity(row)].colour
        if time is None:
            note = f" {row.outcome}: {shortened(row.note or 'no reason', 34 - len(row.outcome))}"
            axes.text(0, place, note, va="center", style="italic", fontsize=7).set_in_layout(False)
            continue
        if row.right:
            axes.barh(place, time.p50_ms, 0.74, color=colour, alpha=who[identity(row)].shade)
        else:
            axes.barh(place, time.p50_ms, 0.74, facecolor="none", edgecolor=colour, hatch="////")
        end = min(time.p99_ms, limit)
        last = "|" if end == time.p99_ms else ">"
        axes.plot([time.min_ms, end], [place, place], color=INK, linewidth=0.8)
        for x, marker in ((time.min_ms, "|"), (end, last)):
            axes.plot([x], [place], color=INK, marker=marker, markersize=5, linestyle="")
        mark = "" if row.right else f" {row.outcome}"
        _write(axes, end, place, f"{three(time.p50_ms)}{mark}")
    _label(axes, [who[identity(row)].name for row in rows])
    axes.set_xlim(0, 1.25 * limit)
    axes.set_xlabel("ms")


def _speed_up(document: Document) -> Chart:
    groups: dict[tuple[int, tuple[str, ...]], list[SpeedUp]] = {}
    for pair in speed_ups(document.rows):
        groups.setdefault((pair.own.threads, identity(pair.own)), []).append(pair)
    who = contestants(document.rows)
    panels = []
    for (threads, _), pairs in sorted(groups.items(), key=lambda item: item[0][0]):
        title = ", ".join(filter(None, (who[identity(pairs[0].own)].detail, thread_text(threads))))
        height = 0.95 + 0.25 * (1 + len({pair.own.model for pair in pairs}))
        panels.append(Panel(title, height, partial(_draw_speed_up, pairs=pairs)))
    peers = unique(c.runtime for c in who.values() if c.runtime != OURS)
    return Chart(
        "speed-up",
        "How many times faster than each peer",
        "A peer's median divided by ours, one dot a peer: right of 1 we take less time, in the grey part "
        "more. The number is against the fastest peer. Diamonds are geometric means over the models. Only "
        "right answers count.",
        tuple(panels),
        tuple((display_name(peer), Contestant(peer, "").colour, 1.0) for peer in peers),
    )


def _draw_speed_up(axes: Axes, pairs: Sequence[SpeedUp]) -> None:
    models = unique(pair.own.model for pair in pairs)
    against = {pair.own.model: pair.ratio for pair in best(pairs)}
    low = min(0.8, *(pair.ratio for pair in pairs)) / 1.06
    high = max(1.25, *(pair.ratio for pair in pairs)) * 1.06
    axes.set_xscale("log")
    axes.axvspan(low, 1, color=LINE, alpha=0.5, linewidth=0)
    axes.axvline(1, color=INK, linewidth=0.9)
    for place, model in enumerate(models):
        dots = [(pair.peer.runtime, pair.ratio) for pair in pairs if pair.own.model == model]
        _draw_dots(axes, place, dots, against[model], "o")
    peers = unique(pair.peer.runtime for pair in pairs)
    means = [(peer, mean(pair for pair in pairs if pair.peer.runtime == peer) or 1.0) for peer in peers]
    _draw_dots(axes, len(models), means, mean(best(pairs)) or 1.0, "D")
    axes.axhline(len(models) - 0.5, color=LINE, linewidth=0.8)
    _label(axes, [*map(two_lines, models), "geometric mean"])
    axes.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("← slower\u00a0\u00a0\u00a0times faster →")


def _draw_dots(
    axes: Axes, place: int, dots: Sequence[tuple[str, float]], against_best: float, marker: str
) -> None:
    ratios = [ratio for _, ratio in dots]
    axes.plot([min(ratios), max(ratios)], [place, place], color=SOFT, linewidth=0.8, zorder=1)
    for runtime, ratio in dots:
        colour = Contestant(runtime, "").colour
        axes.plot([ratio], [place], color=colour, marker=marker, markersize=5.5, linestyle="", zorder=2)
    at = ("axes fraction", "data")
    axes.annotate(marked(against_best), (1.02, place), xycoords=at, annotation_clip=False, va="center")


def _memory(document: Document) -> Chart:
    draw = partial(_draw_memory, who=contestants(document.rows))
    return Chart(
        "memory",
        f"Memory, {_fewest(document)}",
        "Peak memory of a process that has loaded and run the model, above that of Python with numpy alone.",
        _per_model(document, _threads(document)[:1], lambda row: row.memory_bytes is not None, draw),
    )


def _draw_memory(axes: Axes, rows: Sequence[Row], who: Who) -> None:
    values = [(row.memory_bytes or 0) / 1e6 for row in rows]
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        axes.barh(place, value, 0.74, color=who[identity(row)].colour, alpha=who[identity(row)].shade)
        _write(axes, value, place, three(value))
    _label(axes, [who[identity(row)].name for row in rows])
    axes.set_xlim(0, 1.2 * max(values) or 1.0)
    axes.set_xlabel("MB")


def _start(document: Document) -> Chart:
    draw = partial(_draw_start, who=contestants(document.rows))
    return Chart(
        "start-up",
        f"Start to first result, {_fewest(document)}",
        "Import of the runtime, load of the model, first run; the clock starts when Python and numpy are up.",
        _per_model(document, _threads(document)[:1], lambda row: None not in _phases(row), draw),
        tuple((phase, INK, opacity) for phase, opacity in _PHASES.items()),
    )


def _phases(row: Row) -> tuple[float | None, ...]:
    return (row.import_ms, row.load_ms, row.first_ms)


def _draw_start(axes: Axes, rows: Sequence[Row], who: Who) -> None:
    longest = 0.0
    for place, row in enumerate(rows):
        begun = 0.0
        for took, opacity in zip(_phases(row), _PHASES.values(), strict=True):
            axes.barh(place, took or 0.0, 0.74, left=begun, color=who[identity(row)].colour, alpha=opacity)
            begun += took or 0.0
        _write(axes, begun, place, three(begun))
        longest = max(longest, begun)
    _label(axes, [who[identity(row)].name for row in rows])
    axes.set_xlim(0, 1.2 * longest or 1.0)
    axes.set_xlabel("ms")


def _per_model(
    document: Document, threads: Sequence[int], wanted: Callable[[Row], bool], draw: Callable[..., None]
) -> tuple[Panel, ...]:
    """A panel a model of the wanted rows, ours first. Empty `threads`: none."""
    order = list(contestants(document.rows))
    panels = []
    for model in unique(row.model for row in document.rows):
        rows = [row for row in document.rows if row.model == model and row.threads in threads and wanted(row)]
        rows.sort(key=lambda row: order.index(identity(row)))
        if rows:
            panels.append(Panel(model, 0.75 + 0.25 * len(rows), partial(draw, rows=rows)))
    return tuple(panels)


def _threads(document: Document) -> list[int]:
    return sorted({row.threads for row in document.rows})


def _fewest(document: Document) -> str:
    """Memory and start-up are shown for the fewest threads: more hardly change them."""
    return "".join(map(thread_text, _threads(document)[:1]))


def _write(axes: Axes, x: float, place: int, text: str) -> None:
    """A text behind the end of a bar."""
    axes.annotate(text, (x, place), (4, 0), textcoords="offset points", va="center")


def _label(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
