"""Which taps of a window lie inside the image: columns when the code is built, rows when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import gcd

from tvm import tirx

from .builder import Expr, KernelBuilder
from .workload import Size, Window


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a window, over `size` inputs and `outputs` outputs. Tap t of output o reads input
    o·`stride` − `pad` + t·`dilation`; if `transposed`, input i with i·`stride` = o + `pad` − t·`dilation`.
    """

    size: int
    outputs: int
    kernel: int
    stride: int
    pad: int
    dilation: int
    transposed: bool = False


Axes = tuple[Axis, Axis, Axis]


def window_axes(window: Window, size: Size, transposed: Size | None = None) -> Axes:
    """Depth, rows and columns of a window over an image. `transposed`: the output's size, if it is that."""
    outputs = window.output(size) if transposed is None else transposed
    depth, rows, columns = (
        Axis(extent, count, kernel, stride, pad, dilation, transposed is not None)
        for extent, count, kernel, stride, pad, dilation in zip(
            size, outputs, window.kernel, window.strides, window.pads[0], window.dilations, strict=True
        )
    )
    return depth, rows, columns


# --- columns -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Columns:
    """Outputs `start` + i·`step`, i < `count`, as a plain convolution: the i-th reads, through the weights of
    kernel positions `taps`, inputs i·`stride` − `pad` + t·`dilation`, t < len(taps). The same holds for the
    next `repeats` − 1 starts, with other weights, given one after another in `taps`.
    """

    size: int
    count: int
    taps: tuple[tuple[int, ...], ...]
    stride: int
    pad: int
    dilation: int
    start: int = 0
    step: int = 1

    @property
    def repeats(self) -> int:
        return len(self.taps)

    @property
    def width(self) -> int:
        """Number of taps."""
        return len(self.taps[0])

    def inside(self, output: int) -> tuple[bool, ...]:
        """Which taps of an output read the image."""
        first = output * self.stride - self.pad
        return tuple(0 <= first + tap * self.dilation < self.size for tap in range(self.width))


def columns(axis: Axis) -> list[Columns]:
    """All outputs of an axis. A transposed convolution with stride s is s plain ones of stride 1, each of
    which makes every s-th output: outputs with the same remainder share their taps, neighbours among them
    read neighbouring inputs.
    """
    if not axis.transposed:
        taps = (tuple(range(axis.kernel)),)
        return [Columns(axis.size, axis.outputs, taps, axis.stride, axis.pad, axis.dilation)]
    found: list[Columns] = []
    for rest in range(min(axis.stride, axis.outputs)):
        one = _residue(axis, rest)
        if found and _alike(found[-1], one):
            found[-1] = replace(found[-1], taps=found[-1].taps + one.taps)
        else:
            found.append(one)
    return found


def _alike(first: Columns, other: Columns) -> bool:
    """Whether they differ in place and weights only."""
    return first.width == other.width and replace(other, taps=first.taps, start=first.start) == first


def _residue(axis: Axis, rest: int) -> Columns:
    at = [rest + axis.pad - tap * axis.dilation for tap in range(axis.kernel)]
    # The last tap reads the first input.
    taps = tuple(tap for tap in reversed(range(axis.kernel)) if at[tap] % axis.stride == 0)
    first = at[taps[0]] // axis.stride if taps else 0
    count = -(-(axis.outputs - rest) // axis.stride)
    dilation = axis.dilation // gcd(axis.dilation, axis.stride)
    return Columns(axis.size, count, (taps,), 1, -first, dilation, rest, axis.stride)


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` equal tiles of `pixels` outputs from column `start`; `inside[pixel][tap]` says what lies in the
    image.
    """

    start: int
    count: int
    pixels: int
    inside: tuple[tuple[bool, ...], ...]


def segments(part: Columns, pixels: int) -> list[Segment]:
    """Tiles from left to right; neighbours with the same taps inside become one Segment, a loop in the
    kernel.
    """
    found: list[Segment] = []
    for start in range(0, part.count, pixels):
        size = min(pixels, part.count - start)
        inside = tuple(part.inside(start + pixel) for pixel in range(size))
        if found and found[-1].inside == inside:
            last = found[-1]
            found[-1] = Segment(last.start, last.count + 1, size, inside)
        else:
            found.append(Segment(start, 1, size, inside))
    return found


@contextmanager
def counted(builder: KernelBuilder, name: str, count: int) -> Iterator[Expr]:
    """for name in range(count), without a loop if that is once."""
    if count == 1:
        yield 0
    else:
        with builder.loop(name, 0, count) as index:
            yield index


# --- rows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taps:
    """Taps `begin` to `end` of one output lie inside the image. The t-th reads input `first` + t·`step` with
    the weights of kernel position `weight` + t·`weight_step`.
    """

    begin: Expr
    end: Expr
    first: Expr
    step: int
    weight: Expr
    weight_step: int


def taps_inside(builder: KernelBuilder, axis: Axis, output: Expr) -> Taps:
    """The taps of an output that lie inside the image."""
    return (_transposed_taps if axis.transposed else _plain_taps)(builder, axis, output)


def _plain_taps(builder: KernelBuilder, axis: Axis, output: Expr) -> Taps:
    first, kernel, dilation = output * axis.stride - axis.pad, axis.kernel, axis.dilation
    begin: Expr = 0
    end: Expr = kernel
    if axis.pad > 0:
        begin = builder.bind("tap_first", tirx.max(0, tirx.floordiv(dilation - 1 - first, dilation)))
    if (axis.outputs - 1) * axis.stride - axis.pad + (kernel - 1) * dilation >= axis.size:
        end = tirx.min(kernel, tirx.floordiv(axis.size - first + dilation - 1, dilation))
        end = builder.bind("tap_last", tirx.max(begin, end))
    return Taps(begin, end, first, dilation, 0, 1)


def _transposed_taps(builder: KernelBuilder, axis: Axis, output: Expr) -> Taps:
    """Every `step`-th kernel position reaches this output, from inputs `back` apart."""
    if axis.outputs == axis.size == axis.kernel == axis.stride == 1 and axis.pad == 0:
        return Taps(0, 1, 0, 1, 0, 1)  # an axis that the tensor lacks
    common = gcd(axis.stride, axis.dilation)
    step, back = axis.stride // common, axis.dilation // common
    rest = tirx.floormod(output + axis.pad, axis.stride)
    weight = tirx.floormod(tirx.floordiv(rest, common) * pow(back, -1, step), step)
    if common > 1:  # no tap reaches what lies between
        weight = tirx.Select(tirx.floormod(rest, common) == 0, weight, axis.kernel)
    weight = builder.variable("tap_weight", weight)
    source = tirx.floordiv(output + axis.pad - weight * axis.dilation, axis.stride)
    first = builder.variable("tap_source", source)
    count = tirx.floordiv(axis.kernel - weight + (step - 1), step)
    begin = builder.bind("tap_first", tirx.max(0, tirx.floordiv(first - axis.size + back, back)))
    end = tirx.min(count, tirx.floordiv(first, back) + 1)
    return Taps(begin, builder.bind("tap_last", tirx.max(begin, end)), first, -back, weight, step)
