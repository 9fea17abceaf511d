"""A group of stages → one kernel: loops, vectors, accumulators, and the task range of the kernel ABI.

One schedule fits all. The last loop runs in vectors, with a tail of ever shorter ones; where a condition on
it splits the work (padding, concatenation), it is cut there, so that no vector straddles a condition. A
reduction keeps several vectors of accumulators, along the last output axis if loads are contiguous there,
else along its own last axis. What is left outside becomes tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import tvm
from tvm import tirx

from ..program import Arg
from .fuse import Group
from .kernel import Environment, Kernel, Nest, integer, is_integer
from .stage import AnyStage, Axis, Expr, RawStage, Stage, Tensor, count, loads, substitute

_VECTORS = 4  # accumulators: enough to hide the latency of an addition
_TASK_WORK = 16384  # evaluations: some microseconds, what is worth handing to a thread
_SHORT = 4  # iterations that are not worth a vector


@dataclass(frozen=True)
class Emitted:
    """A kernel before lowering. The last statement of `body` is the loop over all `tasks`."""

    params: tuple[Expr, ...]
    body: Expr
    args: tuple[Arg, ...]
    tasks: int
    grain: int
    flops: int
    scratch_bytes: int


def emit(
    group: Group,
    tensors: Mapping[Expr, Tensor],
    lanes: int,
    unaligned: frozenset[str],
    filled: Collection[Tensor] = (),
) -> Emitted:
    """The kernel of a group, for vectors of `lanes` float32.

    `unaligned` names the values that may lie at any multiple of their item size; `filled` are the tensors
    that earlier kernels of the node have written.
    """
    kernel = Kernel(tensors, unaligned)
    _declare(kernel, group, filled)
    loop = _Loops(kernel, lanes).of(group)
    tasks = int(loop.extent)
    work = sum(stage.work for stage in group.stages)
    return Emitted(
        params=tuple(kernel.params),
        body=tirx.SeqStmt([*kernel.head, loop]),
        args=tuple(kernel.args),
        tasks=tasks,
        grain=max(1, min(tasks, _TASK_WORK * tasks // max(work, 1))),
        flops=sum(_flops(stage) for stage in group.stages),
        scratch_bytes=kernel.scratch_bytes,
    )


def _declare(kernel: Kernel, group: Group, filled: Collection[Tensor]) -> None:
    """Arguments, what is read before what is written. What a group itself makes, it may read again."""
    written = dict.fromkeys(out for stage in group.stages for out in stage.outs)
    sources = (load.source for stage in group.stages for expr in stage.expressions() for load in loads(expr))
    read = dict.fromkeys(kernel.tensors[source] for source in sources if source in kernel.tensors)
    for tensor in read:
        if tensor not in written:
            kernel.argument(tensor, "read")
    for tensor in written:
        if tensor in group.inner:
            kernel.inner(tensor, group.rows)
        else:
            kernel.argument(tensor, "both" if tensor in filled else "write")


@dataclass(frozen=True)
class _Loops:
    kernel: Kernel
    lanes: int

    def of(self, group: Group) -> Expr:
        """The loop over tasks."""
        first = group.stages[0]
        if isinstance(first, RawStage):
            return self._raw(first)
        stages = [stage for stage in group.stages if isinstance(stage, Stage)]
        return self._rows(stages, group.rows) if len(stages) > 1 else self._single(stages[0])

    # --- tasks ---

    def _rows(self, stages: Sequence[Stage], rows: int) -> Expr:
        """One task a row."""
        extents = [axis.extent for axis in stages[0].axes[:rows]]
        task = self.kernel.variable("task", prod(extents))
        position = self.kernel.decoded(task, extents)
        body = []
        for stage in stages:
            fixed = {axis.var: place for axis, place in zip(stage.axes, position, strict=False)}
            nest = self.kernel.nest(stage, fixed, stage.axes[rows:])
            body.append(self._all(nest, {}, nest.loops))
        return _serial(task, prod(extents), _sequence(body))

    def _raw(self, stage: RawStage) -> Expr:
        """One task for each value of the axes."""
        self.kernel.head.extend(tirx.AllocBuffer(buffer) for buffer in stage.locals)
        for tensor in stage.scratch:
            self.kernel.inner(tensor, 0)
        extents = [axis.extent for axis in stage.axes]
        task = self.kernel.variable("task", prod(extents))
        position = self.kernel.decoded(task, extents)
        env = {axis.var: place for axis, place in zip(stage.axes, position, strict=True)}
        return _serial(task, prod(extents), self.kernel.value(stage.body, env))

    def _single(self, stage: Stage) -> Expr:
        """Tasks are all outer loops and pieces of the last one."""
        kernel = self.kernel
        nest = kernel.nest(stage, {}, stage.axes)
        if not nest.loops or self._reduces_along_lanes(nest):
            extents = [axis.extent for axis in nest.loops]
            task = kernel.variable("task", prod(extents))
            env = _at(nest.loops, kernel.decoded(task, extents))
            return _serial(task, prod(extents), self._all(nest, env, ()))
        *outer, last = nest.loops
        families = self._families(nest, last)
        pieces = sum(times for _, _, times in families)
        extents = [axis.extent for axis in outer]
        tasks = prod(extents) * pieces
        task = kernel.variable("task", tasks)
        row, piece = tirx.floordiv(task, integer(pieces)), tirx.floormod(task, integer(pieces))
        env = _at(outer, kernel.decoded(row, extents))
        body, first = None, pieces
        for start, length, times in reversed(families):
            first -= times
            number = kernel.variable("piece", times)
            part = self._across(
                nest, env, last, integer(start) + number * integer(length), start, length, times
            )
            part = tirx.SeqStmt([tirx.Bind(number, kernel.simplify(piece - integer(first))), part])
            body = (
                part
                if body is None
                else tirx.IfThenElse(kernel.simplify(piece < integer(first + times)), part, body)
            )
        return _serial(task, tasks, body)

    def _families(self, nest: Nest, last: Axis) -> list[tuple[int, int, int]]:
        """The last loop in pieces for tasks: (start, length, how many such pieces follow each other)."""
        per_element = prod(axis.extent for axis in nest.reduce)
        vector = self.lanes * _VECTORS
        chunk = max(vector, _TASK_WORK // per_element // vector * vector)
        if last.extent <= chunk:
            return [(0, last.extent, 1)]
        families = []
        for start, length in self.kernel.cuts(nest, {}, last):
            full, rest = divmod(length, chunk)
            families += [(start, chunk, full)] if full else []
            families += [(start + full * chunk, rest, 1)] if rest else []
        return families

    # --- loops within a task ---

    def _all(self, nest: Nest, env: Environment, loops: Sequence[Axis]) -> Expr:
        """Every value of `loops`, the last one in vectors if that suits the stage."""
        if nest.combine is not None and self._reduces_along_lanes(nest, loops):
            body, outer = self._along(nest, env), loops
        elif loops:
            *outer, last = loops
            body = self._across(nest, env, last, integer(0), 0, last.extent, 1)
        else:
            body, outer = self._block(nest, env, 1, 1), loops
        for axis in reversed(outer):
            body = _serial(axis.var, axis.extent, body)
        return body

    def _reduces_along_lanes(self, nest: Nest, loops: Sequence[Axis] | None = None) -> bool:
        """Whether vectors of a reduction run along its own last loop, not along the last output loop."""
        loops = nest.loops if loops is None else loops
        if not nest.reduce or nest.reduce[-1].extent < _SHORT:
            return False

        def is_contiguous(axis: Axis) -> bool:
            return all(step in (0, 1) for step in self.kernel.strides(nest.value, axis.var))

        if loops and loops[-1].extent >= _SHORT and is_contiguous(loops[-1]):
            return False
        return is_contiguous(nest.reduce[-1])

    def _across(
        self, nest: Nest, env: Environment, axis: Axis, base: Expr, start: int, length: int, times: int
    ) -> Expr:
        """`length` values of `axis` from `base` = start + (a piece < times)·length on, in vectors."""
        kernel = self.kernel
        whole = [(0, length)] if times > 1 else kernel.cuts(nest, env, axis)
        statements = []
        for begin, extent in whole:
            # Cuts are of the whole loop; this piece may be a part of it.
            begin, extent = (begin, extent) if times > 1 else _clipped(begin - start, extent, length)
            done = 0
            for vectors, lanes in _shapes(self.lanes, _VECTORS if nest.combine else 1):
                steps = max(extent - done, 0) // (vectors * lanes)
                if steps == 0:
                    continue
                step = kernel.variable("v", steps)
                lane = kernel.variable("lane", lanes)
                first = base + integer(begin + done) + step * integer(vectors * lanes)
                places = [first + integer(k * lanes) + lane for k in range(vectors)]
                envs = [{**env, axis.var: place} for place in places]
                statements.append(_serial(step, steps, self._blocks(nest, envs, lane, lanes)))
                done += steps * vectors * lanes
        return _sequence(statements)

    def _block(self, nest: Nest, env: Environment, vectors: int, lanes: int) -> Expr:
        return self._blocks(nest, [env] * vectors, self.kernel.variable("lane", lanes), lanes)

    def _blocks(self, nest: Nest, envs: Sequence[Environment], lane: Expr, lanes: int) -> Expr:
        """Output vectors, one for each environment; `lane` runs through a vector."""
        kernel = self.kernel

        def stored(env: Environment, value: Expr) -> Expr:
            return _vectorized(lane, lanes, self._store(nest, env, value))

        if nest.combine is None:
            return _sequence([stored(env, kernel.value(nest.value, env)) for env in envs])
        function, neutral = nest.combine.function, nest.combine.neutral
        total = kernel.local(len(envs) * lanes, str(nest.value.ty.dtype))
        slots = [integer(k * lanes) + lane for k in range(len(envs))]
        sums = [tirx.BufferLoad(total, [slot]) for slot in slots]
        start = [_vectorized(lane, lanes, tirx.BufferStore(total, neutral, [slot])) for slot in slots]
        steps = [
            _vectorized(
                lane, lanes, tirx.BufferStore(total, function(sum_, kernel.value(nest.value, env)), [slot])
            )
            for env, slot, sum_ in zip(envs, slots, sums, strict=True)
        ]
        body = _sequence(steps)
        for axis in reversed(nest.reduce):
            body = _serial(axis.var, axis.extent, body)
        ends = [stored(env, self._finished(nest, env, sum_)) for env, sum_ in zip(envs, sums, strict=True)]
        return _sequence([*start, body, *ends])

    def _along(self, nest: Nest, env: Environment) -> Expr:
        """One output element, vectors along the last reduction loop."""
        assert nest.combine is not None
        kernel, function, neutral = self.kernel, nest.combine.function, nest.combine.neutral
        *outer, last = nest.reduce
        lanes, vectors = self.lanes, _VECTORS
        while lanes > last.extent:
            lanes //= 2
        while vectors > 1 and vectors * lanes > last.extent:
            vectors //= 2
        total = kernel.local(vectors * lanes, str(nest.value.ty.dtype))

        def slots(first: int) -> Callable[[Expr], Expr]:
            return lambda lane: tirx.BufferLoad(total, [integer(first) + lane])

        def elements(first: Expr) -> Callable[[Expr], Expr]:
            return lambda lane: kernel.value(nest.value, {**env, last.var: first + lane})

        def vector(first: int, width: int, value: Callable[[Expr], Expr]) -> Expr:
            lane = kernel.variable("lane", width)
            return _vectorized(lane, width, tirx.BufferStore(total, value(lane), [integer(first) + lane]))

        def fold(first: int, width: int, value: Callable[[Expr], Expr]) -> Expr:
            return vector(first, width, lambda lane: function(slots(first)(lane), value(lane)))

        passes = []
        for begin, extent in kernel.cuts(nest, env, last):
            done = 0
            for many, width in _shapes(lanes, vectors):
                steps = (extent - done) // (many * width)
                if steps == 0:
                    continue
                step = kernel.variable("v", steps)
                first = integer(begin + done) + step * integer(many * width)
                folds = [fold(k, width, elements(first + integer(k))) for k in range(0, many * width, width)]
                passes.append(_serial(step, steps, _sequence(folds)))
                done += steps * many * width
        body = _sequence(passes)
        for axis in reversed(outer):
            body = _serial(axis.var, axis.extent, body)
        start = [vector(k, lanes, lambda _: neutral) for k in range(0, vectors * lanes, lanes)]
        halves, half = [], vectors * lanes // 2
        while half:
            width = min(half, lanes)
            halves += [fold(k, width, slots(half + k)) for k in range(0, half, width)]
            half //= 2
        end = self._store(nest, env, self._finished(nest, env, slots(0)(integer(0))))
        return _sequence([*start, body, *halves, end])

    def _store(self, nest: Nest, env: Environment, value: Expr) -> Expr:
        stored = value.astype(str(nest.out.dtype)) if str(value.ty.dtype) == "bool" else value
        return tirx.BufferStore(nest.out, stored, [self.kernel.simplify(substitute(nest.index, env))])

    def _finished(self, nest: Nest, env: Environment, partial: Expr) -> Expr:
        if nest.finish is None:
            return partial
        return substitute(self.kernel.value(nest.finish, env), {nest.partial: partial})


def _at(loops: Sequence[Axis], places: Sequence[Expr]) -> dict[Expr, Expr]:
    return {axis.var: place for axis, place in zip(loops, places, strict=True)}


def _clipped(begin: int, extent: int, length: int) -> tuple[int, int]:
    """The part of [begin, begin + extent) that lies in [0, length), as begin and extent."""
    first, end = max(begin, 0), min(begin + extent, length)
    return first, max(end - first, 0)


def _shapes(lanes: int, vectors: int) -> Iterator[tuple[int, int]]:
    """Block shapes (vectors, lanes) from the largest to a single element."""
    while vectors > 1:
        yield vectors, lanes
        vectors //= 2
    while lanes >= 1:
        yield 1, lanes
        lanes //= 2


def _sequence(statements: Sequence[Expr]) -> Expr:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def _serial(var: Expr, extent: int, body: Expr) -> Expr:
    return tirx.For(var, integer(0), integer(extent), tirx.ForKind.SERIAL, body)


def _vectorized(var: Expr, extent: int, body: Expr) -> Expr:
    if extent == 1:
        return substitute(body, {var: integer(0)})
    return tirx.For(var, integer(0), integer(extent), tirx.ForKind.VECTORIZED, body)


def _flops(stage: AnyStage) -> int:
    """Floating-point operations, an elementary function counting as one."""
    if isinstance(stage, RawStage):
        return 0
    kinds = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min, tvm.ir.Call)
    per_value = count(stage.value, kinds, lambda node: not is_integer(node)) + (stage.combine is not None)
    finish = 0 if stage.finish is None else count(stage.finish, kinds, lambda node: not is_integer(node))
    return per_value * stage.work + finish * stage.out.size
