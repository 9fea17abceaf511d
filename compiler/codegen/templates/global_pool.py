"""Mean over the whole image. Matches: GlobalPool workloads. One task is one channel block, summed in four
partial sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Kernel, KernelBuilder, const, load
from ..object import tvm_target
from ..operands import Operands
from ..workload import GlobalPool, ceil_div

_SUMS = 4


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "rows"


def candidates(work: GlobalPool, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: GlobalPool, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes)


def build(work: GlobalPool, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the epilogue, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.batch * blocks * work.pixels * lanes, target.vector_bytes)
    operands = Operands(builder, work.epilogue, work.batch, blocks, work.batch * blocks * lanes, lanes)
    output = builder.pointer("output", work.batch * blocks * lanes, target.vector_bytes)
    acc = builder.local("acc", _SUMS * lanes)
    with builder.loop("task", builder.lo, builder.hi) as task:
        for index in range(_SUMS):
            builder.store(acc, index * lanes, const(0.0, lanes=lanes), lanes)
        base = builder.bind("base", task * (work.pixels * lanes))
        full, rest = divmod(work.pixels, _SUMS)
        with builder.loop("step", 0, full) as step:
            for index in range(_SUMS):
                value = load(source, base + (step * _SUMS + index) * lanes, lanes)
                builder.store(acc, index * lanes, load(acc, index * lanes, lanes) + value, lanes)
        for index in range(rest):
            value = load(source, base + (full * _SUMS + index) * lanes, lanes)
            builder.store(acc, index * lanes, load(acc, index * lanes, lanes) + value, lanes)
        pairs = [load(acc, index * lanes, lanes) for index in range(_SUMS)]
        total = ((pairs[0] + pairs[1]) + (pairs[2] + pairs[3])) * const(1.0 / work.pixels, lanes=lanes)
        block = tirx.floormod(task, blocks) if work.batch > 1 else task
        fetch = operands.at(task * lanes, block, task)
        builder.store(output, task * lanes, epilogue.apply(total, work.epilogue, fetch), lanes)
    return builder.finish(tvm_target(target))
