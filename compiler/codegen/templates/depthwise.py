"""Convolution in narrow groups over one to three axes, plain or transposed: depthwise, depthwise with a
multiplier, and a few channels a group.

Matches: Depthwise workloads. Layouts: input and output `[N][C/x][D][H][W][x]`, weights
`[phase][C/x][kd][kh][channel of the group][kw][x]`. Parameter: output columns held in registers. One task is
one row of one block of output channels.

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
from ..segments import Axes, Segment, of_phase, only, phases, segment_starts, segments, tap_range
from ..workload import Depthwise, ceil_div

_MOST_SHUFFLES = 32  # of one input column, unrolled: more would not fit the instruction cache


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def takes(inner: int, outer: int, target: Target) -> bool:
    """Whether groups of so many channels (input, output) are narrow enough."""
    return outer < target.lanes and inner * _turn(inner, outer, target.lanes) <= _MOST_SHUFFLES


def _turn(inner: int, outer: int, lanes: int) -> int:
    """Blocks of output channels after which groups and blocks of the input begin together again."""
    return lcm(lanes, lcm(inner, lanes) // inner * outer) // lanes


def candidates(work: Depthwise, target: Target) -> list[Config]:
    """Widths whose accumulators and loads fit the registers, fewest idle columns first."""
    columns = max(phase[2].count for phase in phases(work.window, work.size, work.transposed))
    most = target.vector_registers // 2
    widths = {min(width, columns) for width in (8, 7, 5, 10, 14, 4) if width <= max(most, 4)}

    def cost(config: Config) -> tuple[int, int]:
        strips = ceil_div(columns, config.pixels)
        return strips * (config.pixels + 1), abs(config.pixels - 8)

    return sorted((Config(width) for width in widths), key=cost)[:4]


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
        of_phase(blocked, phase).transpose(0, 3, 4, 2, 5, 1).ravel()
        for phase in phases(work.window, work.size, work.transposed)
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
        self.phases = phases(work.window, work.size, work.transposed)
        self.per_phase = [
            self.out_blocks * work.inner * prod(len(axis.taps) for axis in axes) * lanes
            for axes in self.phases
        ]
        self.weights = builder.pointer("weights", sum(self.per_phase), vector)
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
            first = 0
            for axes, size in zip(self.phases, self.per_phase, strict=True):
                with only(builder, axes[0], depth) as d, only(builder, axes[1], line) as y:
                    for place in range(self.turn):
                        turns = tirx.floormod(block, self.turn) == place if self.turn > 1 else None
                        with when(builder, turns):
                            for segment in segments(axes[2], self.config.pixels):
                                with segment_starts(builder, segment) as x:
                                    self._strip(axes, first, image, block, place, (d, y, x), segment)
                first += size
        return builder.finish(tvm_target(self.target))

    def _strip(
        self, axes: Axes, first: int, image: Expr, block: Expr, place: int, at: tuple[Expr, ...],
        segment: Segment,
    ) -> None:  # fmt: skip
        builder, work, lanes = self.builder, self.work, self.lanes
        bias = self.bias
        start = const(0.0, lanes=lanes) if bias is None else load(bias, block * lanes, lanes)
        for pixel in range(segment.pixels):
            builder.store(self.acc, pixel * lanes, start, lanes)
        if all(axis.taps for axis in axes):
            self._sum(axes, first, image, block, place, at, segment)
        image_block = image * self.out_blocks + block
        depth, row, column = (axis.start + i * axis.step for axis, i in zip(axes, at, strict=True))
        base = ((image_block * work.out_size[0] + depth) * work.out_size[1] + row) * work.out_size[2] + column
        base = builder.bind("base", base * lanes)
        for pixel in range(segment.pixels):
            position = base + pixel * axes[2].step * lanes
            fetch = self.operands.at(position, block, image_block)
            value = epilogue.apply(load(self.acc, pixel * lanes, lanes), work.epilogue, fetch)
            builder.store(self.output, position, value, lanes)

    def _sum(
        self, axes: Axes, first: int, image: Expr, block: Expr, place: int, at: tuple[Expr, ...],
        segment: Segment,
    ) -> None:  # fmt: skip
        builder, size, lanes = self.builder, self.work.size, self.lanes
        deep, tall, wide = axes
        front, top, left = (index * axis.stride - axis.pad for axis, index in zip(axes, at, strict=True))
        sources = {found: self._source(image, block, found) for found in self._needed(place)}
        depth_taps, row_taps = tap_range(builder, deep, front), tap_range(builder, tall, top)
        # Where a column of the input is added: pixels and taps, by its distance from the first.
        uses: dict[int, list[tuple[int, int]]] = {}
        for pixel in range(segment.pixels):
            for tap in range(len(wide.taps)):
                if segment.inside[pixel][tap]:
                    uses.setdefault(pixel * wide.stride + tap * wide.dilation, []).append((pixel, tap))
        with builder.loop("tap_depth", *depth_taps) as tap_depth, builder.loop("tap", *row_taps) as tap:
            line = ((front + tap_depth * deep.dilation) * size[1] + top + tap * tall.dilation) * size[2]
            line = builder.bind("line", line + left)
            weight = (block * len(deep.taps) + tap_depth) * len(tall.taps) + tap
            weight = builder.bind("weight", weight * (self.work.inner * len(wide.taps) * lanes) + first)
            for channel in range(self.work.inner):
                factors = [
                    load(self.weights, weight + (channel * len(wide.taps) + column) * lanes, lanes)
                    for column in range(len(wide.taps))
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
