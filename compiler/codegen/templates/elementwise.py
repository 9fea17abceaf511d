"""A chain of element-wise operations on a blocked tensor. Matches: Map workloads. One task is one channel
block.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Kernel, KernelBuilder, load
from ..object import tvm_target
from ..operands import Operands
from ..workload import Map, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "blocks"


def candidates(work: Map, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Map, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes)


def build(work: Map, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the steps, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    whole = work.batch * blocks * work.pixels * lanes
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", whole, target.vector_bytes)
    operands = Operands(builder, work.epilogue, work.batch, blocks, whole, lanes)
    output = builder.pointer("output", whole, target.vector_bytes)
    with builder.loop("task", builder.lo, builder.hi) as task:
        block = tirx.floormod(task, blocks) if work.batch > 1 else task
        with builder.loop("pixel", 0, work.pixels) as pixel:
            at = builder.bind("at", (task * work.pixels + pixel) * lanes)
            value = epilogue.apply(load(source, at, lanes), work.epilogue, operands.at(at, block, task))
            builder.store(output, at, value, lanes)
    return builder.finish(tvm_target(target))
