"""Between row-major NCHW and channel blocks.

Matches: Relayout workloads. One task is one channel block of one image. Lanes beyond the last channel are
zero when written and dropped when read.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from ..builder import Expr, Kernel, KernelBuilder, const, load
from ..object import tvm_target
from ..workload import Relayout, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "blocks"


def candidates(work: Relayout, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Relayout, config: Config, target: Target) -> int:
    return work.batch * ceil_div(work.channels, target.lanes)


def build(work: Relayout, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, output."""
    lanes = target.lanes
    blocks = ceil_div(work.channels, lanes)
    plain_size = work.batch * work.channels * work.pixels
    blocked_size = work.batch * blocks * work.pixels * lanes
    plain_align = 4 if work.unaligned else target.vector_bytes
    builder = KernelBuilder(symbol)
    if work.to_blocked:
        plain = builder.pointer("input", plain_size, plain_align)
        blocked = builder.pointer("output", blocked_size, target.vector_bytes)
    else:
        blocked = builder.pointer("input", blocked_size, target.vector_bytes)
        plain = builder.pointer("output", plain_size, plain_align)

    def copy(task: Expr, first: Expr, channels: int) -> None:
        with builder.loop("pixel", 0, work.pixels) as pixel:
            at = builder.bind("at", (task * work.pixels + pixel) * lanes)
            for lane in range(lanes):
                outside = (first + lane) * work.pixels + pixel
                if not work.to_blocked:
                    if lane < channels:
                        builder.store(plain, outside, load(blocked, at + lane))
                else:
                    builder.store(blocked, at + lane, load(plain, outside) if lane < channels else const(0.0))

    with builder.loop("task", builder.lo, builder.hi) as task:
        image = builder.bind("image", tirx.floordiv(task, blocks)) if work.batch > 1 else 0
        block = builder.bind("block", tirx.floormod(task, blocks)) if work.batch > 1 else task
        first = builder.bind("first", image * work.channels + block * lanes)
        rest = work.channels % lanes
        if rest == 0:
            copy(task, first, lanes)
        elif blocks == 1:
            copy(task, first, rest)
        else:
            with builder.when(block < blocks - 1):
                copy(task, first, lanes)
            with builder.when(block == blocks - 1):
                copy(task, first, rest)
    return builder.finish(tvm_target(target))
