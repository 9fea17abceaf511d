"""A copy that changes which elements are neighbours: squares of `lanes` × `lanes` transposed in registers.

Matches: Permute workloads. `columns` are consecutive where they are read, `rows` where they are written. One
task is a strip of `lanes` rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tvm import tirx

from ...target import Target
from ..builder import Expr, Kernel, KernelBuilder, const, load_first
from ..object import tvm_target
from ..vectors import Square
from ..workload import Permute, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "squares"


def candidates(work: Permute, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Permute, config: Config, target: Target) -> int:
    return prod(work.extents) * ceil_div(work.rows, target.lanes)


def build(work: Permute, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, output."""
    lanes = target.lanes
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.source_span, 4)
    output = builder.pointer("output", work.output_span, 4)
    square = Square(builder, lanes)
    strips = ceil_div(work.rows, lanes)

    def copy(read: Expr, write: Expr, rows: int, columns: int) -> None:
        loaded = [
            load_first(source, read + row * work.read_stride, columns, lanes)
            if row < rows
            else const(0.0, lanes=lanes)
            for row in range(lanes)
        ]
        for column, vector in enumerate(square.transposed(loaded)[:columns]):
            builder.store_first(output, write + column * work.write_stride, vector, rows, lanes)

    def strip(read: Expr, write: Expr, rows: int) -> None:
        full, rest = divmod(work.columns, lanes)
        with builder.loop("column", 0, full) as column:
            at = builder.bind("at", read + column * lanes)
            to = builder.bind("to", write + column * (lanes * work.write_stride))
            copy(at, to, rows, lanes)
        if rest:
            copy(read + full * lanes, write + full * (lanes * work.write_stride), rows, rest)

    with builder.loop("task", builder.lo, builder.hi) as task:
        index = builder.bind("strip", tirx.floormod(task, strips))
        outer = tirx.floordiv(task, strips)
        read, write = index * (lanes * work.read_stride), index * lanes
        for extent, step_in, step_out in reversed(
            list(zip(work.extents, work.source, work.output, strict=True))
        ):
            position = tirx.floormod(outer, extent)
            read, write = read + position * step_in, write + position * step_out
            outer = tirx.floordiv(outer, extent)
        read, write = builder.bind("read", read), builder.bind("write", write)
        rest = work.rows % lanes
        if not rest:
            strip(read, write, lanes)
        elif strips == 1:
            strip(read, write, rest)
        else:
            with builder.when(index < strips - 1):
                strip(read, write, lanes)
            with builder.when(index == strips - 1):
                strip(read, write, rest)
    return builder.finish(tvm_target(target))
