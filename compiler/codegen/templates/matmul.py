"""Matrix product with two variable sides, batched, any strides.

Matches: MatMul workloads. The register tile is that of `tile.py`: `rows` × `blocks` accumulators. One task is
`chunk` rows of one matrix of the batch. A second matrix that lies column by column (Q·Kᵀ) is first rearranged
into scratch, in the order in which the loop reads it; one that lies row by row is read where it is, or
rearranged too (`pack`) where many rows make that worth while.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tvm import tirx

from ...target import Target
from .. import epilogue, tile
from ..builder import Expr, Kernel, KernelBuilder, broadcast, const, load, load_first
from ..object import tvm_target
from ..tile import Tile
from ..vectors import Square
from ..workload import MatMul, ceil_div

_CHUNK = 128  # rows: enough to make rearranging cheap, few enough for several threads


@dataclass(frozen=True, slots=True)
class Config:
    """`rows` × `blocks` accumulators, `chunk` rows a task; `pack`: rearrange the second matrix."""

    rows: int
    blocks: int
    chunk: int
    pack: bool

    def __str__(self) -> str:
        return f"{self.rows}x{self.blocks} by {self.chunk}{' packed' if self.pack else ''}"


def candidates(work: MatMul, target: Target) -> list[Config]:
    blocks = ceil_div(work.columns, target.lanes)
    if target.vector_registers >= 32:
        tiles = [(6, 4), (7, 3), (10, 2), (14, 2), (4, 4), (24, 1)]
    else:
        tiles = [(4, 3), (6, 2), (5, 2), (2, 4), (12, 1)]
    shapes = dict.fromkeys((min(rows, work.rows), min(width, blocks)) for rows, width in tiles)

    def cost(shape: tuple[int, int]) -> float:
        rows, width = shape
        steps = ceil_div(work.rows, rows) * ceil_div(blocks, width)
        return steps * (max(rows * width, 8) + 0.2 * (rows + 2 * width))

    ordered = sorted(shapes, key=cost)[:3]
    ways = [True] if work.is_transposed else [False, True]
    found = []
    for pack in ways:
        for rows, width in ordered:
            chunk = ceil_div(work.rows, ceil_div(work.rows, _CHUNK))
            found.append(Config(rows, width, ceil_div(chunk, rows) * rows, pack))
    return found[:4]


def tasks(work: MatMul, config: Config, target: Target) -> int:
    return prod(work.batch) * ceil_div(work.rows, config.chunk)


def build(work: MatMul, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: first, second, operands of the epilogue, [scratch], output."""
    return _Builder(work, config, target, symbol).kernel()


