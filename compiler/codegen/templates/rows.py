"""Softmax and layer normalisation of rows of consecutive elements.

Matches: Rows workloads. A row is read from memory once; its later passes find it in the first-level cache.
Sums run in `_SUMS` vectors, so that no addition waits for the one before. One task is one row.
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
from ..vectors import reduced
from ..workload import Rows, ceil_div

_SUMS = 4
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "rows"


def candidates(work: Rows, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Rows, config: Config, target: Target) -> int:
    return prod(work.extents)


def build(work: Rows, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, [scale, [bias]], output."""
    builder = KernelBuilder(symbol)
    source = builder.pointer("input", work.span(work.source), 4)
    padded = ceil_div(work.length, target.lanes) * target.lanes
    normalises = work.kind == "layernorm"
    scale = builder.pointer("scale", padded, target.vector_bytes) if normalises else None
    bias = builder.pointer("bias", padded, target.vector_bytes) if work.bias else None
    output = builder.pointer("output", work.span(work.output), 4)
    row = Row(builder, work.length, target.lanes)
    with builder.loop("task", builder.lo, builder.hi) as task:
        read: Expr = 0
        write: Expr = 0
        for extent, step_in, step_out in reversed(
            list(zip(work.extents, work.source, work.output, strict=True))
        ):
            position = tirx.floormod(task, extent)
            read, write = read + position * step_in, write + position * step_out
            task = tirx.floordiv(task, extent)
        read, write = builder.bind("read", read), builder.bind("write", write)
        if normalises:
            _normalise(builder, row, (source, read), (output, write), work.epsilon, scale, bias)
        else:
            _softmax(builder, row, (source, read), (output, write))
    return builder.finish(tvm_target(target))


Place = tuple[Expr, Expr]
"""A buffer, and where a row begins in it."""


class Row:
    """A row in vectors, the last one perhaps in part."""

    def __init__(self, builder: KernelBuilder, length: int, lanes: int) -> None:
        self.builder, self.length, self.lanes = builder, length, lanes
        self.partial = builder.local("partial", _SUMS * lanes)
        self.held = {name: builder.local(name, lanes) for name in ("total", "factor", "shift")}

    def each(self, body: Callable[[Expr, int, int], None]) -> None:
        """body(first element, how many, which of the partial results) for every vector."""
        lanes = self.lanes
        step = _SUMS * lanes
        with self.builder.loop("step", 0, self.length // step) as index:
            for part in range(_SUMS):
                body(index * step + part * lanes, lanes, part)
        done = self.length // step * step
        for part, at in enumerate(range(done, self.length, lanes)):
            body(at, min(lanes, self.length - at), part)

    def reduce(
        self,
        name: str,
        start: float,
        combine: Callable[[Expr, Expr], Expr],
        value: Callable[[Expr, int], Expr],
    ) -> Expr:
        """Combines all vectors, lanes that do not exist left out; the result stands in every lane."""
        builder, lanes = self.builder, self.lanes
        for part in range(_SUMS):
            builder.store(self.partial, part * lanes, const(start, lanes=lanes), lanes)

        def body(at: Expr, count: int, part: int) -> None:
            found = value(at, count)
            if count < lanes:
                found = _first_lanes(count, found, start, lanes)
            held = load(self.partial, part * lanes, lanes)
            builder.store(self.partial, part * lanes, combine(held, found), lanes)

        self.each(body)
        parts = [load(self.partial, part * lanes, lanes) for part in range(_SUMS)]
        while len(parts) > 1:
            parts = [combine(*parts[at : at + 2]) for at in range(0, len(parts), 2)]
        builder.store(self.held[name], 0, parts[0], lanes)
        reduced(builder, self.held[name], 0, lanes, combine)
        return load(self.held[name], 0, lanes)

    def keep(self, name: str, value: Expr) -> Expr:
        """Holds a vector in a register."""
        self.builder.store(self.held[name], 0, value, self.lanes)
        return load(self.held[name], 0, self.lanes)


def _first_lanes(count: int, value: Expr, other: float, lanes: int) -> Expr:
    """The first `count` lanes of `value`, `other` in the rest."""
    inside = tirx.Ramp(tirx.const(0, "int32"), 1, lanes) < tirx.Broadcast(tirx.const(count, "int32"), lanes)
    return tirx.Select(inside, value, const(other, lanes=lanes))


def _add(a: Expr, b: Expr) -> Expr:
    return a + b


def _softmax(builder: KernelBuilder, row: Row, source: Place, output: Place) -> None:
    lanes = row.lanes
    factor = row.keep("factor", const(1.0, lanes=lanes) / powers(builder, row, source, output))

    def scale(at: Expr, count: int, part: int) -> None:
        value = load_first(output[0], output[1] + at, count, lanes) * factor
        builder.store_first(output[0], output[1] + at, value, count, lanes)

    row.each(scale)


def powers(builder: KernelBuilder, row: Row, source: Place, output: Place) -> Expr:
    """Writes e^(x − the largest x of the row); their sum stands in every lane of the result."""
    lanes = row.lanes
    top = row.reduce(
        "shift", _LOWEST, tirx.max, lambda at, count: load_first(source[0], source[1] + at, count, lanes)
    )

    def power(at: Expr, count: int) -> Expr:
        value = vectormath.exp_of_nonpositive(load_first(source[0], source[1] + at, count, lanes) - top)
        row.keep("factor", value)
        builder.store_first(output[0], output[1] + at, load(row.held["factor"], 0, lanes), count, lanes)
        return load(row.held["factor"], 0, lanes)

    return row.reduce("total", 0.0, _add, power)


def _normalise(
    builder: KernelBuilder,
    row: Row,
    source: Place,
    output: Place,
    epsilon: float,
    scale: Expr,
    bias: Expr | None,
) -> None:
    lanes = row.lanes
    share = const(1.0 / row.length, lanes=lanes)

    def read(at: Expr, count: int) -> Expr:
        return load_first(source[0], source[1] + at, count, lanes)

    mean = row.keep("shift", row.reduce("shift", 0.0, _add, read) * share)

    def square(at: Expr, count: int) -> Expr:
        centred = read(at, count) - mean
        return centred * centred

    variance = row.reduce("total", 0.0, _add, square) * share
    factor = row.keep("factor", vectormath.rsqrt(variance + const(epsilon, lanes=lanes)))

    def scaled(at: Expr, count: int, part: int) -> None:
        value = (read(at, count) - mean) * (factor * load(scale, at, lanes))
        if bias is not None:
            value = value + load(bias, at, lanes)
        builder.store_first(output[0], output[1] + at, value, count, lanes)

    row.each(scaled)
