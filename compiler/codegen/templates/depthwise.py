"""Convolution in narrow groups over one to three axes, plain or transposed: depthwise, depthwise with a
multiplier, and a few channels a group.

Matches: Depthwise workloads. Layouts: input and output `[N][C/x][D][H][W][x]`, weights
`[columns][C/x][kd][kh][channel of the group][kw][x]`. Parameter: output columns held in registers. One task
is one row of one block of output channels.

Lane l of an output vector needs the k-th channel of its own group, which stands in another lane: so an input
vector is shuffled once for every channel of a group, and then serves all taps that read it. Which lanes these
are repeats after a few blocks, a `turn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, const, load, shuffled, when
from ..object import tvm_target
from ..operands import Operands
from ..segments import Columns, Segment, columns, counted, segments, taps_inside, window_axes
from ..workload import Depthwise, ceil_div

_MOST_SHUFFLES = 32  # of one input column, unrolled: more would not fit the instruction cache


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def takes(inner: int, outer: int, target: Target) -> bool:
    """Whether groups of so many channels (input, output) are narrow enough, and an output vector reads few
    input vectors.
    """
    shuffles = inner * _turn(inner, outer, target.lanes)
    return outer < target.lanes and inner <= 2 * outer and shuffles <= _MOST_SHUFFLES


def _turn(inner: int, outer: int, lanes: int) -> int:
    """Blocks of output channels after which groups and blocks of the input begin together again."""
    return lcm(lanes, lcm(inner, lanes) // inner * outer) // lanes


def candidates(work: Depthwise, target: Target) -> list[Config]:
    """Widths whose accumulators and loads fit the registers, fewest idle columns first."""
    width = max(part.count for part in _columns(work))
    most = target.vector_registers // 2
    widths = {min(pixels, width) for pixels in (8, 7, 5, 10, 14, 4) if pixels <= max(most, 4)}

    def cost(config: Config) -> tuple[int, int]:
        strips = ceil_div(width, config.pixels)
        return strips * (config.pixels + 1), abs(config.pixels - 8)

    return sorted((Config(pixels) for pixels in widths), key=cost)[:4]


def _columns(work: Depthwise) -> list[Columns]:
    return columns(window_axes(work.window, work.size, work.transposed)[2])


def _blocks(work: Depthwise, lanes: int) -> tuple[int, int]:
    """Channel blocks of input and output."""
    return ceil_div(work.groups * work.inner, lanes), ceil_div(work.groups * work.outer, lanes)


def tasks(work: Depthwise, config: Config, target: Target) -> int:
    return work.batch * _blocks(work, target.lanes)[1] * work.out_size[0] * work.out_size[1]


def pack(work: Depthwise, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ONNX's weights in the order the kernel reads them, padded with zeros."""
    lanes, blocks = target.lanes, _blocks(work, target.lanes)[1]
    padded = np.zeros((blocks * lanes, work.inner, *work.window.kernel), np.float32)
    if work.transposed is not None:  # (groups · inner, outer, …)
        weight = weight.reshape(work.groups, work.inner, work.outer, -1).swapaxes(1, 2)
    padded[: work.groups * work.outer] = weight.reshape(-1, *padded.shape[1:])
    blocked = padded.reshape(blocks, lanes, *padded.shape[1:])
    pieces = [
        blocked[..., list(taps)].transpose(0, 3, 4, 2, 5, 1).ravel()
        for part in _columns(work)
        for taps in part.taps
    ]
    return np.concatenate(pieces)


