"""Softmax along an axis whose neighbours are not next to each other: `width` consecutive columns at a time.

Matches: Columns workloads. Every lane is a column of its own, so nothing is ever combined across lanes. One
task is a strip of at most `_STRIP` vectors of columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from tvm import tirx

from ... import vectormath
from ...target import Target
from ..builder import Expr, Kernel, KernelBuilder, const, load, load_first
from ..object import tvm_target
from ..workload import Columns, ceil_div

_STRIP = 4
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "strips"


def candidates(work: Columns, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Columns, config: Config, target: Target) -> int:
    return prod(work.extents) * ceil_div(work.width, _STRIP * target.lanes)


def build(work: Columns, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, output."""
    lanes = target.lanes
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.span(work.source, work.read_step), 4)
    output = builder.pointer("output", work.span(work.output, work.write_step), 4)
    top = builder.local("top", _STRIP * lanes)
    total = builder.local("total", _STRIP * lanes)
    power = builder.local("power", lanes)

    def strip(read: Expr, write: Expr, columns: int) -> None:
        counts = [min(lanes, columns - at) for at in range(0, columns, lanes)]

        def each(body: Callable[[int, int, Expr, Expr], None]) -> None:
            """body(which vector, how many columns, where it is read, where it is written) for every row."""
            with builder.loop("row", 0, work.length) as row:
                for part, count in enumerate(counts):
                    at_in = read + row * work.read_step + part * lanes
                    body(part, count, at_in, write + row * work.write_step + part * lanes)

        def highest(part: int, count: int, at_in: Expr, at_out: Expr) -> None:
            held = load(top, part * lanes, lanes)
            value = tirx.max(held, load_first(source, at_in, count, lanes))
            builder.store(top, part * lanes, value, lanes)

        def powers(part: int, count: int, at_in: Expr, at_out: Expr) -> None:
            difference = load_first(source, at_in, count, lanes) - load(top, part * lanes, lanes)
            builder.store(power, 0, vectormath.exp_of_nonpositive(difference), lanes)
            held = load(total, part * lanes, lanes) + load(power, 0, lanes)
            builder.store(total, part * lanes, held, lanes)
            builder.store_first(output, at_out, load(power, 0, lanes), count, lanes)

        def scaled(part: int, count: int, at_in: Expr, at_out: Expr) -> None:
            value = load_first(output, at_out, count, lanes) * load(total, part * lanes, lanes)
            builder.store_first(output, at_out, value, count, lanes)

        for part in range(len(counts)):
            builder.store(top, part * lanes, const(_LOWEST, lanes=lanes), lanes)
            builder.store(total, part * lanes, const(0.0, lanes=lanes), lanes)
        each(highest)
        each(powers)
        for part in range(len(counts)):
            one = const(1.0, lanes=lanes)
            builder.store(total, part * lanes, one / load(total, part * lanes, lanes), lanes)
        each(scaled)

    strips = ceil_div(work.width, _STRIP * lanes)
    rest = work.width - (strips - 1) * _STRIP * lanes
    with builder.loop("task", builder.lo, builder.hi) as task:
        index = builder.bind("strip", tirx.floormod(task, strips))
        outer = tirx.floordiv(task, strips)
        read, write = index * (_STRIP * lanes), index * (_STRIP * lanes)
        for extent, step_in, step_out in reversed(
            list(zip(work.extents, work.source, work.output, strict=True))
        ):
            position = tirx.floormod(outer, extent)
            read, write = read + position * step_in, write + position * step_out
            outer = tirx.floordiv(outer, extent)
        read, write = builder.bind("read", read), builder.bind("write", write)
        if strips > 1:
            with builder.when(index < strips - 1):
                strip(read, write, _STRIP * lanes)
            with builder.when(index == strips - 1):
                strip(read, write, rest)
        else:
            strip(read, write, rest)
    return builder.finish(tvm_target(target))
