"""Depthwise convolution.

Matches: Depthwise workloads (as many groups as channels, multiplier 1). Layouts: input and output
`[N][C/x][H][W][x]`, weights `[C/x][kh][kw][x]`. Parameter: output columns held in registers. One task is one
row of one channel block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, const, load
from ..object import tvm_target
from ..operands import Operands
from ..segments import Segment, segments, tap_rows
from ..workload import Depthwise, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` output columns at a time."""

    pixels: int

    def __str__(self) -> str:
        return f"{self.pixels}"


def candidates(work: Depthwise, target: Target) -> list[Config]:
    """Widths whose accumulators and loads fit the registers, fewest idle columns first."""
    columns = work.out_size[1]
    most = target.vector_registers // 2
    widths = {min(width, columns) for width in (8, 7, 5, 10, 14, 4) if width <= max(most, 4)}

    def cost(config: Config) -> tuple[int, int]:
        strips = ceil_div(columns, config.pixels)
        return strips * (config.pixels + 1), abs(config.pixels - 8)

    return sorted((Config(width) for width in widths), key=cost)[:4]


def tasks(work: Depthwise, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes) * work.out_size[0]


def pack(work: Depthwise, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(C, 1, kh, kw) to `[C/x][kh][kw][x]`, padded with zeros."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    padded = np.zeros((blocks * lanes, *work.window.kernel), np.float32)
    padded[: work.channels] = weight[:, 0]
    return padded.reshape(blocks, lanes, *work.window.kernel).transpose(0, 2, 3, 1).ravel()


def build(work: Depthwise, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""
    lanes, window = target.lanes, work.window
    blocks = ceil_div(work.channels, lanes)
    rows, columns = work.out_size
    taps = window.kernel[0] * window.kernel[1]
    builder = KernelBuilder(symbol)
    source = builder.pointer(
        "input", work.batch * blocks * work.height * work.width * lanes, target.vector_bytes
    )
    weights = builder.pointer("weights", blocks * taps * lanes, target.vector_bytes)
    bias = builder.pointer("bias", blocks * lanes, target.vector_bytes) if work.bias else None
    whole = work.batch * blocks * rows * columns * lanes
    operands = Operands(builder, work.epilogue, work.batch, blocks, whole, lanes)
    output = builder.pointer("output", whole, target.vector_bytes)
    acc = builder.local("acc", config.pixels * lanes)

    def strip(row: Expr, image_block: Expr, block: Expr, start: Expr, segment: Segment) -> None:
        first = load(bias, block * lanes, lanes) if bias is not None else const(0.0, lanes=lanes)
        for pixel in range(segment.pixels):
            builder.store(acc, pixel * lanes, first, lanes)
        top = row * window.strides[0] - window.pads[0]
        left = start * window.strides[1] - window.pads[1]
        tap_first, tap_last = tap_rows(builder, window, top, rows, work.height)
        with builder.loop("tap", tap_first, tap_last) as tap:
            line = image_block * work.height + top + tap * window.dilations[0]
            at = builder.bind("at", (line * work.width + left) * lanes)
            weight = builder.bind("weight", (block * window.kernel[0] + tap) * (window.kernel[1] * lanes))
            for column in range(window.kernel[1]):
                factor = load(weights, weight + column * lanes, lanes)
                for pixel in range(segment.pixels):
                    if segment.inside[pixel][column]:
                        offset = (pixel * window.strides[1] + column * window.dilations[1]) * lanes
                        value = load(acc, pixel * lanes, lanes) + load(source, at + offset, lanes) * factor
                        builder.store(acc, pixel * lanes, value, lanes)
        base = builder.bind("base", ((image_block * rows + row) * columns + start) * lanes)
        for pixel in range(segment.pixels):
            position = base + pixel * lanes
            fetch = operands.at(position, block, image_block)
            builder.store(
                output, position, epilogue.apply(load(acc, pixel * lanes, lanes), work.epilogue, fetch), lanes
            )

    with builder.loop("task", builder.lo, builder.hi) as task:
        image_block = builder.bind("image_block", tirx.floordiv(task, rows))
        row = builder.bind("row", tirx.floormod(task, rows))
        block = builder.bind("block", tirx.floormod(image_block, blocks)) if work.batch > 1 else image_block
        for segment in segments(columns, work.width, config.pixels, window):
            if segment.count == 1:
                strip(row, image_block, block, segment.start, segment)
            else:
                with builder.loop("column", 0, segment.count) as column:
                    strip(row, image_block, block, column * segment.pixels + segment.start, segment)
    return builder.finish(tvm_target(target))
