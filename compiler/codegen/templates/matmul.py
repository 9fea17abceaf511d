"""Matrix product with two variable sides, batched, any strides.

Matches: MatMul workloads. The register tile is that of `tile.py`: `rows` × `blocks` accumulators. One task is
`chunk` rows of one matrix of the batch. A second matrix that lies column by column (Q·Kᵀ) is first rearranged
into scratch, in the order in which the loop reads it; one that lies row by row is read where it is, or
rearranged too (`pack`) where many rows make that worth while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm import tirx

from ...target import Target
from .. import epilogue, tile
from ..builder import Expr, Kernel, KernelBuilder, broadcast, load, load_first
from ..epilogue import Step
from ..object import tvm_target
from ..product import Finish, Matrix, Product, batch_bases
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
    ways = [True] if work.is_transposed else [False, True]
    chunk = ceil_div(work.rows, ceil_div(work.rows, _CHUNK))
    found = [
        Config(rows, width, ceil_div(chunk, rows) * rows, pack)
        for pack in ways
        for rows, width in tiles(work.rows, work.columns, target)
    ]
    return found[:4]


def tiles(rows: int, columns: int, target: Target) -> list[tuple[int, int]]:
    """The three best shapes of the register tile, by a model of the time."""
    blocks = ceil_div(columns, target.lanes)
    shapes = dict.fromkeys((min(r, rows), min(w, blocks)) for r, w in tile.shapes(target))

    def cost(shape: tuple[int, int]) -> float:
        return ceil_div(rows, shape[0]) * ceil_div(blocks, shape[1]) * tile.step_cost(target, *shape)

    return sorted(shapes, key=cost)[:3]


def tasks(work: MatMul, config: Config, target: Target) -> int:
    return prod(work.batch) * ceil_div(work.rows, config.chunk)


def build(work: MatMul, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: first, second, operands of the epilogue, [scratch], output."""
    lanes, chunk = target.lanes, config.chunk
    builder = KernelBuilder(symbol)
    first = builder.pointer("first", work.span(work.first, work.rows, work.inner), 4)
    second = builder.pointer("second", work.span(work.second, work.inner, work.columns), 4)
    operands = [
        builder.pointer(f"operand{index}", work.span(own, work.rows, work.columns), 4)
        for index, own in enumerate(work.operands)
    ]
    size = work.inner * ceil_div(work.columns, lanes) * lanes
    packed = builder.scratch("packed", size) if config.pack else None
    output = builder.pointer("output", work.span(work.output, work.rows, work.columns), 4)
    acc = builder.local("acc", config.rows * config.blocks * lanes)
    square = Square(builder, lanes) if work.is_transposed else None
    product = Product(
        builder, (config.rows, config.blocks), (work.rows, work.inner, work.columns), lanes, acc,
        packed=packed, by_lane=target.multiplies_by_lane,
    )  # fmt: skip
    chunks = ceil_div(work.rows, chunk)
    strides = [work.first, work.second, *work.operands, work.output]
    with builder.loop("task", builder.lo, builder.hi) as task:
        part = tirx.floormod(task, chunks) if chunks > 1 else 0
        matrix = tirx.floordiv(task, chunks) if chunks > 1 else task
        bases = batch_bases(builder, matrix, work.batch, strides)
        left = Matrix(first, bases[0], *work.first[-2:])
        right = Matrix(second, bases[1], *work.second[-2:])
        if packed is not None:
            if chunks > 1:  # the task before may have left it there
                with builder.when(tirx.Or(part == 0, task == builder.lo)):
                    product.pack(right, square)
            else:
                product.pack(right, square)
        begin: Expr = builder.bind("begin", part * chunk)
        end: Expr = work.rows
        if chunks > 1:
            end = builder.bind("end", tirx.min(begin + chunk, work.rows))
        finish = finisher(
            builder, work.epilogue, operands, work.operands, bases[2:-1],
            Matrix(output, bases[-1], work.output[-2], 1), lanes,
        )  # fmt: skip
        product.run(begin, end, left, right, finish)
    return builder.finish(tvm_target(target))


def finisher(
    builder: KernelBuilder,
    steps: Sequence[Step],
    operands: Sequence[Expr],
    strides: Sequence[tuple[int, ...]],
    bases: Sequence[Expr],
    output: Matrix,
    lanes: int,
) -> Finish:
    """Applies the steps to a vector of results and stores it."""

    def finish(row: Expr, column: Expr, value: Expr, count: int) -> None:
        def fetch(index: int) -> Expr:
            position = bases[index] + row * strides[index][-2] + column * strides[index][-1]
            if strides[index][-1] == 0:
                return broadcast(load(operands[index], position), lanes)
            return load_first(operands[index], position, count, lanes)

        value = epilogue.apply(builder, value, steps, fetch)
        builder.store_first(output.buffer, output.at(row, column), value, count, lanes)

    return finish
