"""Cuts an output row into tiles and finds out, when the code is built, which taps of each fall outside the image."""

from __future__ import annotations

from dataclasses import dataclass

from .workload import Window


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` equal tiles of `pixels` outputs from column `start`; `inside[pixel][tap]` says what lies in the image."""

    start: int
    count: int
    pixels: int
    inside: tuple[tuple[bool, ...], ...]


def segments(out_width: int, in_width: int, pixels: int, window: Window) -> list[Segment]:
    """Tiles from left to right; neighbours with the same taps inside become one Segment, a loop in the kernel."""
    found: list[Segment] = []
    for start in range(0, out_width, pixels):
        size = min(pixels, out_width - start)
        inside = tuple(_inside(start + pixel, in_width, window) for pixel in range(size))
        if found and found[-1].inside == inside:
            last = found[-1]
            found[-1] = Segment(last.start, last.count + 1, size, inside)
        else:
            found.append(Segment(start, 1, size, inside))
    return found


def _inside(column: int, in_width: int, window: Window) -> tuple[bool, ...]:
    first = column * window.strides[1] - window.pads[1]
    return tuple(0 <= first + tap * window.dilations[1] < in_width for tap in range(window.kernel[1]))