class _Builder:
    def __init__(self, work: MatMul, config: Config, target: Target, symbol: str) -> None:
        self.work, self.config, self.target = work, config, target
        self.lanes = target.lanes
        self.blocks = ceil_div(work.columns, self.lanes)
        self.groups = ceil_div(self.blocks, config.blocks)
        self.builder = builder = KernelBuilder(symbol)
        self.first = builder.pointer("first", work.span(work.first, work.rows, work.inner), 4)
        self.second = builder.pointer("second", work.span(work.second, work.inner, work.columns), 4)
        self.operands = [
            builder.pointer(f"operand{index}", work.span(own, work.rows, work.columns), 4)
            for index, own in enumerate(work.operands)
        ]
        size = work.inner * self.blocks * self.lanes
        self.packed = builder.scratch("packed", size) if config.pack else None
        self.output = builder.pointer("output", work.span(work.output, work.rows, work.columns), 4)
        self.acc = builder.local("acc", config.rows * config.blocks * self.lanes)
        self.square = Square(builder, self.lanes) if work.is_transposed else None

    def kernel(self) -> Kernel:
        work, builder, config = self.work, self.builder, self.config
        chunks = ceil_div(work.rows, config.chunk)
        with builder.loop("task", builder.lo, builder.hi) as task:
            matrix = tirx.floordiv(task, chunks) if chunks > 1 else task
            chunk = tirx.floormod(task, chunks) if chunks > 1 else 0
            index = []
            for extent in reversed(work.batch):
                index.append(tirx.floormod(matrix, extent))
                matrix = tirx.floordiv(matrix, extent)
            index.reverse()
            self.bases = [
                builder.bind("base", sum((at * own[i] for i, at in enumerate(index) if own[i]), 0))
                for own in (work.first, work.second, *work.operands, work.output)
            ]
            if self.packed is not None:
                self._pack()
            begin = builder.bind("begin", chunk * config.chunk)
            end = begin + config.chunk
            end = builder.bind("end", tirx.min(end, work.rows) if chunks > 1 else work.rows)
            full = self.blocks - (self.groups - 1) * config.blocks
            last_lanes = work.columns - (self.blocks - 1) * self.lanes
            whole = self.groups if (full, last_lanes) == (config.blocks, self.lanes) else self.groups - 1
            with builder.loop("group", 0, whole) as group:
                self._rows(begin, end, group, config.blocks, self.lanes)
            if whole < self.groups:
                self._rows(begin, end, self.groups - 1, full, last_lanes)
        return builder.finish(tvm_target(self.target))

    def _rows(self, begin: Expr, end: Expr, group: Expr, width: int, last_lanes: int) -> None:
        """All rows of the task, for one group of blocks."""
        builder, rows = self.builder, self.config.rows
        rest = self.work.rows % rows
        steps = tirx.floordiv(end - begin, rows) if rest or not isinstance(end, int) else end // rows
        with builder.loop("step", 0, steps) as step:
            self._tile(builder.bind("row", begin + step * rows), rows, group, width, last_lanes)
        if rest:
            last = self.work.rows - rest
            if isinstance(end, int):
                self._tile(last, rest, group, width, last_lanes)
            else:
                with builder.when(end == self.work.rows):
                    self._tile(last, rest, group, width, last_lanes)

    def _tile(self, row: Expr, rows: int, group: Expr, width: int, last_lanes: int) -> None:
        builder, work, lanes = self.builder, self.work, self.lanes
        shape = Tile(rows, width, lanes)
        base_first, base_second, *base_operands, base_output = self.bases
        tile.clear(builder, self.acc, shape, None)
        start = builder.bind("start", base_first + row * work.first[-2])
        block = group * self.config.blocks
        if self.packed is None:
            column = builder.bind("column", base_second + block * lanes)
        else:
            column = builder.bind("column", block * (work.inner * lanes))
        with builder.loop("inner", 0, work.inner) as inner:

            def weights(index: int) -> Expr:
                if self.packed is not None:
                    return load(self.packed, column + inner * (width * lanes) + index * lanes, lanes)
                count = last_lanes if index == width - 1 else lanes
                at = column + inner * work.second[-2] + index * lanes
                return load_first(self.second, at, count, lanes)

            values = [
                load(self.first, start + (index * work.first[-2] + inner * work.first[-1]))
                for index in range(rows)
            ]
            tile.multiply_add(builder, self.acc, shape, weights, values)
        for index in range(rows):
            for block_index in range(width):
                count = last_lanes if block_index == width - 1 else lanes
                first_column = (block + block_index) * lanes

                def fetch(
                    operand: int, line: Expr = row + index, at: Expr = first_column, n: int = count
                ) -> Expr:
                    own = work.operands[operand]
                    position = base_operands[operand] + line * own[-2] + at * own[-1]
                    if own[-1] == 0:
                        return broadcast(load(self.operands[operand], position), lanes)
                    return load_first(self.operands[operand], position, n, lanes)

                value = tile.accumulator(self.acc, shape, index, block_index)
                value = epilogue.apply(value, work.epilogue, fetch)
                position = base_output + (row + index) * work.output[-2] + first_column
                builder.store_first(self.output, position, value, count, lanes)

    def _pack(self) -> None:
        """The second matrix as [group][inner][blocks of the group][lanes]; missing columns are zero."""
        builder, work, lanes = self.builder, self.work, self.lanes
        full, rest = divmod(work.columns, lanes)
        with builder.loop("block", 0, full) as block:
            self._pack_block(block, lanes)
        if rest:
            self._pack_block(full, rest)

    def _pack_block(self, block: Expr, count: int) -> None:
        builder, work, config, lanes = self.builder, self.work, self.config, self.lanes
        group = tirx.floordiv(block, config.blocks) if not isinstance(block, int) else block // config.blocks
        inside = block - group * config.blocks
        width = tirx.min(config.blocks, self.blocks - group * config.blocks)
        width = builder.bind("width", width) if self.blocks % config.blocks else config.blocks
        to = builder.bind("to", group * (config.blocks * work.inner * lanes) + inside * lanes)
        step = width * lanes
        source = self.bases[1] + block * (lanes * work.second[-1])
        source = builder.bind("source", source)
        if not work.is_transposed:
            with builder.loop("inner", 0, work.inner) as inner:
                value = load_first(self.second, source + inner * work.second[-2], count, lanes)
                builder.store(self.packed, to + inner * step, value, lanes)
            return
        full, rest = divmod(work.inner, lanes)
        with builder.loop("part", 0, full) as part:
            self._pack_square(source + part * lanes, to + part * (lanes * step), step, count, lanes)
        if rest:
            self._pack_square(source + full * lanes, to + full * (lanes * step), step, count, rest)

    def _pack_square(self, source: Expr, to: Expr, step: Expr, columns: int, depth: int) -> None:
        builder, lanes = self.builder, self.lanes
        assert self.square is not None
        loaded = [
            load_first(self.second, source + index * self.work.second[-1], depth, lanes)
            if index < columns
            else const(0.0, lanes=lanes)
            for index in range(lanes)
        ]
        for index, vector in enumerate(self.square.transposed(loaded)[:depth]):
            builder.store(self.packed, to + index * step, vector, lanes)
