"""Between row-major NCHW and channel blocks.

Matches: Relayout workloads. One task is one channel block of one image. Lanes beyond the last channel are
zero when written and dropped when read. Squares of pixels and channels are transposed in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from ..builder import Expr, Kernel, KernelBuilder, const, load, load_first
from ..object import tvm_target
from ..vectors import Square
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

    square = Square(builder, lanes)
    zero = const(0.0, lanes=lanes)

    def turn(task: Expr, first: Expr, channels: int, pixel: Expr, pixels: int) -> None:
        inside = [(task * work.pixels + pixel + index) * lanes for index in range(pixels)]
        outside = [(first + lane) * work.pixels + pixel for lane in range(channels)]
        if work.to_blocked:
            rows = [load_first(plain, at, pixels, lanes) for at in outside]
            columns = square.transposed([*rows, *[zero] * (lanes - channels)])
            for at, vector in zip(inside, columns, strict=False):
                builder.store(blocked, at, vector, lanes)
        else:
            columns = [load(blocked, at, lanes) for at in inside]
            rows = square.transposed([*columns, *[zero] * (lanes - pixels)])
            for at, vector in zip(outside, rows, strict=False):
                builder.store_first(plain, at, vector, pixels, lanes)

    def copy(task: Expr, first: Expr, channels: int) -> None:
        full, rest = divmod(work.pixels, lanes)
        with builder.loop("part", 0, full) as part:
            turn(task, first, channels, builder.bind("pixel", part * lanes), lanes)
        if rest:
            turn(task, first, channels, full * lanes, rest)

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
