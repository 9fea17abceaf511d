"""Direct convolution.

Matches: Conv2d workloads. Layouts: input `[N][C/x][H][W][x]` or NCHW, weights `[groups of
blocks][C/x][kh][x][kw][blocks][x]` (the order the kernel reads them in), output `[N][C/x][H][W][x]`.
Parameters: `pixels` × `blocks` accumulators, and whether tasks run over rows or over output channels first.
Method: Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD architectures" (SC
2018).

A window of one pixel is a matrix product over all pixels of the image, so rows may be cut anywhere: then an
image is one row of height × width pixels, cut in tiles, a task each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ...target import Target
from .. import epilogue, tile
from ..builder import Expr, Kernel, KernelBuilder, load
from ..object import tvm_target
from ..operands import Operands
from ..segments import Segment, segments, tap_rows
from ..tile import Tile
from ..workload import Conv2d, ceil_div

Order = Literal["row", "channel"]


@dataclass(frozen=True, slots=True)
class Config:
    """`first`: which task index is the slow one, "row" (input rows stay in cache) or "channel" (weights
    stay).
    """

    pixels: int
    blocks: int
    first: Order

    def __str__(self) -> str:
        return f"{self.pixels}x{self.blocks}.{self.first}"


def candidates(work: Conv2d, target: Target) -> list[Config]:
    """Tiles that fit the registers and the image, most promising first."""
    width = _flat_width(work)
    blocks_in_group = ceil_div(work.out_channels // work.groups, target.lanes)
    weights = (
        blocks_in_group * target.lanes * 4 * work.in_channels * work.window.kernel[0] * work.window.kernel[1]
    )
    # Weights that fill the second-level cache are better read once, with the rows as the inner loop.
    first: Order = "channel" if weights > target.l2_bytes // 2 else "row"
    second: Order = "row" if first == "channel" else "channel"
    tiles = {
        (min(pixels, width), min(blocks, blocks_in_group)): None
        for pixels, blocks in tile.shapes(target)
        if work.groups == 1 or blocks_in_group % min(blocks, blocks_in_group) == 0
    }
    best = sorted(tiles, key=lambda shape: _cost(work, target, *shape))[:4]
    return [Config(*shape, first) for shape in best] + [Config(*shape, second) for shape in best[:2]]


def _flat_width(work: Conv2d) -> int:
    rows, columns = work.out_size
    return rows * columns if work.window.is_point else columns


def _cost(work: Conv2d, target: Target, tile_pixels: int, tile_blocks: int) -> float:
    """Relative time by a simple model: loads beside multiply-adds, idle lanes, spilled registers."""
    blocks_in_group = ceil_div(work.out_channels // work.groups, target.lanes)
    groups, blocks_rest = divmod(blocks_in_group, tile_blocks)
    full, rest = divmod(_flat_width(work), tile_pixels)
    steps = 0.0
    for pixels, columns in ((tile_pixels, full), (rest, int(rest > 0))):
        for blocks, count in ((tile_blocks, groups), (blocks_rest, int(blocks_rest > 0))):
            steps += columns * count * tile.step_cost(target, pixels, blocks)
    if target.multiplies_by_lane:
        return steps
    # Several taps in one loop body keep more vectors alive than the tile alone.
    alive = tile_pixels * tile_blocks + tile_blocks * (2 if work.window.kernel[1] > 1 else 1) + 1
    return steps * (1.0 + 0.1 * max(0, alive - target.vector_registers + 2))


def _plan(work: Conv2d, config: Config, target: Target) -> tuple[int, int, int]:
    """Groups of blocks (over all convolution groups), rows (or tiles of a flat image), tasks."""
    blocks_in_group = ceil_div(work.out_channels // work.groups, target.lanes)
    groups = work.groups * ceil_div(blocks_in_group, config.blocks)
    rows = ceil_div(_flat_width(work), config.pixels) if work.window.is_point else work.out_size[0]
    return groups, rows, work.batch * groups * rows


def tasks(work: Conv2d, config: Config, target: Target) -> int:
    return _plan(work, config, target)[2]


def pack(work: Conv2d, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """OIHW weights in the order the kernel reads them; missing output channels are zero."""
    lanes = target.lanes
    per_group = work.out_channels // work.groups
    blocks_in_group = ceil_div(per_group, lanes)
    inner = work.in_channels // work.groups
    kernel_h, kernel_w = work.window.kernel
    step = 1 if work.plain_input else lanes
    pieces = []
    for group in range(work.groups):
        padded = np.zeros((blocks_in_group * lanes, inner, kernel_h, kernel_w), np.float32)
        padded[:per_group] = weight[group * per_group : (group + 1) * per_group]
        blocked = padded.reshape(blocks_in_group, lanes, inner, kernel_h, kernel_w)
        for first in range(0, blocks_in_group, config.blocks):
            part = blocked[first : first + config.blocks]  # blocks, lanes, inner, kh, kw
            # Of each block of channels: kh, channel, kw (or kw, channel), block, lane.
            order = (3, 4, 2, 0, 1) if target.multiplies_by_lane else (3, 2, 4, 0, 1)
            pieces += [part[:, :, at : at + step].transpose(order).ravel() for at in range(0, inner, step)]
    return np.concatenate(pieces)


def build(work: Conv2d, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""
    return _Direct(work, config, target, symbol).function()


class _Direct:
    def __init__(self, work: Conv2d, config: Config, target: Target, symbol: str) -> None:
        self.work, self.config, self.target = work, config, target
        self.lanes = target.lanes
        self.step = 1 if work.plain_input else self.lanes  # channels per input block
        self.inner = work.in_channels // work.groups
        self.blocks_in_group = ceil_div(work.out_channels // work.groups, self.lanes)
        # A vector of input channels of one pixel is loaded whole; each lane is multiplied from there.
        self.by_lane = target.multiplies_by_lane and not work.plain_input
        self.flat = work.window.is_point
        rows, columns = work.out_size
        self.in_height, self.in_width = (
            (1, work.height * work.width) if self.flat else (work.height, work.width)
        )
        self.out_height, self.out_width = (1, rows * columns) if self.flat else (rows, columns)
        self.out_blocks = work.groups * self.blocks_in_group
        self.in_blocks = ceil_div(work.in_channels, self.step)
        builder = self.builder = KernelBuilder(symbol)
        vector = target.vector_bytes
        taps = work.window.kernel[0] * work.window.kernel[1]
        self.input = builder.pointer(
            "input",
            work.batch * self.in_blocks * self.step * self.in_height * self.in_width,
            4 if work.plain_input else vector,
        )
        self.weights = builder.pointer("weights", self.out_blocks * self.lanes * self.inner * taps, vector)
        self.bias = builder.pointer("bias", self.out_blocks * self.lanes, vector) if work.bias else None
        out_size = work.batch * self.out_blocks * self.lanes * self.out_height * self.out_width
        self.operands = Operands(builder, work.epilogue, work.batch, self.out_blocks, out_size, self.lanes)
        self.output = builder.pointer("output", out_size, vector)
        self.acc = builder.local("acc", config.pixels * config.blocks * self.lanes)

    def function(self) -> Kernel:
        builder, work, config = self.builder, self.work, self.config
        groups, rows, _ = _plan(work, config, self.target)
        with builder.loop("task", builder.lo, builder.hi) as task:
            image = builder.bind("image", tirx.floordiv(task, groups * rows)) if work.batch > 1 else 0
            rest = builder.bind("rest", tirx.floormod(task, groups * rows)) if work.batch > 1 else task
            if config.first == "row":
                row, group = tirx.floordiv(rest, groups), tirx.floormod(rest, groups)
            else:
                row, group = tirx.floormod(rest, rows), tirx.floordiv(rest, rows)
            row, group = builder.bind("row", row), builder.bind("group", group)
            for blocks, condition in self._block_groups(group, groups):
                if condition is None:
                    self._row(image, row, group, blocks)
                else:
                    with builder.when(condition):
                        self._row(image, row, group, blocks)
        return builder.finish(tvm_target(self.target))

    def _block_groups(self, group: Expr, groups: int) -> Iterator[tuple[int, Expr | None]]:
        """Full groups of blocks, and the shorter last one."""
        rest = self.blocks_in_group % self.config.blocks
        if rest == 0:
            yield self.config.blocks, None
        elif groups == 1:
            yield rest, None
        else:
            yield self.config.blocks, group < groups - 1
            yield rest, group == groups - 1

    def _row(self, image: Expr, row: Expr, group: Expr, blocks: int) -> None:
        builder = self.builder
        if self.flat:
            full, rest = divmod(self.out_width, self.config.pixels)
            start = row * self.config.pixels
            if full and rest:
                with builder.when(row < full):
                    self._tile(image, 0, start, group, blocks, self._inside(self.config.pixels))
                with builder.when(row == full):
                    self._tile(image, 0, start, group, blocks, self._inside(rest))
            else:
                self._tile(image, 0, start, group, blocks, self._inside(self.config.pixels if full else rest))
            return
        for segment in segments(self.out_width, self.in_width, self.config.pixels, self.work.window):
            if segment.count == 1:
                self._tile(image, row, segment.start, group, blocks, segment)
            else:
                with builder.loop("column", 0, segment.count) as column:
                    self._tile(image, row, column * segment.pixels + segment.start, group, blocks, segment)

    def _inside(self, pixels: int) -> Segment:
        return Segment(0, 1, pixels, ((True,),) * pixels)

    def _tile(self, image: Expr, row: Expr, start: Expr, group: Expr, blocks: int, segment: Segment) -> None:
        builder, work, window = self.builder, self.work, self.work.window
        lanes, step = self.lanes, self.step
        shape = Tile(segment.pixels, blocks, lanes)
        kernel_h, kernel_w = window.kernel
        per_channel = (
            kernel_h * kernel_w * self.config.blocks * lanes
        )  # weights of one channel in a full group
        first_block = builder.bind("first_block", self._first_block(group))
        bias = self.bias
        tile.clear(
            builder,
            self.acc,
            shape,
            None if bias is None else lambda block: load(bias, (first_block + block) * lanes, lanes),
        )
        groups_per_conv = ceil_div(self.blocks_in_group, self.config.blocks)
        # Input block where this convolution group's channels begin.
        conv_group = tirx.floordiv(group, groups_per_conv) if work.groups > 1 else 0
        in_first = image * self.in_blocks + conv_group * (self.inner // step)
        weight_first = builder.bind("weight_first", group * (self.inner * per_channel))
        used = kernel_h * kernel_w * blocks * lanes
        top = 0 if self.flat else row * window.strides[0] - window.pads[0]
        left = builder.bind("left", start * window.strides[1] - window.pads[1])
        tap_first, tap_last = (
            (0, 1) if self.flat else tap_rows(builder, window, top, self.out_height, self.in_height)
        )
        for first, last, channels in self._channel_loops():
            with (
                builder.loop("block", first, last) as block,
                builder.loop("tap", tap_first, tap_last) as tap,
            ):
                source = (
                    (in_first + block) * self.in_height + top + tap * window.dilations[0]
                ) * self.in_width + left
                source = builder.bind("source", source * step)
                count: Expr = channels
                if channels is None:
                    count = builder.bind("channels", tirx.min(step, self.inner - block * step))
                weight = builder.bind(
                    "weight",
                    weight_first + block * (step * used) + tap * count * (kernel_w * blocks * lanes),
                )
                self._taps(shape, segment, source, weight, count)
        self._store(image, row, start, first_block, shape)

    def _first_block(self, group: Expr) -> Expr:
        """Index of the first output block of a group of blocks."""
        if self.work.groups == 1 or self.blocks_in_group % self.config.blocks == 0:
            return group * self.config.blocks
        per = ceil_div(self.blocks_in_group, self.config.blocks)
        return (
            tirx.floordiv(group, per) * self.blocks_in_group + tirx.floormod(group, per) * self.config.blocks
        )

    def _channel_loops(self) -> Iterator[tuple[int, int, int | None]]:
        """First and one past the last input block, and how many channels each has; None: that depends."""
        full, rest = divmod(self.inner, self.step)
        if rest and not self.by_lane:
            yield 0, full + 1, None
            return
        if full:
            yield 0, full, self.step
        if rest:
            yield full, full + 1, rest

    def _taps(self, shape: Tile, segment: Segment, source: Expr, weight: Expr, channels: Expr) -> None:
        """All that one row of the window adds, for some channels of one input block."""
        taps = range(self.work.window.kernel[1])
        if self.by_lane:
            for index, (tap, channel) in enumerate(itertools.product(taps, range(channels))):
                self._multiply_add(shape, segment, source, channel, tap, weight, index)
        elif self.step == 1:
            for tap in taps:
                self._multiply_add(shape, segment, source, 0, tap, weight, tap)
        else:
            with self.builder.loop("channel", 0, channels) as channel:
                for tap in taps:
                    self._multiply_add(
                        shape, segment, source, channel, tap, weight, channel * len(taps) + tap
                    )

    def _multiply_add(
        self, shape: Tile, segment: Segment, source: Expr, channel: Expr, tap: int, weight: Expr, index: Expr
    ) -> None:
        """What one channel and tap adds; `index` is their place in the order of the weights."""
        window = self.work.window
        offset = weight + index * (shape.blocks * shape.lanes)

        def value(pixel: int) -> Expr:
            at = source + (pixel * window.strides[1] + tap * window.dilations[1]) * self.step
            if self.by_lane:
                return tirx.Shuffle([load(self.input, at, self.lanes)], [channel])
            return load(self.input, at + channel)

        values = [value(pixel) if segment.inside[pixel][tap] else None for pixel in range(shape.pixels)]
        if any(item is not None for item in values):
            tile.multiply_add(
                self.builder,
                self.acc,
                shape,
                lambda block: load(self.weights, offset + block * shape.lanes, shape.lanes),
                values,
            )

    def _store(self, image: Expr, row: Expr, start: Expr, first_block: Expr, shape: Tile) -> None:
        builder, work, lanes = self.builder, self.work, self.lanes
        for block in range(shape.blocks):
            channel_block = image * self.out_blocks + first_block + block
            base = builder.bind(
                "base", ((channel_block * self.out_height + row) * self.out_width + start) * lanes
            )
            for pixel in range(shape.pixels):
                at = base + pixel * lanes
                fetch = self.operands.at(at, first_block + block, channel_block)
                value = epilogue.apply(tile.accumulator(self.acc, shape, pixel, block), work.epilogue, fetch)
                builder.store(self.output, at, value, lanes)
