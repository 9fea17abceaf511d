"""Which taps of a window lie inside the image: columns when the code is built, rows when it runs."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from .builder import Expr, KernelBuilder
from .workload import Window


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` equal tiles of `pixels` outputs from column `start`; `inside[pixel][tap]` says what lies in the
    image.
    """

    start: int
    count: int
    pixels: int
    inside: tuple[tuple[bool, ...], ...]


def segments(out_width: int, in_width: int, pixels: int, window: Window) -> list[Segment]:
    """Tiles from left to right; neighbours with the same taps inside become one Segment, a loop in the
    kernel.
    """
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


def tap_rows(
    builder: KernelBuilder, window: Window, top: Expr, out_height: int, in_height: int
) -> tuple[Expr, Expr]:
    """First and one past the last row of the window inside the image, for a window whose first row is input
    row `top`.
    """
    size, dilation = window.kernel[0], window.dilations[0]
    lowest = (out_height - 1) * window.strides[0] - window.pads[0] + (size - 1) * dilation
    first: Expr = 0
    last: Expr = size
    if window.pads[0] > 0:
        first = builder.bind("tap_first", tirx.max(0, tirx.floordiv(dilation - 1 - top, dilation)))
    if lowest >= in_height:
        last = tirx.min(size, tirx.floordiv(in_height - top + dilation - 1, dilation))
        last = builder.bind("tap_last", tirx.max(first, last))
    return first, last
