"""Mean or maximum over the whole image. Matches: GlobalPool workloads. One task is one channel block, reduced
in four parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, const, load
from ..object import tvm_target
from ..operands import Operands
from ..workload import GlobalPool, ceil_div

_PARTS = 4
_KINDS: dict[str, tuple[float, Callable[[Expr, Expr], Expr]]] = {
    "average": (0.0, lambda a, b: a + b),
    "max": (float(np.finfo(np.float32).min), tirx.max),
}


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
    acc = builder.local("acc", _PARTS * lanes)
    neutral, join = _KINDS[work.kind]

    def take(index: int, pixel: Expr) -> None:
        value = join(load(acc, index * lanes, lanes), load(source, pixel * lanes, lanes))
        builder.store(acc, index * lanes, value, lanes)

    with builder.loop("task", builder.lo, builder.hi) as task:
        for index in range(_PARTS):
            builder.store(acc, index * lanes, const(neutral, lanes=lanes), lanes)
        first = builder.bind("first", task * work.pixels)
        full, rest = divmod(work.pixels, _PARTS)
        with builder.loop("step", 0, full) as step:
            for index in range(_PARTS):
                take(index, first + step * _PARTS + index)
        for index in range(rest):
            take(index, first + full * _PARTS + index)
        parts = [load(acc, index * lanes, lanes) for index in range(_PARTS)]
        total = join(join(parts[0], parts[1]), join(parts[2], parts[3]))
        if work.kind == "average":
            total = total * const(1.0 / work.pixels, lanes=lanes)
        block = tirx.floormod(task, blocks) if work.batch > 1 else task
        fetch = operands.at(task * lanes, block, task)
        builder.store(output, task * lanes, epilogue.apply(builder, total, work.epilogue, fetch), lanes)
    return builder.finish(tvm_target(target))
