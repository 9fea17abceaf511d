"""Attention by rows: query times keys, scale and masks, softmax, times values, without the scores in memory.

Matches: Attention workloads. One task is `chunk` queries of one head: their scores stay in the thread's
scratch, and so in the cache. Keys and values are rearranged once for each head that a thread works on: they
come from wide rows, a page apart. The sum of a row of the softmax divides at the very end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tvm import tirx

from ...target import Target
from .. import tile
from ..builder import Expr, Kernel, KernelBuilder, broadcast, const, load
from ..object import tvm_target
from ..product import Matrix, Product, batch_bases
from ..vectors import Square
from ..workload import Attention, ceil_div
from .matmul import finisher
from .rows import Row, powers

_CHUNK = 96  # queries: enough to make rearranging cheap, few enough for several threads


@dataclass(frozen=True, slots=True)
class Config:
    """`rows` × `keys` accumulators for the scores, `rows` × `values` for the result; `chunk` queries a
    task.
    """

    rows: int
    keys: int
    values: int
    chunk: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.keys} {self.rows}x{self.values} by {self.chunk}"


def candidates(work: Attention, target: Target) -> list[Config]:
    # Scores of a task shall leave room in the second-level cache for keys and values.
    most = max(1, target.l2_bytes // 4 // (4 * work.keys))
    blocks = [ceil_div(columns, target.lanes) for columns in (work.keys, work.width)]
    shapes = [(min(rows, work.rows), width) for rows, width in tile.shapes(target)]
    pairs = {
        (rows, min(keys, blocks[0]), min(values, blocks[1]))
        for rows, keys in shapes
        for other, values in shapes
        if rows == other
    }

    def cost(pair: tuple[int, int, int]) -> float:
        rows, *widths = pair
        steps = [
            inner * ceil_div(n, width) * tile.step_cost(target, rows, width)
            for inner, n, width in zip((work.inner, work.keys), blocks, widths, strict=True)
        ]
        return ceil_div(work.rows, rows) * sum(steps)

    return [
        Config(rows, keys, values, max(1, min(most, _CHUNK, work.rows) // rows) * rows)
        for rows, keys, values in sorted(pairs, key=lambda pair: (cost(pair), pair))[:4]
    ]


def tasks(work: Attention, config: Config, target: Target) -> int:
    return prod(work.batch) * ceil_div(work.rows, config.chunk)


def build(work: Attention, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: queries, keys, values, operands of the steps, scratch (four), output."""
    lanes, chunk = target.lanes, config.chunk
    pitch = ceil_div(work.keys, lanes) * lanes
    builder = KernelBuilder(symbol)
    queries = builder.pointer("queries", work.span(work.first, work.rows, work.inner), 4)
    keys = builder.pointer("keys", work.span(work.second, work.inner, work.keys), 4)
    values = builder.pointer("values", work.span(work.third, work.keys, work.width), 4)
    operands = [
        builder.pointer(f"operand{index}", work.span(own, work.rows, work.keys), 4)
        for index, own in enumerate(work.operands)
    ]
    packed = builder.scratch("packed", work.inner * pitch)
    held_values = builder.scratch("held_values", work.keys * ceil_div(work.width, lanes) * lanes)
    scores = builder.scratch("scores", chunk * pitch)
    factors = builder.scratch("factors", chunk)
    output = builder.pointer("output", work.span(work.output, work.rows, work.width), 4)
    acc = builder.local("acc", config.rows * max(config.keys, config.values) * lanes)
    square = Square(builder, lanes) if work.second[-1] != 1 else None
    by_lane = target.multiplies_by_lane
    into = Product(
        builder, (config.rows, config.keys), (work.rows, work.inner, work.keys), lanes, acc,
        packed=packed, by_lane=by_lane,
    )  # fmt: skip
    out_of = Product(
        builder, (config.rows, config.values), (work.rows, work.keys, work.width), lanes, acc,
        packed=held_values, by_lane=by_lane,
    )  # fmt: skip
    row = Row(builder, work.keys, lanes)
    chunks = ceil_div(work.rows, chunk)
    strides = [work.first, work.second, work.third, *work.operands, work.output]
    with builder.loop("task", builder.lo, builder.hi) as task:
        part = builder.bind("part", tirx.floormod(task, chunks))
        bases = batch_bases(builder, tirx.floordiv(task, chunks), work.batch, strides)
        right = Matrix(keys, bases[1], *work.second[-2:])
        mixed = Matrix(values, bases[2], *work.third[-2:])
        with builder.when(tirx.Or(part == 0, task == builder.lo)):
            into.pack(right, square)
            out_of.pack(mixed, None)
        begin: Expr = builder.bind("begin", part * chunk)
        end: Expr = work.rows if chunks == 1 else builder.bind("end", tirx.min(begin + chunk, work.rows))
        held = Matrix(scores, builder.bind("held", begin * -pitch), pitch, 1)
        finish = finisher(builder, work.steps, operands, work.operands, bases[3:-1], held, lanes)
        into.run(begin, end, Matrix(queries, bases[0], *work.first[-2:]), right, finish)
        with builder.loop("query", 0, end - begin) as query:
            place = (scores, builder.bind("line", query * pitch))
            row.keep("factor", const(1.0, lanes=lanes) / powers(builder, row, place, place))
            builder.store(factors, query, load(row.held["factor"], 0))

        def divided(line: Expr, column: Expr, value: Expr, count: int) -> None:
            factor = broadcast(load(factors, line - begin), lanes)
            position = bases[-1] + line * work.output[-2] + column
            builder.store_first(output, position, value * factor, count, lanes)

        out_of.run(begin, end, held, mixed, divided)
    return builder.finish(tvm_target(target))
