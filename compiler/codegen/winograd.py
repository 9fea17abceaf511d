"""The body of a Winograd convolution: transform image tiles, multiply, transform back.

A task takes a number of image tiles. It transforms them into scratch, multiplies a matrix for each of the
(m+2)² positions of a tile, and transforms the products back, with the epilogue, while they are in the cache.
All is done on vectors of channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tvm import tirx

from ..target import Target
from . import epilogue, tile
from .builder import Expr, Kernel, KernelBuilder, const, load, shuffled, when
from .object import tvm_target
from .operands import Operands
from .tile import Tile
from .toomcook import TAPS, Matrix, matrices, pairs
from .workload import Conv2d, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """F(m × m, 3 × 3). A register tile is `pixels` image tiles × `blocks`; a task takes `repeat` of them, and
    one of `parts` of the output channels.
    """

    m: int
    pixels: int
    blocks: int
    repeat: int
    parts: int

    def __str__(self) -> str:
        return f"winograd{self.m}.{self.pixels}x{self.blocks}r{self.repeat}p{self.parts}"


def tiles(work: Conv2d, m: int) -> int:
    """Image tiles of m × m outputs in the whole batch."""
    _, rows, columns = work.out_size
    return work.batch * ceil_div(rows, m) * ceil_div(columns, m)


def groups(work: Conv2d, config: Config) -> int:
    """How many tasks the image tiles make."""
    return ceil_div(tiles(work, config.m), config.pixels * config.repeat)


class Winograd:
    """Builds one kernel. Arguments: input, weights, [bias], operands of the epilogue, scratch, output."""

    def __init__(self, work: Conv2d, config: Config, target: Target, symbol: str) -> None:
        self.work, self.config, self.target, self.lanes = work, config, target, target.lanes
        self.m, self.n = config.m, config.m + TAPS - 1
        self.matrices = matrices(config.m)
        _, self.height, self.width = work.size
        _, self.rows, self.columns = work.out_size
        (_, self.pad_top, self.pad_left), _ = work.window.pads
        self.down, self.across = ceil_div(self.rows, self.m), ceil_div(self.columns, self.m)
        self.per_task = config.pixels * config.repeat
        self.in_blocks = ceil_div(work.in_channels, self.lanes)
        self.out_blocks = ceil_div(work.out_channels, self.lanes)
        lanes, area, vector = self.lanes, self.n * self.n, target.vector_bytes
        builder = self.builder = KernelBuilder(symbol)
        self.input = builder.pointer(
            "input", work.batch * self.in_blocks * lanes * self.height * self.width, vector
        )
        self.weights = builder.pointer("weights", self.out_blocks * lanes * work.in_channels * area, vector)
        self.bias = builder.pointer("bias", self.out_blocks * lanes, vector) if work.bias else None
        out_size = work.batch * self.out_blocks * lanes * self.rows * self.columns
        self.operands = Operands(builder, work.epilogue, work.batch, self.out_blocks, out_size, lanes)
        self.before = builder.scratch("before", area * self.in_blocks * self.per_task * lanes)
        self.after = builder.scratch("after", self.per_task * config.blocks * area * lanes)
        self.patch = builder.scratch("patch", area * lanes)
        self.output = builder.pointer("output", out_size, vector)
        self.acc = builder.local("acc", config.pixels * config.blocks * lanes)
        self.local = builder.local("values", area * lanes)
        self.line = builder.local("line", 2 * self.n * lanes)

    def function(self) -> Kernel:
        builder, config = self.builder, self.config
        count = ceil_div(self.out_blocks, config.blocks)
        with builder.loop("task", builder.lo, builder.hi) as task:
            part = builder.bind("part", tirx.floormod(task, config.parts)) if config.parts > 1 else 0
            first = builder.bind("first", tirx.floordiv(task, config.parts) * self.per_task)
            self._transform_input(first)
            low = tirx.floordiv(part * count, config.parts) if config.parts > 1 else 0
            high = tirx.floordiv((part + 1) * count, config.parts) if config.parts > 1 else count
            with builder.loop("group", low, high) as group:
                for blocks, condition in self._block_groups(group, count):
                    with when(builder, condition):
                        self._multiply(group, blocks)
                        self._transform_output(first, group, blocks)
        return builder.finish(tvm_target(self.target))

    def _block_groups(self, group: Expr, count: int) -> Iterator[tuple[int, Expr | None]]:
        rest = self.out_blocks % self.config.blocks
        if rest == 0:
            yield self.config.blocks, None
        elif count == 1:
            yield rest, None
        else:
            yield self.config.blocks, group < count - 1
            yield rest, group == count - 1

    def _position(self, number: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, top output row and left output column of an image tile; past the last one, the last."""
        builder, count = self.builder, tiles(self.work, self.m)
        number = builder.bind("number", tirx.min(number, count - 1))
        each = self.down * self.across
        image = builder.bind("image", tirx.floordiv(number, each)) if self.work.batch > 1 else 0
        within = builder.bind("within", tirx.floormod(number, each)) if self.work.batch > 1 else number
        top = builder.bind("top", tirx.floordiv(within, self.across) * self.m)
        left = builder.bind("left", tirx.floormod(within, self.across) * self.m)
        return image, top, left

    def _transform_input(self, first: Expr) -> None:
        builder, lanes, n = self.builder, self.lanes, self.n
        with builder.loop("t", 0, self.per_task) as t:
            image, out_top, out_left = self._position(first + t)
            top = builder.bind("in_top", out_top - self.pad_top)
            left = builder.bind("in_left", out_left - self.pad_left)
            inside = tirx.all(top >= 0, left >= 0, top + n <= self.height, left + n <= self.width)
            with builder.loop("c", 0, self.in_blocks) as c:
                plane = builder.bind("plane", (image * self.in_blocks + c) * self.height)
                place = builder.bind("place", (c * self.per_task + t) * lanes)
                with builder.when(inside):
                    source = builder.bind("source", ((plane + top) * self.width + left) * lanes)
                    self._transform_patch(self.input, source, self.width, place)
                with builder.when(tirx.Not(inside)):
                    self._copy_patch(plane, top, left)
                    self._transform_patch(self.patch, 0, n, place)

    def _copy_patch(self, plane: Expr, top: Expr, left: Expr) -> None:
        builder, lanes, n = self.builder, self.lanes, self.n
        with builder.loop("i", 0, n) as i:
            row = builder.bind("row", top + i)
            with builder.loop("j", 0, n) as j:
                at = (i * n + j) * lanes
                builder.store(self.patch, at, const(0.0, lanes=lanes), lanes)
                column = builder.bind("column", left + j)
                inside = tirx.all(row >= 0, row < self.height, column >= 0, column < self.width)
                with builder.when(inside):
                    source = ((plane + row) * self.width + column) * lanes
                    builder.store(self.patch, at, load(self.input, source, lanes), lanes)

    def _transform_patch(self, buffer: Expr, source: Expr, width: int, place: Expr) -> None:
        builder, lanes, n = self.builder, self.lanes, self.n
        for j in range(n):
            column = [load(buffer, source + (i * width + j) * lanes, lanes) for i in range(n)]
            for i, value in enumerate(self._apply(self.matrices.before, column)):
                builder.store(self.local, (i * n + j) * lanes, value, lanes)
        stride = self.in_blocks * self.per_task * lanes
        for i in range(n):
            row = [load(self.local, (i * n + j) * lanes, lanes) for j in range(n)]
            for j, value in enumerate(self._apply(self.matrices.before, row)):
                builder.store(self.before, place + (i * n + j) * stride, value, lanes)

    def _apply(self, matrix: Matrix, vectors: Sequence[Expr]) -> Iterator[Expr]:
        """matrix · vectors. Lines that differ only in signs are computed as a sum and a difference."""
        columns = [list(column) for column in zip(*matrix, strict=True)]
        values = list(vectors)
        for j, k in pairs(columns):
            total, difference = self._keep(j, values[j] + values[k]), self._keep(k, values[j] - values[k])
            values[j], values[k] = total, difference
            columns[j], columns[k] = (
                [(a + b) / 2 for a, b in zip(columns[j], columns[k], strict=True)],
                [(a - b) / 2 for a, b in zip(columns[j], columns[k], strict=True)],
            )
        rows = [list(row) for row in zip(*columns, strict=True)]
        results: list[Expr] = [None] * len(rows)
        paired = pairs(rows)
        for j, k in paired:
            even = [(a + b) / 2 for a, b in zip(rows[j], rows[k], strict=True)]
            odd = [(a - b) / 2 for a, b in zip(rows[j], rows[k], strict=True)]
            total = self._keep(self.n + j, self._combine(even, values))
            difference = self._keep(self.n + k, self._combine(odd, values))
            results[j], results[k] = total + difference, total - difference
        for j, row in enumerate(rows):
            if results[j] is None:
                results[j] = self._combine(row, values)
        return iter(results)

    def _keep(self, slot: int, value: Expr) -> Expr:
        self.builder.store(self.line, slot * self.lanes, value, self.lanes)
        return load(self.line, slot * self.lanes, self.lanes)

    def _combine(self, row: Sequence[Fraction], values: Sequence[Expr]) -> Expr:
        total: Expr = None
        # Terms without a factor come first: those with one become multiply-adds.
        for factor, value in sorted(zip(row, values, strict=True), key=lambda term: abs(term[0]) != 1):
            if factor == 0:
                continue
            if total is None:
                total = value if factor == 1 else value * const(float(factor), lanes=self.lanes)
            elif abs(factor) == 1:
                total = total + value if factor == 1 else total - value
            else:
                total = total + value * const(float(factor), lanes=self.lanes)
        return total if total is not None else const(0.0, lanes=self.lanes)

    def _multiply(self, group: Expr, blocks: int) -> None:
        builder, config, lanes = self.builder, self.config, self.lanes
        shape = Tile(config.pixels, blocks, lanes)
        area, channels = self.n * self.n, self.work.in_channels
        start = builder.bind("start", group * (config.blocks * lanes * channels * area))
        with (
            builder.loop("xi", 0, area) as xi,
            builder.loop("piece", 0, config.repeat) as piece,
        ):
            tile.clear(builder, self.acc, shape, None)
            with builder.loop("block", 0, self.in_blocks) as block:
                source = builder.bind(
                    "source",
                    ((xi * self.in_blocks + block) * self.per_task + piece * config.pixels) * lanes,
                )
                weight = builder.bind("weight", start + (xi * channels + block * lanes) * (blocks * lanes))
                count: Expr = lanes
                if channels % lanes:
                    count = builder.bind("channels", tirx.min(lanes, channels - block * lanes))
                self._steps(shape, source, weight, count)
            for p in range(config.pixels):
                for b in range(blocks):
                    at = (((piece * config.pixels + p) * config.blocks + b) * area + xi) * lanes
                    builder.store(self.after, at, tile.accumulator(self.acc, shape, p, b), lanes)

    def _steps(self, shape: Tile, source: Expr, weight: Expr, channels: Expr) -> None:
        """The reduction over the channels of one block."""
        builder, lanes = self.builder, self.lanes

        def step(values: list[Expr], channel: Expr) -> None:
            at = weight + channel * (shape.blocks * lanes)
            tile.multiply_add(
                builder, self.acc, shape, lambda b: load(self.weights, at + b * lanes, lanes), values
            )

        if self.target.multiplies_by_lane and isinstance(channels, int):
            vectors = [load(self.before, source + p * lanes, lanes) for p in range(shape.pixels)]
            for channel in range(channels):
                step([shuffled([vector], [channel]) for vector in vectors], channel)
            return
        with builder.loop("channel", 0, channels) as channel:
            step([load(self.before, source + p * lanes + channel) for p in range(shape.pixels)], channel)

    def _transform_output(self, first: Expr, group: Expr, blocks: int) -> None:
        builder, work, lanes, m, n = self.builder, self.work, self.lanes, self.m, self.n
        count = tiles(work, m)
        limit: Expr = self.per_task
        if count % self.per_task:
            limit = builder.bind("limit", tirx.min(self.per_task, count - first))
        with builder.loop("t", 0, limit) as t:
            image, top, left = self._position(first + t)
            with builder.loop("b", 0, blocks) as b:
                block = builder.bind("block", group * self.config.blocks + b)
                source = builder.bind("source", (t * self.config.blocks + b) * (n * n * lanes))
                for j in range(n):
                    column = [load(self.after, source + (i * n + j) * lanes, lanes) for i in range(n)]
                    for i, value in enumerate(self._apply(self.matrices.after, column)):
                        builder.store(self.local, (i * n + j) * lanes, value, lanes)
                image_block = builder.bind("image_block", image * self.out_blocks + block)
                base = builder.bind("base", (image_block * self.rows + top) * self.columns + left)
                for i in range(m):
                    if self.rows % m and i:
                        with builder.when(top + i < self.rows):
                            self._store_row(i, base, left, block, image_block)
                    else:
                        self._store_row(i, base, left, block, image_block)

    def _store_row(self, i: int, base: Expr, left: Expr, block: Expr, image_block: Expr) -> None:
        builder, work, lanes = self.builder, self.work, self.lanes
        row = [load(self.local, (i * self.n + j) * lanes, lanes) for j in range(self.n)]
        for j, value in enumerate(self._apply(self.matrices.after, row)):
            at = (base + i * self.columns + j) * lanes
            if self.bias is not None:
                value = value + load(self.bias, block * lanes, lanes)
            fetch = self.operands.at(at, block, image_block)
            if self.columns % self.m and j:
                with builder.when(left + j < self.columns):
                    builder.store(
                        self.output, at, epilogue.apply(builder, value, work.epilogue, fetch), lanes
                    )
            else:
                builder.store(self.output, at, epilogue.apply(builder, value, work.epilogue, fetch), lanes)
