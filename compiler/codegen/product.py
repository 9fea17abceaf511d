"""Matrix products inside kernels: the loops around the register tile, for operands at any strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from . import tile
from .builder import Expr, KernelBuilder, const, load, load_first, shuffled
from .tile import Tile
from .vectors import Square
from .workload import ceil_div


@dataclass(frozen=True, slots=True)
class Matrix:
    """Elements of a buffer from `base`, by the steps from row to row and from column to column."""

    buffer: Expr
    base: Expr
    row: int
    column: int

    def at(self, row: Expr, column: Expr) -> Expr:
        return self.base + row * self.row + column * self.column


Finish = Callable[[Expr, Expr, Expr, int], None]
"""Takes a vector of results: its row, its first column, the value, how many lanes of it count."""


def accumulate(
    builder: KernelBuilder,
    acc: Expr,
    shape: Tile,
    inner: int,
    rows: tuple[Expr, Sequence[Expr], int],
    weights: Callable[[Expr, int], Expr],
    *,
    by_lane: bool,
) -> None:
    """acc[p, b] += Σ over i < inner of row p's element i × weights(i, b). `rows`: the buffer, where each row
    begins, and the step from element to element. `by_lane`: load elements in vectors, where that is a gain.
    """
    buffer, starts, step = rows
    lanes = shape.lanes
    done = inner // lanes * lanes if by_lane and step == 1 else 0
    if done:
        with builder.loop("part", 0, done // lanes) as part:
            first = builder.bind("element", part * lanes)
            for lane in range(lanes):
                values = [shuffled([load(buffer, start + first, lanes)], [lane]) for start in starts]

                def fetch(block: int, at: Expr = first + lane) -> Expr:
                    return weights(at, block)

                tile.multiply_add(builder, acc, shape, fetch, values)
    with builder.loop("inner", done, inner) as index:
        values = [load(buffer, start + index * step) for start in starts]
        tile.multiply_add(builder, acc, shape, lambda block: weights(index, block), values)


class Product:
    """rows × inner times inner × columns with `rows` × `blocks` accumulators.

    The second matrix is read where it lies if its columns are consecutive, or from `packed`, where `pack` has
    put it in the order in which the loops read it.
    """

    def __init__(
        self,
        builder: KernelBuilder,
        shape: tuple[int, int],
        size: tuple[int, int, int],
        lanes: int,
        acc: Expr,
        *,
        packed: Expr | None = None,
        by_lane: bool = False,
    ) -> None:
        self._builder, self._lanes, self._acc, self._packed = builder, lanes, acc, packed
        self._rows, self._width = shape
        self._total, self._inner, self._columns = size
        self._blocks = ceil_div(self._columns, lanes)
        self._by_lane = by_lane

    def run(self, begin: Expr, end: Expr, first: Matrix, second: Matrix, finish: Finish) -> None:
        """Rows begin … end of the result; `begin` is a multiple of the tile's rows. `first` has row `begin`
        as row `begin`.
        """
        groups = ceil_div(self._blocks, self._width)
        rest = self._blocks - (groups - 1) * self._width
        last_lanes = self._columns - (self._blocks - 1) * self._lanes
        whole = groups if (rest, last_lanes) == (self._width, self._lanes) else groups - 1
        with self._builder.loop("group", 0, whole) as group:
            self._group(begin, end, first, second, finish, group, self._width, self._lanes)
        if whole < groups:
            self._group(begin, end, first, second, finish, groups - 1, rest, last_lanes)

    def _group(
        self,
        begin: Expr,
        end: Expr,
        first: Matrix,
        second: Matrix,
        finish: Finish,
        group: Expr,
        width: int,
        last_lanes: int,
    ) -> None:
        """All rows, for one group of blocks."""
        builder, rows = self._builder, self._rows
        column = group * (self._width * self._lanes)

        def one(row: Expr, count: int) -> None:
            shape = Tile(count, width, self._lanes)
            weights = self._weights(second, group, column, width, last_lanes)
            tile.clear(builder, self._acc, shape, None)
            starts = [builder.bind("start", first.at(row, 0))]
            starts += [starts[0] + index * first.row for index in range(1, count)]
            lines = (first.buffer, starts, first.column)
            accumulate(builder, self._acc, shape, self._inner, lines, weights, by_lane=self._by_lane)
            for index in range(count):
                for block in range(width):
                    valid = last_lanes if block == width - 1 else self._lanes
                    value = tile.accumulator(self._acc, shape, index, block)
                    finish(row + index, column + block * self._lanes, value, valid)

        steps = tirx.floordiv(end - begin, rows) if not isinstance(end, int) else end // rows
        with builder.loop("step", 0, steps) as step:
            one(builder.bind("row", begin + step * rows), rows)
        rest = self._total % rows
        if rest and isinstance(end, int):
            one(self._total - rest, rest)
        elif rest:
            with builder.when(end == self._total):
                one(self._total - rest, rest)

    def _weights(
        self, second: Matrix, group: Expr, column: Expr, width: int, last_lanes: int
    ) -> Callable[[Expr, int], Expr]:
        lanes, packed = self._lanes, self._packed
        if packed is not None:
            start = self._builder.bind("start", group * (self._width * self._inner * lanes))
            return lambda inner, block: load(packed, start + inner * (width * lanes) + block * lanes, lanes)
        start = self._builder.bind("start", second.at(0, column))

        def direct(inner: Expr, block: int) -> Expr:
            count = last_lanes if block == width - 1 else lanes
            return load_first(second.buffer, start + inner * second.row + block * lanes, count, lanes)

        return direct

    def pack(self, second: Matrix, square: Square | None) -> None:
        """The second matrix as [group][inner][blocks of the group][lanes]; missing columns are zero.
        `square`: it lies column by column.
        """
        full, rest = divmod(self._columns, self._lanes)
        with self._builder.loop("block", 0, full) as block:
            self._pack_block(second, square, block, self._lanes)
        if rest:
            self._pack_block(second, square, full, rest)

    def _pack_block(self, second: Matrix, square: Square | None, block: Expr, count: int) -> None:
        builder, lanes, inner = self._builder, self._lanes, self._inner
        group = block // self._width if isinstance(block, int) else tirx.floordiv(block, self._width)
        width = tirx.min(self._width, self._blocks - group * self._width)
        step = builder.bind("step", width * lanes) if self._blocks % self._width else self._width * lanes
        to = group * (self._width * inner * lanes) + (block - group * self._width) * lanes
        to = builder.bind("to", to)
        source = builder.bind("source", second.at(0, block * lanes))
        if square is None:
            with builder.loop("inner", 0, inner) as index:
                value = load_first(second.buffer, source + index * second.row, count, lanes)
                builder.store(self._packed, to + index * step, value, lanes)
            return

        def turn(at: Expr, depth: int) -> None:
            loaded = [
                load_first(second.buffer, source + at + column * second.column, depth, lanes)
                if column < count
                else const(0.0, lanes=lanes)
                for column in range(lanes)
            ]
            for index, vector in enumerate(square.transposed(loaded)[:depth]):
                builder.store(self._packed, to + (at + index) * step, vector, lanes)

        with builder.loop("part", 0, inner // lanes) as part:
            turn(builder.bind("at", part * lanes), lanes)
        if inner % lanes:
            turn(inner // lanes * lanes, inner % lanes)


def batch_bases(
    builder: KernelBuilder, matrix: Expr, batch: Sequence[int], strides: Sequence[Sequence[int]]
) -> list[Expr]:
    """Where each operand begins for one step of the batch loops, counted as one number."""
    index = []
    for extent in reversed(batch):
        index.append(tirx.floormod(matrix, extent))
        matrix = tirx.floordiv(matrix, extent)
    index.reverse()
    found = []
    for own in strides:
        terms = [at * stride for at, stride in zip(index, own, strict=False) if stride]
        found.append(builder.bind("base", sum(terms, 0)))
    return found
