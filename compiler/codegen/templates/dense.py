"""Matrix product with a constant right side.

Matches: Dense workloads. Layouts: input and output row-major, weights `[groups of blocks][inner][blocks][x]`.
Parameters: `rows` × `blocks` accumulators. One task is one tile of rows and one group of blocks; with one row
the weights are read once, in order, which is what memory likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ...target import Target
from .. import epilogue, tile
from ..builder import Expr, Kernel, KernelBuilder, load, load_first
from ..object import tvm_target
from ..product import accumulate
from ..tile import Tile
from ..workload import Dense, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """`rows` × `blocks` accumulators."""

    rows: int
    blocks: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.blocks}"


def candidates(work: Dense, target: Target) -> list[Config]:
    blocks = ceil_div(work.columns, target.lanes)
    # A single row reads the weights once: memory wants a few streams of them, whatever the registers allow.
    shapes = [(1, 4), (1, 8)] if work.rows == 1 else tile.shapes(target)
    found = dict.fromkeys(Config(min(rows, work.rows), min(width, blocks)) for rows, width in shapes)

    def cost(config: Config) -> float:
        steps = ceil_div(work.rows, config.rows) * ceil_div(blocks, config.blocks)
        return steps * tile.step_cost(target, config.rows, config.blocks)

    return sorted(found, key=cost)[:3]


def _groups(work: Dense, config: Config, target: Target) -> int:
    return ceil_div(ceil_div(work.columns, target.lanes), config.blocks)


def tasks(work: Dense, config: Config, target: Target) -> int:
    return _groups(work, config, target) * ceil_div(work.rows, config.rows)


def pack(work: Dense, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(inner, columns) in the order the kernel reads it; missing columns are zero."""
    lanes = target.lanes
    blocks = ceil_div(work.columns, lanes)
    padded = np.zeros((work.inner, blocks * lanes), np.float32)
    padded[:, : work.columns] = weight
    step = config.blocks * lanes
    return np.concatenate([padded[:, at : at + step].ravel() for at in range(0, blocks * lanes, step)])


def build(work: Dense, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue (per column, or
    of the output's shape), output."""
    lanes = target.lanes
    blocks = ceil_div(work.columns, lanes)
    groups = _groups(work, config, target)
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.rows * work.inner, 4)
    weights = builder.pointer("weights", work.inner * blocks * lanes, target.vector_bytes)
    bias = builder.pointer("bias", blocks * lanes, target.vector_bytes) if work.bias else None
    operands = [
        builder.pointer(f"operand{index}", blocks * lanes, target.vector_bytes)
        if step.operand == "channel"
        else builder.pointer(f"operand{index}", work.rows * work.columns, 4)
        for index, step in enumerate(step for step in work.epilogue if step.takes_argument)
    ]
    kinds = [step.operand for step in work.epilogue if step.takes_argument]
    output = builder.pointer("output", work.rows * work.columns, 4)
    acc = builder.local("acc", config.rows * config.blocks * lanes)

    def body(row: Expr, rows: int, group: Expr, width: int, last_lanes: int) -> None:
        shape = Tile(rows, width, lanes)
        first_block = group * config.blocks
        tile.clear(
            builder,
            acc,
            shape,
            None if bias is None else lambda block: load(bias, (first_block + block) * lanes, lanes),
        )
        at = builder.bind("at", group * (work.inner * config.blocks * lanes))
        first = builder.bind("first", row * work.inner)
        starts = [first + index * work.inner for index in range(rows)]
        accumulate(
            builder, acc, shape, work.inner, (source, starts, 1),
            lambda inner, block: load(weights, at + inner * (width * lanes) + block * lanes, lanes),
            by_lane=target.multiplies_by_lane,
        )  # fmt: skip
        for index in range(rows):
            for block in range(width):
                position = (row + index) * work.columns + (first_block + block) * lanes
                position = builder.bind("position", position)
                count = last_lanes if block == width - 1 else lanes

                def fetch(
                    operand: int, at: Expr = position, column: Expr = first_block + block, n: int = count
                ) -> Expr:
                    if kinds[operand] == "channel":
                        return load(operands[operand], column * lanes, lanes)
                    return load_first(operands[operand], at, n, lanes)

                value = epilogue.apply(
                    builder, tile.accumulator(acc, shape, index, block), work.epilogue, fetch
                )
                builder.store_first(output, position, value, count, lanes)

    def by_group(row: Expr, rows: int, group: Expr) -> None:
        last_width = blocks - (groups - 1) * config.blocks
        last_lanes = work.columns - (blocks - 1) * lanes
        if groups > 1 and (last_width < config.blocks or last_lanes < lanes):
            with builder.when(group < groups - 1):
                body(row, rows, group, config.blocks, lanes)
            with builder.when(group == groups - 1):
                body(row, rows, group, last_width, last_lanes)
        else:
            body(row, rows, group, last_width, last_lanes)

    row_tiles = ceil_div(work.rows, config.rows)
    rest = work.rows - (row_tiles - 1) * config.rows
    with builder.loop("task", builder.lo, builder.hi) as task:
        group = builder.bind("group", tirx.floordiv(task, row_tiles))
        step = builder.bind("step", tirx.floormod(task, row_tiles))
        row = builder.bind("row", step * config.rows)
        if row_tiles > 1 and rest < config.rows:
            with builder.when(step < row_tiles - 1):
                by_group(row, config.rows, group)
            with builder.when(step == row_tiles - 1):
                by_group(row, rest, group)
        else:
            by_group(row, rest, group)
    return builder.finish(tvm_target(target))