def build(work: Depthwise, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""
    return _Narrow(work, config, target, symbol).function()


class _Narrow:
    def __init__(self, work: Depthwise, config: Config, target: Target, symbol: str) -> None:
        self.work, self.config, self.target, self.lanes = work, config, target, target.lanes
        self.in_blocks, self.out_blocks = _blocks(work, target.lanes)
        self.turn = _turn(work.inner, work.outer, target.lanes)
        builder = self.builder = KernelBuilder(symbol)
        vector, lanes = target.vector_bytes, target.lanes
        in_size = work.batch * self.in_blocks * prod(work.size) * lanes
        self.input = builder.pointer("input", in_size, vector)
        self.axes = window_axes(work.window, work.size, work.transposed)
        self.columns = columns(self.axes[2])
        kernel = work.window.kernel
        self.per_column = self.out_blocks * work.inner * kernel[0] * kernel[1] * lanes  # weights
        size = sum(part.repeats * part.width for part in self.columns) * self.per_column
        self.weights = builder.pointer("weights", size, vector)
        self.bias = builder.pointer("bias", self.out_blocks * lanes, vector) if work.bias else None
        out_size = work.batch * self.out_blocks * prod(work.out_size) * lanes
        self.operands = Operands(builder, work.epilogue, work.batch, self.out_blocks, out_size, lanes)
        self.output = builder.pointer("output", out_size, vector)
        self.acc = builder.local("acc", config.pixels * lanes)

    def function(self) -> Kernel:
        builder, work = self.builder, self.work
        depths, rows, _ = work.out_size
        with builder.loop("task", builder.lo, builder.hi) as task:
            image_block = builder.bind("image_block", tirx.floordiv(task, depths * rows))
            line = builder.bind("line", tirx.floormod(task, depths * rows))
            image: Expr = 0
            block = image_block
            if work.batch > 1:
                image = builder.bind("image", tirx.floordiv(image_block, self.out_blocks))
                block = builder.bind("block", tirx.floormod(image_block, self.out_blocks))
            depth: Expr = 0
            if depths > 1:
                depth, line = tirx.floordiv(line, rows), builder.bind("row", tirx.floormod(line, rows))
            for place in range(self.turn):
                with when(builder, tirx.floormod(block, self.turn) == place if self.turn > 1 else None):
                    self._row(image, block, place, depth, line)
        return builder.finish(tvm_target(self.target))

    def _row(self, image: Expr, block: Expr, place: int, depth: Expr, line: Expr) -> None:
        """One row of a block of outputs, the `place`-th of its turn."""
        builder = self.builder
        offset = 0
        for part in self.columns:
            size = part.width * self.per_column
            with counted(builder, "residue", part.repeats) as residue:
                weights = builder.bind("weights_first", offset + residue * size)
                for segment in segments(part, self.config.pixels):
                    with counted(builder, "tile", segment.count) as index:
                        at = (depth, line, index * segment.pixels + segment.start)
                        self._strip(part, weights, image, block, place, at, part.start + residue, segment)
            offset += part.repeats * size

    def _strip(
        self, part: Columns, weights: Expr, image: Expr, block: Expr, place: int,
        at: tuple[Expr, Expr, Expr], start: Expr, segment: Segment,
    ) -> None:  # fmt: skip
        """The outputs of a segment: `at` is depth, row and its first number, `start` where number 0 is."""
        builder, size, lanes, bias = self.builder, self.work.out_size, self.lanes, self.bias
        initial = const(0.0, lanes=lanes) if bias is None else load(bias, block * lanes, lanes)
        for pixel in range(segment.pixels):
            builder.store(self.acc, pixel * lanes, initial, lanes)
        if part.width:
            self._sum(part, weights, image, block, place, at, segment)
        image_block = image * self.out_blocks + block
        base = ((image_block * size[0] + at[0]) * size[1] + at[1]) * size[2] + start + at[2] * part.step
        base = builder.bind("base", base * lanes)
        for pixel in range(segment.pixels):
            position = base + pixel * part.step * lanes
            fetch = self.operands.at(position, block, image_block)
            value = epilogue.apply(builder, load(self.acc, pixel * lanes, lanes), self.work.epilogue, fetch)
            builder.store(self.output, position, value, lanes)

    def _sum(
        self, part: Columns, weights: Expr, image: Expr, block: Expr, place: int,
        at: tuple[Expr, Expr, Expr], segment: Segment,
    ) -> None:  # fmt: skip
        builder, work, lanes = self.builder, self.work, self.lanes
        sources = {found: self._source(image, block, found) for found in self._needed(place)}
        deep, tall = (taps_inside(builder, self.axes[axis], at[axis]) for axis in (0, 1))
        # Where a column of the input is added: pixels and taps, by its distance from the first.
        uses: dict[int, list[tuple[int, int]]] = {}
        for pixel in range(segment.pixels):
            for tap in range(part.width):
                if segment.inside[pixel][tap]:
                    uses.setdefault(pixel * part.stride + tap * part.dilation, []).append((pixel, tap))
        with (
            builder.loop("tap_depth", deep.begin, deep.end) as tap_depth,
            builder.loop("tap", tall.begin, tall.end) as tap,
        ):
            plane = deep.first + tap_depth * deep.step
            line = (plane * work.size[1] + tall.first + tap * tall.step) * work.size[2]
            line = builder.bind("line", line + at[2] * part.stride - part.pad)
            weight = block * work.window.kernel[0] + deep.weight + tap_depth * deep.weight_step
            weight = weight * work.window.kernel[1] + tall.weight + tap * tall.weight_step
            weight = builder.bind("weight", weights + weight * (work.inner * part.width * lanes))
            for channel in range(work.inner):
                factors = [
                    load(self.weights, weight + (channel * part.width + column) * lanes, lanes)
                    for column in range(part.width)
                ]
                for offset, pairs in sorted(uses.items()):
                    vectors = {
                        found: load(self.input, (source + line + offset) * lanes, lanes)
                        for found, source in sources.items()
                    }
                    value = self._spread(vectors, place, channel)
                    for pixel, column in pairs:
                        total = load(self.acc, pixel * lanes, lanes) + value * factors[column]
                        builder.store(self.acc, pixel * lanes, total, lanes)

    def _channel(self, place: int, lane: int, channel: int) -> int:
        """Input channel, from the first of the turn, that a lane reads as its group's `channel`-th."""
        return (place * self.lanes + lane) // self.work.outer * self.work.inner + channel

    def _needed(self, place: int) -> list[int]:
        """Blocks of the input, from the first of the turn, that a block of outputs reads."""
        span = self._channel(place, 0, 0), self._channel(place, self.lanes - 1, self.work.inner - 1)
        return list(range(span[0] // self.lanes, span[1] // self.lanes + 1))

    def _source(self, image: Expr, block: Expr, found: int) -> Expr:
        """Number of the first pixel of an input block."""
        per_turn = self.turn * self.lanes // self.work.outer * self.work.inner // self.lanes
        turn = block if self.turn == 1 else tirx.floordiv(block, self.turn)
        index = turn * per_turn + found
        if ceil_div(self.out_blocks, self.turn) * per_turn > self.in_blocks:
            index = tirx.min(index, self.in_blocks - 1)  # the lanes that ask for more are idle
        return self.builder.bind("source", (image * self.in_blocks + index) * prod(self.work.size))

    def _spread(self, vectors: dict[int, Expr], place: int, channel: int) -> Expr:
        """A vector with the `channel`-th channel of each lane's group."""
        wanted = [self._channel(place, lane, channel) for lane in range(self.lanes)]
        blocks = sorted({at // self.lanes for at in wanted})
        lanes = [blocks.index(at // self.lanes) * self.lanes + at % self.lanes for at in wanted]
        if len(blocks) == 1 and lanes == list(range(self.lanes)):
            return vectors[blocks[0]]
        return shuffled([vectors[found] for found in blocks], lanes)
