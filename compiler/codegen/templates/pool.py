"""Max and average pooling over one to three axes.

Matches: Pool workloads. Layouts: input and output `[N][C/x][D][H][W][x]`. Parameter: output columns held in
registers. One task is one row of one channel block. Averages divide by the taps inside the image, or by the
whole window (`count_pad`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, broadcast, const, load
from ..object import tvm_target
from ..operands import Operands
from ..segments import Segment, Taps, columns, counted, segments, taps_inside, window_axes
from ..workload import Pool, ceil_div

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def candidates(work: Pool, target: Target) -> list[Config]:
    return [Config(min(7, work.out_size[2]))]


def tasks(work: Pool, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes) * work.out_size[0] * work.out_size[1]


def build(work: Pool, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the epilogue, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    depths, rows, width = work.out_size
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.batch * blocks * prod(work.size) * lanes, target.vector_bytes)
    whole = work.batch * blocks * prod(work.out_size) * lanes
    operands = Operands(builder, work.epilogue, work.batch, blocks, whole, lanes)
    output = builder.pointer("output", whole, target.vector_bytes)
    acc = builder.local("acc", config.pixels * lanes)
    average = work.kind == "average"
    deep, tall, last = window_axes(work.window, work.size)
    wide = columns(last)[0]

    def strip(image_block: Expr, block: Expr, depth: Expr, row: Expr, start: Expr, segment: Segment) -> None:
        for pixel in range(segment.pixels):
            builder.store(acc, pixel * lanes, const(0.0 if average else _LOWEST, lanes=lanes), lanes)
        depth_taps, row_taps = taps_inside(builder, deep, depth), taps_inside(builder, tall, row)
        with (
            builder.loop("tap_depth", depth_taps.begin, depth_taps.end) as tap_depth,
            builder.loop("tap", row_taps.begin, row_taps.end) as tap,
        ):
            plane = image_block * work.size[0] + depth_taps.first + tap_depth * depth_taps.step
            line = plane * work.size[1] + row_taps.first + tap * row_taps.step
            at = builder.bind("at", (line * work.size[2] + start * wide.stride - wide.pad) * lanes)
            for column in range(wide.width):
                for pixel in range(segment.pixels):
                    if segment.inside[pixel][column]:
                        offset = (pixel * wide.stride + column * wide.dilation) * lanes
                        value, held = load(source, at + offset, lanes), load(acc, pixel * lanes, lanes)
                        joined = held + value if average else tirx.max(held, value)
                        builder.store(acc, pixel * lanes, joined, lanes)
        base = ((image_block * depths + depth) * rows + row) * width + start
        base = builder.bind("base", base * lanes)
        lines = _extent(depth_taps) * _extent(row_taps)
        for pixel in range(segment.pixels):
            value = load(acc, pixel * lanes, lanes)
            if average:
                count = work.window.taps if work.count_pad else lines * sum(segment.inside[pixel])
                share = tirx.const(1.0, "float32") / tirx.Cast("float32", _int(count))
                value = value * broadcast(share, lanes)
            position = base + pixel * lanes
            fetch = operands.at(position, block, image_block)
            builder.store(output, position, epilogue.apply(builder, value, work.epilogue, fetch), lanes)

    with builder.loop("task", builder.lo, builder.hi) as task:
        image_block = builder.bind("image_block", tirx.floordiv(task, depths * rows))
        row = builder.bind("row", tirx.floormod(task, rows))
        depth: Expr = 0
        if depths > 1:
            depth = builder.bind("depth", tirx.floormod(tirx.floordiv(task, rows), depths))
        block = builder.bind("block", tirx.floormod(image_block, blocks)) if work.batch > 1 else image_block
        for segment in segments(wide, config.pixels):
            with counted(builder, "tile", segment.count) as index:
                start = index * segment.pixels + segment.start
                strip(image_block, block, depth, row, start, segment)
    return builder.finish(tvm_target(target))


def _extent(taps: Taps) -> Expr:
    return taps.end - taps.begin


def _int(value: Expr) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else value
