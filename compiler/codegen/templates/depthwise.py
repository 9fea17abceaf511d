"""Depthwise convolution over one to three axes, plain or transposed.

Matches: Depthwise workloads (as many groups as channels, multiplier 1). Layouts: input and output
`[N][C/x][D][H][W][x]`, weights `[phase][C/x][kd][kh][kw][x]`. Parameter: output columns held in registers.
One task is one row of one channel block.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, const, load
from ..object import tvm_target
from ..operands import Operands
from ..segments import Axes, Segment, of_phase, only, phases, segment_starts, segments, tap_range
from ..workload import Depthwise, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def candidates(work: Depthwise, target: Target) -> list[Config]:
    """Widths whose accumulators and loads fit the registers, fewest idle columns first."""
    columns = max(phase[2].count for phase in phases(work.window, work.size, work.transposed))
    most = target.vector_registers // 2
    widths = {min(width, columns) for width in (8, 7, 5, 10, 14, 4) if width <= max(most, 4)}

    def cost(config: Config) -> tuple[int, int]:
        strips = ceil_div(columns, config.pixels)
        return strips * (config.pixels + 1), abs(config.pixels - 8)

    return sorted((Config(width) for width in widths), key=cost)[:4]


def tasks(work: Depthwise, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes) * work.out_size[0] * work.out_size[1]


def pack(work: Depthwise, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(C, 1, …) to `[phase][C/x][kd][kh][kw][x]`, padded with zeros."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    padded = np.zeros((blocks * lanes, *work.window.kernel), np.float32)
    padded[: work.channels] = weight.reshape(work.channels, *work.window.kernel)
    blocked = padded.reshape(blocks, lanes, *work.window.kernel)
    pieces = [
        of_phase(blocked, phase).transpose(0, 2, 3, 4, 1).ravel()
        for phase in phases(work.window, work.size, work.transposed)
    ]
    return np.concatenate(pieces)


def build(work: Depthwise, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    depths, rows, columns = work.out_size
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.batch * blocks * prod(work.size) * lanes, target.vector_bytes)
    plain = phases(work.window, work.size, work.transposed)
    sizes = [blocks * prod(len(axis.taps) for axis in axes) * lanes for axes in plain]
    weights = builder.pointer("weights", sum(sizes), target.vector_bytes)
    bias = builder.pointer("bias", blocks * lanes, target.vector_bytes) if work.bias else None
    whole = work.batch * blocks * prod(work.out_size) * lanes
    operands = Operands(builder, work.epilogue, work.batch, blocks, whole, lanes)
    output = builder.pointer("output", whole, target.vector_bytes)
    acc = builder.local("acc", config.pixels * lanes)

    def strip(
        axes: Axes, first: int, image_block: Expr, block: Expr, at: tuple[Expr, ...], segment: Segment
    ) -> None:
        start = load(bias, block * lanes, lanes) if bias is not None else const(0.0, lanes=lanes)
        for pixel in range(segment.pixels):
            builder.store(acc, pixel * lanes, start, lanes)
        if all(axis.taps for axis in axes):
            _sum(axes, first, image_block, block, at, segment)
        place = [axis.start + index * axis.step for axis, index in zip(axes, at, strict=True)]
        base = ((image_block * depths + place[0]) * rows + place[1]) * columns + place[2]
        base = builder.bind("base", base * lanes)
        for pixel in range(segment.pixels):
            position = base + pixel * axes[2].step * lanes
            fetch = operands.at(position, block, image_block)
            value = epilogue.apply(load(acc, pixel * lanes, lanes), work.epilogue, fetch)
            builder.store(output, position, value, lanes)

    def _sum(
        axes: Axes, first: int, image_block: Expr, block: Expr, at: tuple[Expr, ...], segment: Segment
    ) -> None:
        deep, tall, wide = axes
        front, top, left = (index * axis.stride - axis.pad for axis, index in zip(axes, at, strict=True))
        depth_taps, row_taps = tap_range(builder, deep, front), tap_range(builder, tall, top)
        with builder.loop("tap_depth", *depth_taps) as tap_depth, builder.loop("tap", *row_taps) as tap:
            plane = image_block * work.size[0] + front + tap_depth * deep.dilation
            line = plane * work.size[1] + top + tap * tall.dilation
            pixels = builder.bind("pixels", (line * work.size[2] + left) * lanes)
            weight = (block * len(deep.taps) + tap_depth) * len(tall.taps) + tap
            weight = builder.bind("weight", weight * (len(wide.taps) * lanes) + first)
            for column in range(len(wide.taps)):
                factor = load(weights, weight + column * lanes, lanes)
                for pixel in range(segment.pixels):
                    if segment.inside[pixel][column]:
                        offset = (pixel * wide.stride + column * wide.dilation) * lanes
                        value = (
                            load(acc, pixel * lanes, lanes) + load(source, pixels + offset, lanes) * factor
                        )
                        builder.store(acc, pixel * lanes, value, lanes)

    with builder.loop("task", builder.lo, builder.hi) as task:
        image_block = builder.bind("image_block", tirx.floordiv(task, depths * rows))
        plane_row = builder.bind("plane_row", tirx.floormod(task, depths * rows))
        block = builder.bind("block", tirx.floormod(image_block, blocks)) if work.batch > 1 else image_block
        depth, row = tirx.floordiv(plane_row, rows) if depths > 1 else 0, plane_row
        if depths > 1:
            row = builder.bind("row", tirx.floormod(plane_row, rows))
        first = 0
        for axes, size in zip(plain, sizes, strict=True):
            with only(builder, axes[0], depth) as d, only(builder, axes[1], row) as y:
                for segment in segments(axes[2], config.pixels):
                    with segment_starts(builder, segment) as x:
                        strip(axes, first, image_block, block, (d, y, x), segment)
            first += size
    return builder.finish(tvm_target(target))
