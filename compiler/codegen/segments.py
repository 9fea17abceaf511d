"""Which taps of a window lie inside the image: columns when the code is built, rows when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from .builder import Expr, KernelBuilder
from .workload import Size, Window


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a window over `size` inputs. The i-th of `count` outputs stands at `start` + i·`step`; its
    t-th tap, with the weights of kernel position `taps[t]`, reads input i·`stride` − `pad` + t·`dilation`.
    """

    size: int
    count: int
    taps: tuple[int, ...]
    stride: int
    pad: int
    dilation: int
    start: int = 0
    step: int = 1

    def inside(self, output: int) -> tuple[bool, ...]:
        """Which taps of an output read the image."""
        first = output * self.stride - self.pad
        return tuple(0 <= first + tap * self.dilation < self.size for tap in range(len(self.taps)))


Axes = tuple[Axis, Axis, Axis]


def window_axes(window: Window, size: Size) -> Axes:
    """Depth, rows and columns of a window."""
    depth, rows, columns = (
        Axis(extent, count, tuple(range(kernel)), stride, pad, dilation)
        for extent, count, kernel, stride, pad, dilation in zip(
            size, window.output(size), window.kernel, window.strides, window.pads[0], window.dilations,
            strict=True,
        )
    )  # fmt: skip
    return depth, rows, columns


def transposed_axes(window: Window, size: Size, out_size: Size) -> list[Axes]:
    """A transposed convolution as plain ones, each of which makes every stride-th output of an axis.

    Output o gets input i through tap k if o + pad = i·stride + k·dilation. So outputs with the same
    remainder by the stride share their taps, and neighbours among them read neighbouring inputs.
    """
    axes = [
        [_residue(extent, count, rest, *geometry) for rest in range(min(geometry[1], count))]
        for extent, count, *geometry in zip(
            size, out_size, window.kernel, window.strides, window.pads[0], window.dilations, strict=True
        )
    ]
    return [(depth, rows, columns) for depth, rows, columns in product(*axes)]


def phases(window: Window, size: Size, transposed: Size | None) -> list[Axes]:
    """The plain convolutions that make the output: one, unless it is `transposed` (the output's size)."""
    if transposed is None:
        return [window_axes(window, size)]
    return transposed_axes(window, size, transposed)


def of_phase(weight: npt.NDArray[Any], axes: Axes) -> npt.NDArray[Any]:
    """The part of weights (…, depth, rows, columns) that a plain convolution uses, in its order."""
    for position, axis in zip((-3, -2, -1), axes, strict=True):
        weight = np.take(weight, axis.taps, axis=position)
    return weight


def _residue(size: int, outputs: int, rest: int, kernel: int, stride: int, pad: int, dilation: int) -> Axis:
    # The last tap reads the first input.
    taps = [tap for tap in reversed(range(kernel)) if (rest + pad - tap * dilation) % stride == 0]
    first = (rest + pad - taps[0] * dilation) // stride if taps else 0
    count = -(-(outputs - rest) // stride)
    return Axis(size, count, tuple(taps), 1, -first, dilation // gcd(dilation, stride), rest, stride)


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` equal tiles of `pixels` outputs from column `start`; `inside[pixel][tap]` says what lies in the
    image.
    """

    start: int
    count: int
    pixels: int
    inside: tuple[tuple[bool, ...], ...]


def segments(axis: Axis, pixels: int) -> list[Segment]:
    """Tiles from left to right; neighbours with the same taps inside become one Segment, a loop in the
    kernel.
    """
    found: list[Segment] = []
    for start in range(0, axis.count, pixels):
        size = min(pixels, axis.count - start)
        inside = tuple(axis.inside(start + pixel) for pixel in range(size))
        if found and found[-1].inside == inside:
            last = found[-1]
            found[-1] = Segment(last.start, last.count + 1, size, inside)
        else:
            found.append(Segment(start, 1, size, inside))
    return found


@contextmanager
def segment_starts(builder: KernelBuilder, segment: Segment) -> Iterator[Expr]:
    """The first output of each tile of a segment."""
    if segment.count == 1:
        yield segment.start
    else:
        with builder.loop("tile", 0, segment.count) as index:
            yield index * segment.pixels + segment.start


@contextmanager
def only(builder: KernelBuilder, axis: Axis, place: Expr) -> Iterator[Expr]:
    """For places of the output that this axis makes: which of its outputs stands there."""
    if axis.step == 1:
        yield place
        return
    with builder.when(tirx.floormod(place, axis.step) == axis.start):
        yield builder.bind("index", tirx.floordiv(place, axis.step))


def tap_range(builder: KernelBuilder, axis: Axis, first: Expr) -> tuple[Expr, Expr]:
    """First and one past the last tap inside the image, for a window whose first tap reads input `first`."""
    taps, dilation = len(axis.taps), axis.dilation
    begin: Expr = 0
    end: Expr = taps
    if axis.pad > 0:
        begin = builder.bind("tap_first", tirx.max(0, tirx.floordiv(dilation - 1 - first, dilation)))
    if (axis.count - 1) * axis.stride - axis.pad + (taps - 1) * dilation >= axis.size:
        end = tirx.min(taps, tirx.floordiv(axis.size - first + dilation - 1, dilation))
        end = builder.bind("tap_last", tirx.max(begin, end))
    return begin, end
