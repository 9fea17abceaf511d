"""Workloads: everything a kernel's code depends on, and nothing else. Equal workloads share one kernel.

`str(workload)` is the key of the tuning database, so it must not change without a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from .epilogue import Step

_MAX_TEXT = 160  # characters of a key that list channels


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


def describe(steps: Sequence[Step]) -> str:
    return "+".join(str(step) for step in steps) or "-"


def times(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents)) or "1"


def dotted(strides: Sequence[int]) -> str:
    return ".".join(map(str, strides)) or "0"


Size = tuple[int, int, int]
"""Depth, rows, columns; what a tensor lacks is 1."""


def spatial(values: Sequence[int], missing: int = 1) -> Size:
    """One to three values, one per axis, as depth, rows and columns."""
    depth, rows, columns = (*(missing,) * (3 - len(values)), *values)
    return depth, rows, columns


def _short(size: Size) -> str:
    """Without a depth of 1."""
    return "x".join(map(str, size if size[0] > 1 else size[1:]))


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over depth, rows and columns. `pads` are those before, then those after."""

    kernel: Size
    strides: Size = (1, 1, 1)
    pads: tuple[Size, Size] = ((0, 0, 0), (0, 0, 0))
    dilations: Size = (1, 1, 1)

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        strides: Sequence[int] = (),
        pads: Sequence[int] = (),
        dilations: Sequence[int] = (),
    ) -> Window:
        """From ONNX's attributes, for one to three axes."""
        half = len(pads) // 2
        before, after = spatial(pads[:half], 0), spatial(pads[half:], 0)
        return cls(spatial(kernel), spatial(strides), (before, after), spatial(dilations))

    def __str__(self) -> str:
        text = _short(self.kernel)
        deep = self.kernel[0] > 1 or self.strides[0] > 1 or any(side[0] for side in self.pads)
        first = 0 if deep else 1
        if self.strides != (1, 1, 1):
            text += "s" + "x".join(map(str, self.strides[first:]))
        if self.pads != ((0, 0, 0), (0, 0, 0)):
            text += "p" + ".".join(str(pad) for side in self.pads for pad in side[first:])
        return text + ("d" + "x".join(map(str, self.dilations[first:])) if max(self.dilations) > 1 else "")

    @property
    def is_point(self) -> bool:
        """Whether every output reads exactly the input at its own position."""
        return self.kernel == self.strides == (1, 1, 1) and not any(map(any, self.pads))

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    def output(self, size: Size) -> Size:
        """Size of the output (floor division, as ONNX without ceil_mode)."""
        depth, rows, columns = (
            (extent + before + after - (kernel - 1) * dilation - 1) // stride + 1
            for extent, kernel, stride, before, after, dilation in zip(
                size, self.kernel, self.strides, *self.pads, self.dilations, strict=True
            )
        )
        return depth, rows, columns


@dataclass(frozen=True, slots=True)
class Conv2d:
    """Convolution (of one to three axes) with its epilogue, output in channel blocks. `plain_input`: the
    input is row-major (any alignment) instead of channel blocks. `transposed`: the output's size, if it is a
    transposed convolution.
    """

    batch: int
    in_channels: int
    size: Size
    out_channels: int
    window: Window
    groups: int
    plain_input: bool
    bias: bool
    epilogue: tuple[Step, ...]
    transposed: Size | None = None

    def __str__(self) -> str:
        layout = "nchw" if self.plain_input else "blocked"
        transposed = f" transposed {_short(self.transposed)}" if self.transposed is not None else ""
        return (
            f"conv2d n{self.batch} {self.in_channels}x{_short(self.size)} -> {self.out_channels} "
            f"{self.window} g{self.groups} {layout} {'bias' if self.bias else 'nobias'} "
            f"{describe(self.epilogue)}{transposed}"
        )

    @property
    def out_size(self) -> Size:
        return self.window.output(self.size) if self.transposed is None else self.transposed

    @property
    def flops(self) -> int:
        places = prod(self.out_size if self.transposed is None else self.size)
        channels = self.in_channels // self.groups * self.out_channels
        return 2 * self.batch * channels * places * self.window.taps


@dataclass(frozen=True, slots=True)
class Depthwise:
    """Convolution in groups of so few channels that several groups fit a vector, input and output in channel
    blocks. `inner` and `outer`: channels of a group, 1 and 1 for depthwise convolution, 1 and m with a
    multiplier. `transposed`: the output's size, if it is a transposed convolution.
    """

    batch: int
    groups: int
    size: Size
    window: Window
    bias: bool
    epilogue: tuple[Step, ...]
    inner: int = 1
    outer: int = 1
    transposed: Size | None = None

    def __str__(self) -> str:
        channels = f" {self.inner}->{self.outer}" if (self.inner, self.outer) != (1, 1) else ""
        transposed = f" transposed {_short(self.transposed)}" if self.transposed is not None else ""
        return (
            f"depthwise n{self.batch} {self.groups}x{_short(self.size)}{channels} {self.window} "
            f"{'bias' if self.bias else 'nobias'} {describe(self.epilogue)}{transposed}"
        )

    @property
    def out_size(self) -> Size:
        return self.window.output(self.size) if self.transposed is None else self.transposed

    @property
    def flops(self) -> int:
        places = prod(self.out_size if self.transposed is None else self.size)
        return 2 * self.batch * self.groups * self.inner * self.outer * places * self.window.taps


