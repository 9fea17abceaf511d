"""Nearest-neighbour enlargement by whole factors. Matches: Upsample workloads. One task is one input row of
one block.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Kernel, KernelBuilder, load
from ..object import tvm_target
from ..operands import Operands
from ..workload import Upsample, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "rows"


def candidates(work: Upsample, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Upsample, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes) * work.height


def build(work: Upsample, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the epilogue, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    rows, columns = work.factors
    pixels = work.batch * blocks * work.height * work.width
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", pixels * lanes, target.vector_bytes)
    operands = Operands(builder, work.epilogue, work.batch, blocks, pixels * rows * columns * lanes, lanes)
    output = builder.pointer("output", pixels * rows * columns * lanes, target.vector_bytes)
    with builder.loop("task", builder.lo, builder.hi) as task:
        image_block = builder.bind("image_block", tirx.floordiv(task, work.height))
        block = tirx.floormod(image_block, blocks) if work.batch > 1 else image_block
        with builder.loop("column", 0, work.width) as column:
            value = load(source, (task * work.width + column) * lanes, lanes)
            for row in range(rows):
                base = ((task * rows + row) * work.width + column) * (columns * lanes)
                base = builder.bind("base", base)
                for copy in range(columns):
                    at = base + copy * lanes
                    result = epilogue.apply(
                        builder, value, work.epilogue, operands.at(at, block, image_block)
                    )
                    builder.store(output, at, result, lanes)
    return builder.finish(tvm_target(target))
