"""The kernel under construction: where its tensors lie, and what expressions become inside its loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import PointerType, PrimType, TensorLoad
from tvm.sym import Analyzer

from ..program import Access, Arg, Place
from .stage import Axis, Combine, Expr, Stage, Tensor, count, is_operator, loads, map_loads, substitute, uses

_SMALL_LOCAL = 1024  # bytes: more than this is no business of the stack
_MAX_CUTS = 64
_ALIGN = 64

Environment = Mapping[Expr, Expr]


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor in the kernel: a flat buffer, and the strides by which the tensor's indices reach into it."""

    buffer: Expr
    strides: tuple[int, ...]
    is_bool: bool


@dataclass(frozen=True, eq=False)
class Nest:
    """A stage on flat buffers with loops for axes: `out` is filled at `index` for all values of `loops`.

    Axes of extent 1 are gone, and neighbours that every tensor walks in step are one loop.
    """

    loops: tuple[Axis, ...]
    reduce: tuple[Axis, ...]
    out: Expr
    index: Expr
    value: Expr
    combine: Combine | None
    partial: Expr
    finish: Expr

    def expressions(self) -> Iterator[Expr]:
        yield self.value
        if self.finish is not None:
            yield self.finish


@dataclass
class Kernel:
    """Collects arguments (`params` and `args` go together) and declarations (`head`)."""

    tensors: Mapping[Expr, Tensor]
    unaligned: frozenset[str]
    params: list[Expr] = field(default_factory=list)
    args: list[Arg] = field(default_factory=list)
    head: list[Expr] = field(default_factory=list)
    scratch_bytes: int = 0
    _places: dict[Expr, _Place] = field(default_factory=dict)
    _analyzer: Any = field(default_factory=Analyzer)

    # --- memory ---

    def argument(self, tensor: Tensor, access: Access) -> None:
        """A tensor of the graph, a temporary or a constant."""
        align = min(4, tensor.itemsize) if tensor.name in self.unaligned else _ALIGN
        size = max(tensor.size, 1) * tensor.itemsize
        self._pointer(tensor, tensor.size, tensor.strides, align)
        place: Place = "buffer" if tensor.constant is None else "param"
        self.args.append(Arg(place, tensor.name, access, size, align=align))

    def inner(self, tensor: Tensor, rows: int) -> None:
        """A tensor that lives within one row: its first `rows` indices do not count."""
        strides = (0,) * rows + tensor.strides[rows:]
        size = prod(tensor.shape[rows:])
        nbytes = size * tensor.itemsize
        if nbytes < _SMALL_LOCAL:
            buffer = self.local(size, storage(tensor.dtype))
            self._places[tensor.buffer] = _Place(buffer, strides, tensor.dtype == "bool")
            return
        self._pointer(tensor, size, strides, _ALIGN)
        self.args.append(Arg("scratch", "", "both", nbytes, self.scratch_bytes))
        self.scratch_bytes += -(-nbytes // _ALIGN) * _ALIGN

    def _pointer(self, tensor: Tensor, size: int, strides: tuple[int, ...], align: int) -> None:
        dtype, name = storage(tensor.dtype), f"a{len(self.params)}"
        pointer = tirx.Var(name, PointerType(PrimType(dtype)))
        extent = (max(size, 1),)
        buffer = tirx.decl_buffer(extent, dtype, f"{name}_data", data=pointer, data_alignment=align)
        self.params.append(pointer)
        self.head.append(tirx.DeclBuffer(buffer, data=pointer))
        self._places[tensor.buffer] = _Place(buffer, strides, tensor.dtype == "bool")

    def local(self, size: int, dtype: str) -> Expr:
        """Registers or stack."""
        buffer = tirx.decl_buffer((size,), dtype, f"local{len(self.head)}", scope="local")
        self.head.append(tirx.AllocBuffer(buffer))
        return buffer

    # --- expressions ---

    def variable(self, name: str, extent: int) -> Expr:
        """A new variable in [0, extent)."""
        var = tirx.Var(name, "int64")
        self._bound(var, extent)
        return var

    def _bound(self, var: Expr, extent: int) -> None:
        self._analyzer.bind(var, tvm.ir.Range(integer(0), integer(extent)), True)

    def simplify(self, expr: Expr) -> Expr:
        """An integer expression, using what is known of its variables."""
        return self._analyzer.simplify(expr)

    def decoded(self, index: Expr, extents: Sequence[int]) -> list[Expr]:
        """A flat row-major index as one index per extent."""
        inner = [prod(extents[rank + 1 :]) for rank in range(len(extents))]
        return [
            self.simplify(tirx.floormod(tirx.floordiv(index, integer(stride)), integer(extent)))
            for stride, extent in zip(inner, extents, strict=True)
        ]

    def value(self, expr: Expr, env: Environment) -> Expr:
        """`expr` with variables replaced, on flat buffers, without the conditions that this decides."""
        callbacks = [
            (TensorLoad, self._load),
            (tirx.BufferStore, self._store),
            (tvm.ir.Call, self._call),
            (tirx.Select, lambda node: self._choice(node.condition, node.true_value, node.false_value)),
            (tirx.Cast, self._cast),
        ]
        return tvm_ffi.structural_map(substitute(expr, env), callbacks, order="post")

    def _index(self, buffer: Expr, indices: Sequence[Expr]) -> list[Expr]:
        place = self._places.get(buffer)
        if place is None:
            return [self.simplify(index) for index in indices]
        terms = zip(indices, place.strides, strict=True)
        flat = sum((index * integer(stride) for index, stride in terms if stride), integer(0))
        return [self.simplify(flat)]

    def _load(self, load: Expr) -> Expr:
        place = self._places.get(load.source)
        index = self._index(load.source, load.indices)
        if place is None:
            return tirx.BufferLoad(load.source, index)
        flat = tirx.BufferLoad(place.buffer, index)
        return flat.astype("bool") if place.is_bool else flat

    def _store(self, store: Expr) -> Expr:
        place = self._places.get(store.buffer)
        index = self._index(store.buffer, store.indices)
        if place is None:
            return tirx.BufferStore(store.buffer, store.value, index)
        return tirx.BufferStore(
            place.buffer, store.value.astype("int8") if place.is_bool else store.value, index
        )

    def _call(self, call: Expr) -> Expr:
        return self._choice(*call.args) if is_operator(call, "if_then_else") else call

    def _choice(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        decided = self.simplify(condition)
        if isinstance(decided, tirx.IntImm):
            return yes if decided.value else no
        # A selection evaluates both sides, in vectors; what may fault needs a branch.
        if self._is_harmless(yes) and self._is_harmless(no):
            return tirx.Select(decided, yes, no)
        return tirx.if_then_else(decided, yes, no)

    def _is_harmless(self, expr: Expr) -> bool:
        for load in loads(expr):
            bound = self._analyzer.const_int_bound(load.indices[-1])
            if bound.min_value < 0 or bound.max_value >= int(load.source.shape[-1]):
                return False
        return not count(expr, (tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod), is_integer)

    def _cast(self, cast: Expr) -> Expr:
        if is_integer(cast.value) and not loads(cast.value):
            return tirx.Cast(str(cast.ty.dtype), self.simplify(cast.value))
        return cast

    # --- loops ---

    def nest(self, stage: Stage, fixed: Environment, free: Sequence[Axis]) -> Nest:
        """`stage` with some axes at `fixed` values and loops over the `free` ones."""
        for axis in (*stage.axes, *stage.reduce):
            self._bound(axis.var, axis.extent)
        values = dict(fixed) | {axis.var: integer(0) for axis in (*free, *stage.reduce) if axis.extent == 1}
        target = tirx.BufferLoad(stage.out.buffer, [axis.var for axis in stage.axes])
        probes = [probe for expr in (target, *stage.expressions()) for probe in self._probes(expr)]
        loops, values = self._merged(probes, values, free)
        reduce, values = self._merged(probes, values, stage.reduce)
        (index,) = self._index(stage.out.buffer, [substitute(axis.var, values) for axis in stage.axes])
        finish = None if stage.finish is None else self.value(stage.finish, values)
        return Nest(
            loops,
            reduce,
            self._places[stage.out.buffer].buffer,
            index,
            self.value(stage.value, values),
            stage.combine,
            stage.partial,
            finish,
        )

    def _merged(
        self, probes: Sequence[Expr], values: dict[Expr, Expr], axes: Sequence[Axis]
    ) -> tuple[tuple[Axis, ...], dict[Expr, Expr]]:
        """Loops for `axes`, and `values` with the axes in terms of the loops."""
        loops = [axis for axis in axes if axis.extent > 1]
        for position in range(len(loops) - 2, -1, -1):
            first, second = loops[position : position + 2]
            extent = first.extent * second.extent
            both = Axis(self.variable(first.var.name, extent), extent)
            parts = {
                first.var: tirx.floordiv(both.var, integer(second.extent)),
                second.var: tirx.floormod(both.var, integer(second.extent)),
            }
            before = [self.simplify(substitute(probe, values)) for probe in probes]
            after = [self.simplify(substitute(probe, parts)) for probe in before]
            if _divisions(after) <= _divisions(before):
                values = {var: substitute(value, parts) for var, value in values.items()} | parts
                loops[position : position + 2] = [both]
        return tuple(loops), values

    def _probes(self, expr: Expr) -> list[Expr]:
        """Every integer expression whose form decides what may be merged."""
        indices = [index for load in loads(expr) for index in self._index(load.source, load.indices)]
        found = [*indices, *conditions(expr), *_casts(expr)]
        return [map_loads(probe, lambda load: tirx.const(1, str(load.ty.dtype))) for probe in found]

    def strides(self, expr: Expr, var: Expr) -> list[int | None]:
        """By how many elements each load of `expr` moves with `var`; None if not by a constant."""
        steps: list[int | None] = []
        for load in loads(expr):
            index = load.indices[-1]
            step = self.simplify(substitute(index, {var: var + integer(1)}) - index)
            constant = isinstance(step, tirx.IntImm) and not any(uses(inner, var) for inner in loads(index))
            steps.append(int(step.value) if constant else None)
        return steps

    def cuts(self, nest: Nest, env: Environment, axis: Axis) -> list[tuple[int, int]]:
        """[0, extent) as (start, length) pieces in which the conditions on this loop alone do not change."""
        points = {0, axis.extent}
        for expr in nest.expressions():
            for condition in conditions(expr):
                for comparison in _comparisons(self.simplify(substitute(condition, env))):
                    points.update(self._thresholds(comparison, axis.var))
        inside = sorted(point for point in points if 0 <= point <= axis.extent)
        if len(inside) > _MAX_CUTS:
            inside = [0, axis.extent]
        return [(start, end - start) for start, end in pairwise(inside)]

    def _thresholds(self, comparison: Expr, var: Expr) -> Sequence[int]:
        """Values of `var` at which the comparison changes its result."""
        difference = self.simplify(comparison.a - comparison.b)
        slope = self.simplify(substitute(difference, {var: var + integer(1)}) - difference)
        base = self.simplify(substitute(difference, {var: integer(0)}))
        if (
            not isinstance(slope, tirx.IntImm)
            or not isinstance(base, tirx.IntImm)
            or slope.value not in (1, -1)
        ):
            return ()
        root = -int(base.value) * int(slope.value)
        if isinstance(comparison, tirx.EQ | tirx.NE):
            return root, root + 1
        # Rising, d < 0 ends before the root and d ≤ 0 behind it; falling, it is the other way round.
        before_root = isinstance(comparison, tirx.LT | tirx.GE)
        return (root,) if before_root == (slope.value == 1) else (root + 1,)


def integer(value: int) -> Expr:
    return tirx.const(value, "int64")


def storage(dtype: str) -> str:
    """The element type in memory: ONNX's bool is a byte, TIR's a bit."""
    return "int8" if dtype == "bool" else dtype


def is_integer(expr: Expr) -> bool:
    return str(expr.ty.dtype).startswith(("int", "uint", "bool"))


def _divisions(exprs: Sequence[Expr]) -> int:
    return sum(count(expr, (tirx.FloorDiv, tirx.FloorMod, tirx.Div, tirx.Mod)) for expr in exprs)


def conditions(expr: Expr) -> list[Expr]:
    """Of every branch and selection in `expr`."""
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
        if is_integer(node.value) and not is_integer(node):
            found.append(node.value)

    tvm_ffi.structural_walk(expr, (tirx.Cast, cast), order="post")
    return found


def _comparisons(condition: Expr) -> list[Expr]:
    found: list[Expr] = []

    def visit(node: Expr) -> None:
        if is_integer(node.a) and not loads(node):
            found.append(node)

    kinds = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
    tvm_ffi.structural_walk(condition, [(kind, visit) for kind in kinds], order="post")
    return found
