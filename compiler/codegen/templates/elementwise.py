"""A chain of element-wise operations, or a plain copy, over tensors of any rank and any strides.

Matches: Map workloads. The innermost loop goes along the output's consecutive elements, in vectors; an
operand either goes along with it or stays the same (broadcast); the source may jump. One task is a piece of
about `_PIECE` elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm import tirx

from ...target import Target
from .. import epilogue
from ..builder import Expr, Kernel, KernelBuilder, broadcast, load, load_first
from ..object import tvm_target
from ..workload import Map, ceil_div

_PIECE = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "pieces"


@dataclass(frozen=True, slots=True)
class _Pieces:
    """How the loops become tasks: `outer` loops, then the loop `cut` in pieces of `size` steps; what lies
    inside it runs within the task.
    """

    outer: int
    size: int
    count: int


def _pieces(work: Map, lanes: int) -> _Pieces:
    cut = len(work.extents) - 1
    inside = 1
    while cut > 0 and inside * work.extents[cut] < _PIECE // 2 and len(work.extents) - cut < 3:
        inside *= work.extents[cut]
        cut -= 1
    size = max(1, _PIECE // inside)
    if cut == len(work.extents) - 1:
        size = ceil_div(size, lanes) * lanes
    size = min(size, work.extents[cut])
    return _Pieces(cut, size, ceil_div(work.extents[cut], size))


def candidates(work: Map, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Map, config: Config, target: Target) -> int:
    pieces = _pieces(work, target.lanes)
    return prod(work.extents[: pieces.outer]) * pieces.count


def build(work: Map, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, operands of the steps, output."""
    lanes = target.lanes
    builder = KernelBuilder(symbol)
    strides = [work.source, *work.operands, work.output]
    names = ["input", *(f"operand{index}" for index in range(len(work.operands))), "output"]
    buffers = [builder.pointer(name, work.span(own), 4) for name, own in zip(names, strides, strict=True)]
    pieces = _pieces(work, lanes)
    walk = _Walk(builder, work, buffers, strides, lanes)
    with builder.loop("task", builder.lo, builder.hi) as task:
        piece = tirx.floormod(task, pieces.count) if pieces.count > 1 else 0
        rest = tirx.floordiv(task, pieces.count) if pieces.count > 1 else task
        index = []
        for extent in reversed(work.extents[: pieces.outer]):
            index.append(tirx.floormod(rest, extent))
            rest = tirx.floordiv(rest, extent)
        starts = [_position(index[::-1], own) for own in strides]
        starts = [builder.bind("start", start) for start in starts]
        first = builder.bind("first", piece * pieces.size)
        walk.part(pieces.outer, starts, first, pieces)
    return builder.finish(tvm_target(target))


def _position(index: Sequence[Expr], strides: Sequence[int]) -> Expr:
    return sum((at * stride for at, stride in zip(index, strides, strict=False) if stride), 0)


class _Walk:
    """The loops inside a task."""

    def __init__(
        self,
        builder: KernelBuilder,
        work: Map,
        buffers: Sequence[Expr],
        strides: Sequence[tuple[int, ...]],
        lanes: int,
    ) -> None:
        self._builder, self._work, self._buffers = builder, work, buffers
        self._strides, self._lanes = strides, lanes

    def part(self, depth: int, starts: Sequence[Expr], first: Expr, pieces: _Pieces) -> None:
        """Steps first … first + size of the loop at `depth`, as far as they exist."""
        builder, extent, lanes = self._builder, self._work.extents[depth], self._lanes
        innermost = depth == len(self._work.extents) - 1
        if not innermost:
            last = first + pieces.size
            last = tirx.min(last, extent) if extent % pieces.size else last
            with builder.loop("step", first, last) as step:
                self._inside(depth, starts, step)
            return
        tail = extent % lanes
        count: Expr = pieces.size // lanes
        if pieces.count > 1 and extent % pieces.size:
            count = tirx.min(count, tirx.floordiv(extent - first, lanes))
        with builder.loop("vector", 0, count) as vector:
            self._store(starts, first + vector * lanes, lanes)
        if tail:
            at = extent - tail
            if pieces.count > 1:
                with builder.when(first + pieces.size >= extent):
                    self._store(starts, at, tail)
            else:
                self._store(starts, at, tail)

    def _inside(self, depth: int, starts: Sequence[Expr], step: Expr) -> None:
        builder, depth = self._builder, depth + 1
        bases = [start + step * own[depth - 1] for start, own in zip(starts, self._strides, strict=True)]
        bases = [builder.bind("base", base) for base in bases]
        extent, lanes = self._work.extents[depth], self._lanes
        if depth < len(self._work.extents) - 1:
            with builder.loop("step", 0, extent) as inner:
                self._inside(depth, bases, inner)
            return
        if extent >= lanes:
            with builder.loop("vector", 0, extent // lanes) as vector:
                self._store(bases, vector * lanes, lanes)
        if extent % lanes:
            self._store(bases, extent // lanes * lanes, extent % lanes)

    def _store(self, bases: Sequence[Expr], at: Expr, count: int) -> None:
        def fetch(index: int) -> Expr:
            return self._vector(index, bases[index] + at * self._strides[index][-1], count)

        value = epilogue.apply(self._builder, fetch(0), self._work.epilogue, lambda index: fetch(index + 1))
        self._builder.store_first(self._buffers[-1], bases[-1] + at, value, count, self._lanes)

    def _vector(self, index: int, position: Expr, count: int) -> Expr:
        buffer, stride, lanes = self._buffers[index], self._strides[index][-1], self._lanes
        if stride == 0:
            return broadcast(load(buffer, position), lanes)
        if stride == 1:
            return load_first(buffer, position, count, lanes)
        # Lanes that are not stored read the last element again, so that nothing behind it is touched.
        steps = [tirx.const(min(lane, count - 1) * stride, "int32") for lane in range(lanes)]
        return tirx.Shuffle([load(buffer, position + step) for step in steps], list(range(lanes)))
