"""Small charts as inline SVG: no library, sharp on every screen, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from sanderling.cli.statistics import percentile

_HEIGHT = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 12, 42
_BINS = 48
_TICKS = 6


def histogram(series: Mapping[str, Sequence[float]], unit: str, width: int = 640) -> str:
    """How often each value occurs, one colour (`.series0`, `.series1`) per series, with a line at its median.

    The axis ends at the largest 99th percentile; rarer, larger values are counted in the last bar.
    """
    ordered = {name: sorted(values) for name, values in series.items()}
    low = 0.95 * min(values[0] for values in ordered.values())
    high = 1.05 * max(percentile(values, 0.99) for values in ordered.values())
    span = (high - low) or 1.0
    counts = {name: _count(values, low, span) for name, values in ordered.items()}
    tallest = max(max(bins) / len(ordered[name]) for name, bins in counts.items())
    room = width - _LEFT - _RIGHT
    step = room / _BINS
    floor = _HEIGHT - _BOTTOM
    parts = []
    for index, (name, values) in enumerate(ordered.items()):
        for position, count in enumerate(counts[name]):
            if count:
                height = (floor - _TOP) * count / len(values) / tallest
                x = _LEFT + position * step
                parts.append(
                    f'<rect class="series{index}" x="{x:.1f}" y="{floor - height:.1f}" '
                    f'width="{step - 1:.1f}" height="{height:.1f}"/>'
                )
        middle = percentile(values, 0.5)
        x = _LEFT + (middle - low) / span * room
        parts.append(f'<line class="median{index}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{floor}"/>')
    for tick in range(_TICKS):
        value = low + span * tick / (_TICKS - 1)
        x = _LEFT + room * tick / (_TICKS - 1)
        anchor = "start" if tick == 0 else "end" if tick == _TICKS - 1 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="{anchor}">{value:.2f}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(f'<text x="{width / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(unit)}</text>')
    return _svg(width, _HEIGHT, parts, f"histogram of {', '.join(series)}")


def bars(values: Mapping[str, tuple[float, str]], width: int = 480) -> str:
    """Horizontal bars from zero: name → (length, what to write at its end)."""
    row, label, room = 34, 150, 90
    longest = max(value for value, _ in values.values()) or 1.0
    parts = []
    for index, (name, (value, text)) in enumerate(values.items()):
        y = index * row
        length = max(2.0, (width - label - room) * value / longest)
        parts += [
            f'<text x="{label - 10}" y="{y + 21}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="series{index}" x="{label}" y="{y + 6}" width="{length:.1f}" height="22" rx="3"/>',
            f'<text class="value" x="{label + length + 8:.1f}" y="{y + 22}">{escape(text)}</text>',
        ]
    return _svg(width, row * len(values), parts, f"{', '.join(values)} compared")


def _count(values: Sequence[float], low: float, span: float) -> list[int]:
    bins = [0] * _BINS
    for value in values:
        bins[min(max(int((value - low) / span * _BINS), 0), _BINS - 1)] += 1
    return bins


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>\n{body}\n</svg>'