@dataclass(frozen=True, slots=True)
class Dense:
    """rows × inner times inner × columns (constant), row-major input and output at any alignment, with its
    epilogue.
    """

    rows: int
    inner: int
    columns: int
    bias: bool
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        bias = "bias" if self.bias else "nobias"
        return f"dense {self.rows}x{self.inner} -> {self.columns} {bias} {describe(self.epilogue)}"

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.columns


@dataclass(frozen=True, slots=True)
class Pool:
    """Max or average pooling in channel blocks. `count_pad`: averages divide by the whole window."""

    kind: Literal["max", "average"]
    batch: int
    channels: int
    size: Size
    window: Window
    count_pad: bool
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        return (
            f"{self.kind}pool n{self.batch} {self.channels}x{_short(self.size)} {self.window} "
            f"-> {_short(self.out_size)} {'pad' if self.count_pad else 'nopad'} {describe(self.epilogue)}"
        )

    @property
    def out_size(self) -> Size:
        return self.window.output(self.size)

    @property
    def flops(self) -> int:
        return self.batch * self.channels * prod(self.out_size) * self.window.taps


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Mean or maximum over all positions, in channel blocks."""

    kind: Literal["max", "average"]
    batch: int
    channels: int
    pixels: int
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        kind = "globalmaxpool" if self.kind == "max" else "globalpool"
        return f"{kind} n{self.batch} {self.channels}x{self.pixels} {describe(self.epilogue)}"

    @property
    def flops(self) -> int:
        return self.batch * self.channels * self.pixels


@dataclass(frozen=True, slots=True)
class Map:
    """A chain of element-wise steps, or a copy if there is none, in loops of these `extents`, outermost
    first. Strides in elements: of the source, of each step's operand, of the output; the innermost is 1 in
    the output, 0 or 1 in operands.
    """

    extents: tuple[int, ...]
    source: tuple[int, ...]
    operands: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        strides = " ".join(dotted(own) for own in (self.source, *self.operands))
        return f"map {times(self.extents)} {strides} -> {dotted(self.output)} {describe(self.epilogue)}"

    def span(self, strides: tuple[int, ...]) -> int:
        """Elements from the first to behind the last, for one tensor's strides."""
        return 1 + sum((n - 1) * stride for n, stride in zip(self.extents, strides, strict=True))

    @property
    def flops(self) -> int:
        return prod(self.extents) * len(self.epilogue)


