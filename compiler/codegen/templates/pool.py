"""Max and average pooling.

Matches: Pool workloads. Layouts: input and output `[N][C/x][H][W][x]`. Parameter: output columns held in
registers. One task is one row of one channel block. Averages divide by the taps inside the image, or by the
whole window (`count_pad`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, broadcast, const, load
from ..object import tvm_target
from ..operands import Operands
from ..segments import Segment, segments, tap_rows
from ..workload import Pool, ceil_div

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def candidates(work: Pool, target: Target) -> list[Config]:
    return [Config(min(7, work.out_size[1]))]


def tasks(work: Pool, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes) * work.out_size[0]


def build(work: Pool, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the epilogue, output."""
    lanes, window = target.lanes, work.window
    blocks = ceil_div(work.channels, lanes)
    rows, columns = work.out_size
    builder = KernelBuilder(symbol)
    source = builder.pointer(
        "input", work.batch * blocks * work.height * work.width * lanes, target.vector_bytes
    )
    whole = work.batch * blocks * rows * columns * lanes
    operands = Operands(builder, work.epilogue, work.batch, blocks, whole, lanes)
    output = builder.pointer("output", whole, target.vector_bytes)
    acc = builder.local("acc", config.pixels * lanes)
    average = work.kind == "average"

    def strip(row: Expr, image_block: Expr, block: Expr, start: Expr, segment: Segment) -> None:
        for pixel in range(segment.pixels):
            builder.store(acc, pixel * lanes, const(0.0 if average else _LOWEST, lanes=lanes), lanes)
        top = row * window.strides[0] - window.pads[0]
        left = start * window.strides[1] - window.pads[1]
        tap_first, tap_last = tap_rows(builder, window, top, rows, work.height)
        with builder.loop("tap", tap_first, tap_last) as tap:
            line = image_block * work.height + top + tap * window.dilations[0]
            at = builder.bind("at", (line * work.width + left) * lanes)
            for column in range(window.kernel[1]):
                for pixel in range(segment.pixels):
                    if segment.inside[pixel][column]:
                        offset = (pixel * window.strides[1] + column * window.dilations[1]) * lanes
                        value, held = load(source, at + offset, lanes), load(acc, pixel * lanes, lanes)
                        joined = held + value if average else tirx.max(held, value)
                        builder.store(acc, pixel * lanes, joined, lanes)
        base = builder.bind("base", ((image_block * rows + row) * columns + start) * lanes)
        for pixel in range(segment.pixels):
            value = load(acc, pixel * lanes, lanes)
            if average:
                inside = window.kernel[1] if work.count_pad else sum(segment.inside[pixel])
                height = window.kernel[0] if work.count_pad else tap_last - tap_first
                value = value * broadcast(
                    tirx.const(1.0, "float32") / tirx.Cast("float32", _int(height * inside)), lanes
                )
            position = base + pixel * lanes
            fetch = operands.at(position, block, image_block)
            builder.store(output, position, epilogue.apply(value, work.epilogue, fetch), lanes)

    with builder.loop("task", builder.lo, builder.hi) as task:
        image_block = builder.bind("image_block", tirx.floordiv(task, rows))
        row = builder.bind("row", tirx.floormod(task, rows))
        block = builder.bind("block", tirx.floormod(image_block, blocks)) if work.batch > 1 else image_block
        for segment in segments(columns, work.width, config.pixels, window):
            with builder.loop("column", 0, segment.count) as column:
                strip(row, image_block, block, column * segment.pixels + segment.start, segment)
    return builder.finish(tvm_target(target))


def _int(value: Expr) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else value
