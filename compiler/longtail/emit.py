"""A group of stages → one kernel: loops, vectors, accumulators, and the task range of the kernel ABI.

One schedule fits all. Neighbouring axes that every tensor walks in step become one loop. The last loop runs in vectors
with a tail of ever shorter ones; where a condition on it splits the work (padding, concatenation), it is cut there, so
that no vector straddles a condition. A reduction keeps several vectors of accumulators, along the last output axis if
loads are contiguous there, else along the last reduction axis. What is left outside becomes tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import PointerType, PrimType, TensorLoad
from tvm.sym import Analyzer

from ..program import Access, Arg
from .fuse import Group
from .stage import (
    AnyStage,
    Axis,
    Expr,
    RawStage,
    Stage,
    Tensor,
    count,
    is_operator,
    loads,
    map_loads,
    substitute,
    uses,
)

_VECTORS = 4  # accumulators: enough to hide the latency of an addition
_TASK_WORK = 16384  # evaluations: some microseconds, what is worth handing to a thread
_SMALL_LOCAL = 1024  # bytes: more than this is no business of the stack
_MAX_CUTS = 64
_ALIGN = 64

Environment = Mapping[Expr, Expr]


@dataclass(frozen=True)
class Emitted:
    """A kernel before lowering: `tasks` is the extent of the last loop of `body`, the one over tasks."""

    params: tuple[Expr, ...]
    body: Expr
    args: tuple[Arg, ...]
    tasks: int
    grain: int
    flops: int
    scratch_bytes: int


@dataclass(frozen=True)
class _Place:
    """Where a tensor lives in the kernel: a flat buffer, and the strides by which its indices reach it."""

    buffer: Expr
    strides: tuple[int, ...]
    is_bool: bool


@dataclass
class _Kernel:
    tensors: Mapping[Expr, Tensor]
    lanes: int
    unaligned: frozenset[str]
    outputs: frozenset[Tensor]
    analyzer: Any = field(default_factory=Analyzer)
    places: dict[Expr, _Place] = field(default_factory=dict)
    params: list[Expr] = field(default_factory=list)
    head: list[Expr] = field(default_factory=list)
    args: list[Arg] = field(default_factory=list)
    scratch_bytes: int = 0

    # --- memory ---

    def argument(self, tensor: Tensor, access: Access) -> None:
        pointer = tirx.Var(f"a{len(self.params)}", PointerType(PrimType(_storage(tensor.dtype))))
        align = min(4, tensor.itemsize) if tensor.name in self.unaligned else _ALIGN
        self._declare(tensor, pointer, tensor.size, tensor.strides, align)
        place = "param" if tensor.constant is not None else "buffer"
        self.args.append(
            Arg(place, tensor.name, access, max(tensor.size, 1) * tensor.itemsize, align=align)  # type: ignore[arg-type]
        )

    def _declare(self, tensor: Tensor, pointer: Expr, size: int, strides: tuple[int, ...], align: int) -> None:
        dtype = _storage(tensor.dtype)
        buffer = tirx.decl_buffer(
            (max(size, 1),), dtype, f"{pointer.name}_data", data=pointer, data_alignment=align
        )
        self.params.append(pointer)
        self.head.append(tirx.DeclBuffer(buffer, data=pointer))
        self.places[tensor.buffer] = _Place(buffer, strides, tensor.dtype == "bool")

    def inner(self, tensor: Tensor, rows: int) -> None:
        """A tensor that lives within one row: its first `rows` indices do not count."""
        strides = (0,) * rows + tensor.strides[rows:]
        size = prod(tensor.shape[rows:])
        if size * tensor.itemsize < _SMALL_LOCAL:
            self.places[tensor.buffer] = _Place(
                self.local(size, _storage(tensor.dtype)), strides, tensor.dtype == "bool"
            )
            return
        pointer = tirx.Var(f"a{len(self.params)}", PointerType(PrimType(_storage(tensor.dtype))))
        self._declare(tensor, pointer, size, strides, _ALIGN)
        offset = self.scratch_bytes
        self.args.append(Arg("scratch", "", "both", size * tensor.itemsize, offset))
        self.scratch_bytes = offset + -(-size * tensor.itemsize // _ALIGN) * _ALIGN

    def local(self, size: int, dtype: str) -> Expr:
        buffer = tirx.decl_buffer((size,), dtype, f"local{len(self.head)}", scope="local")
        self.head.append(tirx.AllocBuffer(buffer))
        return buffer

    # --- expressions ---

    def loop(self, name: str, extent: int) -> Expr:
        """A new loop variable in [0, extent)."""
        var = tirx.Var(name, "int64")
        self.analyzer.bind(var, tvm.ir.Range(_int(0), _int(extent)))
        return var

    def simplify(self, expr: Expr) -> Expr:
        return self.analyzer.simplify(expr)

    def flat_index(self, buffer: Expr, indices: Sequence[Expr]) -> Expr:
        place = self.places.get(buffer)
        strides = place.strides if place else self.tensors[buffer].strides
        terms = (index * _int(stride) for index, stride in zip(indices, strides, strict=True) if stride)
        return self.simplify(sum(terms, _int(0)))

    def value(self, expr: Expr, env: Environment) -> Expr:
        """`expr` on flat buffers, with the axes' values put in and every condition that is decided by them gone."""
        callbacks = [
            (TensorLoad, self._load),
            (tirx.BufferStore, self._store),
            (tvm.ir.Call, self._call),
            (tirx.Select, self._select),
            (tirx.Cast, self._cast),
        ]
        return tvm_ffi.structural_map(substitute(expr, env), callbacks, order="post")

    def _load(self, load: Expr) -> Expr:
        place = self.places.get(load.source)
        if place is None:
            return load
        flat = tirx.BufferLoad(place.buffer, [self.flat_index(load.source, load.indices)])
        return flat.astype("bool") if place.is_bool else flat

    def _store(self, store: Expr) -> Expr:
        return self.store(store.buffer, store.indices, store.value)

    def store(self, buffer: Expr, indices: Sequence[Expr], value: Expr) -> Expr:
        """`value`, already on flat buffers, into the tensor of `buffer`."""
        place = self.places.get(buffer)
        if place is None:
            return tirx.BufferStore(buffer, value, indices)
        stored = value.astype("int8") if place.is_bool else value
        return tirx.BufferStore(place.buffer, stored, [self.flat_index(buffer, indices)])

    def _call(self, call: Expr) -> Expr:
        if not is_operator(call, "if_then_else"):
            return call
        return self._choice(call.args[0], call.args[1], call.args[2])

    def _select(self, select: Expr) -> Expr:
        return self._choice(select.condition, select.true_value, select.false_value)

    def _choice(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        decided = self.simplify(condition)
        if isinstance(decided, tirx.IntImm):
            return yes if decided.value else no
        # A selection evaluates both sides, in vectors; loads that may lie outside need a branch.
        if self._is_safe(yes) and self._is_safe(no):
            return tirx.Select(decided, yes, no)
        return tirx.if_then_else(decided, yes, no)

    def _is_safe(self, expr: Expr) -> bool:
        for load in loads(expr):
            bound = self.analyzer.const_int_bound(load.indices[0])
            if bound.min_value < 0 or bound.max_value >= int(load.source.shape[0]):
                return False
        return not count(expr, (tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod), _is_integer)

    def _cast(self, cast: Expr) -> Expr:
        if _is_integer(cast.value) and not loads(cast.value):
            return tirx.Cast(str(cast.ty.dtype), self.simplify(cast.value))
        return cast

    # --- loops ---

    def merged(self, stage: Stage, env: Environment, axes: Sequence[Axis]) -> tuple[dict[Expr, Expr], list[Axis]]:
        """Axes of extent 1 dropped and neighbours that are always walked in step merged: values for `axes`, loops."""
        values = dict(env) | {axis.var: _int(0) for axis in axes if axis.extent == 1}
        loops = [axis for axis in axes if axis.extent > 1]
        for axis in (*stage.axes, *stage.reduce):
            self.analyzer.bind(axis.var, tvm.ir.Range(_int(0), _int(axis.extent)), True)
        probes = self._probes(stage)
        position = len(loops) - 2
        while position >= 0:
            first, second = loops[position], loops[position + 1]
            both = Axis(self.loop(first.var.name, first.extent * second.extent), first.extent * second.extent)
            parts = {
                first.var: tirx.floordiv(both.var, _int(second.extent)),
                second.var: tirx.floormod(both.var, _int(second.extent)),
            }
            before = [self.simplify(substitute(probe, values)) for probe in probes]
            after = [self.simplify(substitute(probe, parts)) for probe in before]
            if _divisions(after) <= _divisions(before):
                values = {var: self.simplify(substitute(value, parts)) for var, value in values.items()} | parts
                loops[position : position + 2] = [both]
            position -= 1
        return values, loops

    def _probes(self, stage: Stage) -> list[Expr]:
        """Every integer expression whose form decides what may be merged."""
        found = [self.flat_index(stage.out.buffer, [axis.var for axis in stage.axes])]
        for expr in stage.expressions():
            found += [self.flat_index(load.source, load.indices) for load in loads(expr)]
            found += _conditions(expr)
            found += _casts(expr)
        return [map_loads(probe, lambda load: tirx.const(0, str(load.ty.dtype))) for probe in found]

    def stride(self, expr: Expr, var: Expr) -> list[int | None]:
        """By how many elements each load of `expr` moves with `var`; None if not by a constant."""
        steps: list[int | None] = []
        for load in loads(expr):
            index = self.flat_index(load.source, load.indices)
            moved = substitute(index, {var: var + _int(1)})
            step = self.simplify(moved - index)
            constant = isinstance(step, tirx.IntImm) and not any(uses(inner, var) for inner in loads(index))
            steps.append(int(step.value) if constant else None)
        return steps

    def cuts(self, stage: Stage, env: Environment, axis: Axis) -> list[tuple[int, int]]:
        """[0, extent) as (start, length) pieces in which the conditions on this axis alone do not change."""
        points = {0, axis.extent}
        for expr in stage.expressions():
            for condition in _conditions(expr):
                for comparison in _comparisons(self.simplify(substitute(condition, env))):
                    points.update(self._threshold(comparison, axis.var))
        inside = sorted(point for point in points if 0 <= point <= axis.extent)
        if len(inside) > _MAX_CUTS:
            inside = [0, axis.extent]
        return [(start, end - start) for start, end in zip(inside, inside[1:], strict=False)]

    def _threshold(self, comparison: Expr, var: Expr) -> Iterator[int]:
        """Values of `var` from which the comparison has another result."""
        difference = self.simplify(comparison.a - comparison.b)
        slope = self.simplify(substitute(difference, {var: var + _int(1)}) - difference)
        base = self.simplify(substitute(difference, {var: _int(0)}))
        if not isinstance(slope, tirx.IntImm) or not isinstance(base, tirx.IntImm) or slope.value not in (1, -1):
            return
        root = -int(base.value) * int(slope.value)
        yield root
        yield root + 1


def emit(
    group: Group, tensors: Mapping[Expr, Tensor], outputs: frozenset[Tensor], lanes: int, unaligned: frozenset[str]
) -> Emitted:
    """The kernel of a group. `unaligned` names the values that may lie anywhere (graph inputs and outputs)."""
    kernel = _Kernel(tensors, lanes, unaligned, outputs)
    written = [out for stage in group.stages for out in stage.outs]
    read = [
        tensors[load.source]
        for stage in group.stages
        for expr in stage.expressions()
        for load in loads(expr)
        if load.source in tensors
    ]
    for tensor in dict.fromkeys(read):
        if tensor not in written:
            kernel.argument(tensor, "read")
    for tensor in written:
        if tensor in group.inner:
            kernel.inner(tensor, group.rows)
        else:
            kernel.argument(tensor, "both" if tensor in read else "write")
    first = group.stages[0]
    if len(group.stages) > 1:
        tasks, body, task = _rows(kernel, group)
    elif isinstance(first, RawStage):
        tasks, body, task = _raw(kernel, first)
    else:
        tasks, body, task = _single(kernel, first)
    loop = tirx.For(task, _int(0), _int(tasks), tirx.ForKind.SERIAL, body)
    work = sum(stage.work for stage in group.stages)
    return Emitted(
        params=tuple(kernel.params),
        body=tirx.SeqStmt([*kernel.head, loop]),
        args=tuple(kernel.args),
        tasks=tasks,
        grain=max(1, min(tasks, -(-_TASK_WORK * tasks // max(work, 1)))),
        flops=sum(_flops(stage) for stage in group.stages),
        scratch_bytes=kernel.scratch_bytes,
    )


def _rows(kernel: _Kernel, group: Group) -> tuple[int, Expr, Expr]:
    stages = [stage for stage in group.stages if isinstance(stage, Stage)]
    extents = [axis.extent for axis in stages[0].axes[: group.rows]]
    task = kernel.loop("task", prod(extents))
    position = _decoded(kernel, task, extents)
    body = []
    for stage in stages:
        env = dict(zip((axis.var for axis in stage.axes), position, strict=False))
        values, loops = kernel.merged(stage, env, stage.axes[group.rows :])
        body.append(_nest(kernel, stage, values, loops))
    return prod(extents), _sequence(body), task


def _raw(kernel: _Kernel, stage: RawStage) -> tuple[int, Expr, Expr]:
    kernel.head += [tirx.AllocBuffer(buffer) for buffer in stage.locals]
    extents = [axis.extent for axis in stage.axes]
    task = kernel.loop("task", prod(extents))
    env = dict(zip((axis.var for axis in stage.axes), _decoded(kernel, task, extents), strict=True))
    return prod(extents), kernel.value(stage.body, env), task


def _single(kernel: _Kernel, stage: Stage) -> tuple[int, Expr, Expr]:
    values, loops = kernel.merged(stage, {}, stage.axes)
    if not loops or _reduces_along_lanes(kernel, stage, values, loops):
        task = kernel.loop("task", prod(axis.extent for axis in loops))
        env = _placed(values, loops, _decoded(kernel, task, [axis.extent for axis in loops]))
        return prod(axis.extent for axis in loops), _nest(kernel, stage, env, []), task
    *outer, last = loops
    families = _families(kernel, stage, values, last)
    pieces = sum(times for _, _, times in families)
    tasks = prod(axis.extent for axis in outer) * pieces
    task = kernel.loop("task", tasks)
    row = kernel.simplify(tirx.floordiv(task, _int(pieces)))
    piece = kernel.simplify(tirx.floormod(task, _int(pieces)))
    env = _placed(values, outer, _decoded(kernel, row, [axis.extent for axis in outer]))
    body, first = None, pieces
    for start, length, times in reversed(families):
        first -= times
        number = kernel.loop("piece", times)
        inner = Axis(kernel.loop("part", length), length)
        base = _int(start) + number * _int(length)
        part = _nest(kernel, stage, _placed(env, [last], [base + inner.var]), [inner])
        part = tirx.SeqStmt([tirx.Bind(number, piece - _int(first)), part])
        body = part if body is None else tirx.IfThenElse(piece < _int(first + times), part, body)
    return tasks, body, task


def _families(
    kernel: _Kernel, stage: Stage, env: Environment, last: Axis
) -> list[tuple[int, int, int]]:
    """The last loop as tasks: (start, length, how many such pieces follow each other)."""
    per_element = prod(axis.extent for axis in stage.reduce)
    vector = kernel.lanes * _VECTORS
    chunk = max(vector, _TASK_WORK // per_element // vector * vector)
    if last.extent <= chunk:
        return [(0, last.extent, 1)]
    families = []
    for start, length in kernel.cuts(stage, env, last):
        full, rest = divmod(length, chunk)
        families += [(start, chunk, full)] if full else []
        families += [(start + full * chunk, rest, 1)] if rest else []
    return families


def _decoded(kernel: _Kernel, index: Expr, extents: Sequence[int]) -> list[Expr]:
    """A flat row-major index as one index per extent."""
    return [
        kernel.simplify(tirx.floormod(tirx.floordiv(index, _int(prod(extents[k + 1 :]))), _int(extent)))
        for k, extent in enumerate(extents)
    ]


def _placed(env: Environment, loops: Sequence[Axis], positions: Sequence[Expr]) -> dict[Expr, Expr]:
    """The environment with the loops' variables replaced by their values."""
    chosen = {axis.var: position for axis, position in zip(loops, positions, strict=True)}
    return {var: substitute(value, chosen) for var, value in env.items()} | chosen


def _nest(kernel: _Kernel, stage: Stage, env: Environment, loops: list[Axis]) -> Expr:
    """All values of `loops`: serial outer loops, and the last one in vectors if that suits the stage."""
    along_lanes = stage.combine is not None and _reduces_along_lanes(kernel, stage, env, loops)
    vector = None if along_lanes or not loops else loops[-1]
    outer = loops if vector is None else loops[:-1]
    if vector is not None:
        body = _across(kernel, stage, env, vector)
    elif along_lanes:
        body = _along(kernel, stage, env)
    else:
        body = _block(kernel, stage, env, None, _int(0), 1, 1)
    for axis in reversed(outer):
        body = _serial(axis.var, axis.extent, body)
    return body


def _reduces_along_lanes(kernel: _Kernel, stage: Stage, env: Environment, loops: Sequence[Axis]) -> bool:
    """Whether vectors of a reduction run along its own last axis rather than along the last output axis."""
    if stage.combine is None:
        return False
    value = substitute(stage.value, env)
    _, reduce = kernel.merged(stage, env, stage.reduce)
    if not reduce:
        return False
    if loops and loops[-1].extent >= 4 and all(step in (0, 1) for step in kernel.stride(value, loops[-1].var)):
        return False
    merged, reduce = kernel.merged(stage, env, stage.reduce)
    steps = kernel.stride(substitute(stage.value, merged), reduce[-1].var)
    return reduce[-1].extent >= 4 and all(step in (0, 1) for step in steps)


def _across(kernel: _Kernel, stage: Stage, env: Environment, axis: Axis) -> Expr:
    """All of `axis`, vectors along it."""
    statements = []
    for start, length in kernel.cuts(stage, env, axis):
        done = 0
        for vectors, lanes in _shapes(kernel.lanes, _VECTORS if stage.combine else 1):
            times = (length - done) // (vectors * lanes)
            if times == 0:
                continue
            step = kernel.loop("v", times)
            base = _int(start + done) + step * _int(vectors * lanes)
            block = _block(kernel, stage, env, axis, base, vectors, lanes)
            statements.append(_serial(step, times, block))
            done += times * vectors * lanes
    return _sequence(statements)


def _shapes(lanes: int, vectors: int) -> Iterator[tuple[int, int]]:
    """Block shapes (vectors, lanes) from the largest to a single element."""
    while vectors > 1:
        yield vectors, lanes
        vectors //= 2
    while lanes >= 1:
        yield 1, lanes
        lanes //= 2


def _block(
    kernel: _Kernel, stage: Stage, env: Environment, axis: Axis | None, base: Expr, vectors: int, lanes: int
) -> Expr:
    """`vectors` times `lanes` output elements from `base` on."""
    lane = kernel.loop("lane", lanes)

    def at(vector: int) -> Environment:
        return env if axis is None else _placed(env, [axis], [base + _int(vector * lanes) + lane])

    def vector_of(statement: Expr) -> Expr:
        return _vectorized(lane, lanes, statement)

    indices = [axis.var for axis in stage.axes]

    def stored(vector: int, value: Expr) -> Expr:
        here = at(vector)
        return vector_of(kernel.store(stage.out.buffer, [substitute(index, here) for index in indices], value))

    if stage.combine is None:
        return _sequence([stored(k, kernel.value(stage.value, at(k))) for k in range(vectors)])
    function, neutral = stage.combine.function, stage.combine.neutral
    total = kernel.local(vectors * lanes, str(stage.value.ty.dtype))

    def partial(vector: int) -> Expr:
        return _int(vector * lanes) + lane

    start = [vector_of(tirx.BufferStore(total, neutral, [partial(k)])) for k in range(vectors)]
    values, reduce = kernel.merged(stage, env, stage.reduce)
    step = []
    for k in range(vectors):
        here = values if axis is None else _placed(values, [axis], [base + _int(k * lanes) + lane])
        sum_ = function(tirx.BufferLoad(total, [partial(k)]), kernel.value(stage.value, here))
        step.append(vector_of(tirx.BufferStore(total, sum_, [partial(k)])))
    body = _sequence(step)
    for loop in reversed(reduce):
        body = _serial(loop.var, loop.extent, body)
    end = [stored(k, _finished(kernel, stage, at(k), tirx.BufferLoad(total, [partial(k)]))) for k in range(vectors)]
    return _sequence([*start, body, *end])


def _along(kernel: _Kernel, stage: Stage, env: Environment) -> Expr:
    """One output element, vectors along the last reduction axis."""
    assert stage.combine is not None
    function, neutral = stage.combine.function, stage.combine.neutral
    values, reduce = kernel.merged(stage, env, stage.reduce)
    *outer, last = reduce
    lanes = kernel.lanes
    while lanes > last.extent:
        lanes //= 2
    vectors = _VECTORS
    while vectors * lanes > last.extent:
        vectors //= 2
    vectors = max(vectors, 1)
    total = kernel.local(vectors * lanes, str(stage.value.ty.dtype))

    def fold(into: int, width: int, value: Callable[[Expr], Expr]) -> Expr:
        lane = kernel.loop("lane", width)
        at = [_int(into) + lane]
        return _vectorized(lane, width, tirx.BufferStore(total, function(tirx.BufferLoad(total, at), value(lane)), at))

    def element(base: Expr) -> Callable[[Expr], Expr]:
        return lambda lane: kernel.value(stage.value, _placed(values, [last], [base + lane]))

    passes = []
    for start, length in kernel.cuts(stage, values, last):
        done = 0
        for count_, width in _shapes(lanes, vectors):
            times = (length - done) // (count_ * width)
            if times == 0:
                continue
            step = kernel.loop("v", times)
            base = _int(start + done) + step * _int(count_ * width)
            folds = [fold(k * width, width, element(base + _int(k * width))) for k in range(count_)]
            passes.append(_serial(step, times, _sequence(folds)))
            done += times * count_ * width
    body = _sequence(passes)
    for axis in reversed(outer):
        body = _serial(axis.var, axis.extent, body)

    lane = kernel.loop("lane", lanes)
    start_ = [
        _vectorized(lane, lanes, tirx.BufferStore(total, neutral, [_int(k * lanes) + lane])) for k in range(vectors)
    ]
    width = vectors * lanes
    halves = []
    while width > 1:
        width //= 2
        # Widths above one vector fold vector by vector, in the same order on every target of this width.
        for offset in range(0, width, min(width, lanes)):
            halves.append(
                fold(offset, min(width, lanes), lambda l, o=offset + width: tirx.BufferLoad(total, [_int(o) + l]))
            )
    result = _finished(kernel, stage, env, tirx.BufferLoad(total, [_int(0)]))
    indices = [substitute(axis.var, env) for axis in stage.axes]
    return _sequence([*start_, body, *halves, kernel.store(stage.out.buffer, indices, result)])


def _finished(kernel: _Kernel, stage: Stage, env: Environment, partial: Expr) -> Expr:
    if stage.finish is None:
        return partial
    return substitute(kernel.value(stage.finish, env), {stage.partial: partial})


# --- small things ---


def _int(value: int) -> Expr:
    return tirx.const(value, "int64")


def _storage(dtype: str) -> str:
    return "int8" if dtype == "bool" else dtype


def _is_integer(expr: Expr) -> bool:
    return str(expr.ty.dtype).startswith(("int", "uint", "bool"))


def _sequence(statements: Sequence[Expr]) -> Expr:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def _serial(var: Expr, extent: int, body: Expr) -> Expr:
    return tirx.For(var, _int(0), _int(extent), tirx.ForKind.SERIAL, body)


def _vectorized(var: Expr, extent: int, body: Expr) -> Expr:
    if extent == 1:
        return substitute(body, {var: _int(0)})
    return tirx.For(var, _int(0), _int(extent), tirx.ForKind.VECTORIZED, body)


def _divisions(exprs: Sequence[Expr]) -> int:
    return sum(count(expr, (tirx.FloorDiv, tirx.FloorMod, tirx.Div, tirx.Mod)) for expr in exprs)


def _conditions(expr: Expr) -> list[Expr]:
    found: list[Expr] = []

    def call(node: Expr) -> None:
        if is_operator(node, "if_then_else"):
            found.append(node.args[0])

    callbacks = [(tvm.ir.Call, call), (tirx.Select, lambda node: found.append(node.condition))]
    tvm_ffi.structural_walk(expr, callbacks, order="post")
    return found


def _casts(expr: Expr) -> list[Expr]:
    found: list[Expr] = []

    def cast(node: Expr) -> None:
        if _is_integer(node.value) and not _is_integer(node):
            found.append(node.value)

    tvm_ffi.structural_walk(expr, (tirx.Cast, cast), order="post")
    return found


def _comparisons(condition: Expr) -> list[Expr]:
    found: list[Expr] = []

    def visit(node: Expr) -> None:
        if _is_integer(node.a) and not loads(node):
            found.append(node)

    kinds = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
    tvm_ffi.structural_walk(condition, [(kind, visit) for kind in kinds], order="post")
    return found


def _flops(stage: AnyStage) -> int:
    """Floating-point operations, an elementary function counting as one."""
    if isinstance(stage, RawStage):
        return 0
    kinds = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min, tvm.ir.Call)
    per_value = count(stage.value, kinds, lambda node: not _is_integer(node)) + (stage.combine is not None)
    finish = 0 if stage.finish is None else count(stage.finish, kinds, lambda node: not _is_integer(node))
    return per_value * stage.work + finish * stage.out.size