@dataclass(frozen=True, slots=True)
class Permute:
    """A copy of `rows` × `columns` elements for every step of the outer loops: columns are consecutive in the
    source and `write_stride` apart in the output, rows the other way round.
    """

    extents: tuple[int, ...]
    source: tuple[int, ...]
    output: tuple[int, ...]
    rows: int
    columns: int
    read_stride: int
    write_stride: int

    def __str__(self) -> str:
        outer = f"{times(self.extents)} {dotted(self.source)} -> {dotted(self.output)}"
        return f"permute {self.rows}.{self.read_stride}x{self.columns}.{self.write_stride} in {outer}"

    @property
    def source_span(self) -> int:
        outer = sum((n - 1) * step for n, step in zip(self.extents, self.source, strict=True))
        return outer + (self.rows - 1) * self.read_stride + self.columns

    @property
    def output_span(self) -> int:
        outer = sum((n - 1) * step for n, step in zip(self.extents, self.output, strict=True))
        return outer + (self.columns - 1) * self.write_stride + self.rows

    @property
    def flops(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class MatMul:
    """rows × inner times inner × columns for every step of the `batch` loops, both sides variable. Strides
    are (batch loops …, rows, columns) of each matrix; the output's columns are consecutive, and the second
    matrix's columns or its rows are.
    """

    batch: tuple[int, ...]
    rows: int
    inner: int
    columns: int
    first: tuple[int, ...]
    second: tuple[int, ...]
    operands: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        strides = " ".join(dotted(own) for own in (self.first, self.second, *self.operands))
        return (
            f"matmul {times(self.batch)} of {self.rows}x{self.inner}x{self.columns} {strides} "
            f"-> {dotted(self.output)} {describe(self.epilogue)}"
        )

    @property
    def is_transposed(self) -> bool:
        """Whether the second matrix lies column by column."""
        return self.second[-1] != 1 and self.columns > 1

    def span(self, strides: tuple[int, ...], rows: int, columns: int) -> int:
        """Elements from the first to behind the last of one operand."""
        extents = (*self.batch, rows, columns)
        return 1 + sum((n - 1) * stride for n, stride in zip(extents, strides, strict=True))

    @property
    def flops(self) -> int:
        return 2 * prod(self.batch) * self.rows * self.inner * self.columns


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(steps(first · second)) · third for every step of the `batch` loops: `rows` queries and `keys`
    keys of `inner` elements, values of `width`. Strides as in MatMul; operands have the shape of the scores.
    """

    batch: tuple[int, ...]
    rows: int
    inner: int
    keys: int
    width: int
    first: tuple[int, ...]
    second: tuple[int, ...]
    third: tuple[int, ...]
    operands: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        strides = " ".join(dotted(own) for own in (self.first, self.second, self.third, *self.operands))
        return (
            f"attention {times(self.batch)} of {self.rows}x{self.inner}x{self.keys}x{self.width} {strides} "
            f"-> {dotted(self.output)} {describe(self.steps)}"
        )

    def span(self, strides: tuple[int, ...], rows: int, columns: int) -> int:
        """Elements from the first to behind the last of one operand."""
        extents = (*self.batch, rows, columns)
        return 1 + sum((n - 1) * stride for n, stride in zip(extents, strides, strict=True))

    @property
    def flops(self) -> int:
        return prod(self.batch) * self.rows * self.keys * (2 * (self.inner + self.width) + 20)


@dataclass(frozen=True, slots=True)
class Rows:
    """Softmax or layer normalisation of rows of `length` consecutive elements, in loops of these `extents`;
    strides of source and output in those loops.
    """

    kind: str  # "softmax" | "layernorm"
    extents: tuple[int, ...]
    length: int
    source: tuple[int, ...]
    output: tuple[int, ...]
    epsilon: float = 0.0
    bias: bool = False

    def __str__(self) -> str:
        loops = f"{times(self.extents)} {dotted(self.source)} -> {dotted(self.output)}"
        extra = f" {self.epsilon:.9g} {'bias' if self.bias else 'nobias'}" if self.kind == "layernorm" else ""
        return f"{self.kind} {self.length} in {loops}{extra}"

    def span(self, strides: tuple[int, ...]) -> int:
        outer = sum((n - 1) * stride for n, stride in zip(self.extents, strides, strict=True))
        return outer + self.length

    @property
    def flops(self) -> int:
        return prod(self.extents) * self.length * (20 if self.kind == "softmax" else 8)


@dataclass(frozen=True, slots=True)
class Columns:
    """Softmax along an axis of `length` with these steps in source and output; `width` consecutive elements
    for every step of the outer loops.
    """

    extents: tuple[int, ...]
    length: int
    width: int
    source: tuple[int, ...]
    read_step: int
    output: tuple[int, ...]
    write_step: int

    def __str__(self) -> str:
        loops = f"{times(self.extents)} {dotted(self.source)} -> {dotted(self.output)}"
        return f"softmax {self.length}.{self.read_step}.{self.write_step} of {self.width} in {loops}"

    def span(self, strides: tuple[int, ...], step: int) -> int:
        outer = sum((n - 1) * stride for n, stride in zip(self.extents, strides, strict=True))
        return outer + (self.length - 1) * step + self.width

    @property
    def flops(self) -> int:
        return prod(self.extents) * self.length * self.width * 20


@dataclass(frozen=True, slots=True)
class Regroup:
    """A copy in channel blocks: output channel i is channel `picks[i][1]` of input `picks[i][0]`; `sources`
    are the inputs' channel counts.
    """

    batch: int
    pixels: int
    sources: tuple[int, ...]
    picks: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        # Consecutive channels of one input are one run.
        runs: list[list[int]] = []
        for source, channel in self.picks:
            if runs and runs[-1][0] == source and runs[-1][1] + runs[-1][2] == channel:
                runs[-1][2] += 1
            else:
                runs.append([source, channel, 1])
        text = " ".join(f"{source}.{first}+{count}" for source, first, count in runs)
        if len(text) > _MAX_TEXT:
            text = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"regroup n{self.batch} {times(self.sources)} of {self.pixels}: {text}"

    @property
    def flops(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Upsample:
    """Nearest-neighbour enlargement by whole factors (rows, columns), in channel blocks."""

    batch: int
    channels: int
    height: int
    width: int
    factors: tuple[int, int]
    epilogue: tuple[Step, ...]

    def __str__(self) -> str:
        return (
            f"upsample n{self.batch} {self.channels}x{self.height}x{self.width} "
            f"x{self.factors[0]}x{self.factors[1]} "
            f"{describe(self.epilogue)}"
        )

    @property
    def flops(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Relayout:
    """Between row-major NCHW and channel blocks. `unaligned`: the row-major side may lie at any address."""

    batch: int
    channels: int
    pixels: int
    to_blocked: bool
    unaligned: bool

    def __str__(self) -> str:
        direction = "nchw->blocked" if self.to_blocked else "blocked->nchw"
        ends = " unaligned" if self.unaligned else ""
        return f"relayout n{self.batch} {self.channels}x{self.pixels} {direction}{ends}"

    @property
    def flops(self) -> int:
        return 0


Workload = (
    Conv2d
    | Depthwise
    | Dense
    | Pool
    | GlobalPool
    | Map
    | Permute
    | MatMul
    | Attention
    | Rows
    | Columns
    | Regroup
    | Upsample
    | Relayout
)
