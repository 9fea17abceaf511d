"""What a kernel computes, before anyone decides how: tensors, and stages that fill one tensor each.

A stage is one line of mathematics, ``out[axes] = value`` or ``out[axes] = combine over the reduction axes
of value``, as TVM's tensor expressions write it. Fusion and code generation read nothing else, so TVM's
schedules, blocks and buffers end at `frontend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad

from ..vectormath import operator_name

Expr = Any  # tvm.ir.Expr and tirx.Stmt: TVM ships no type information


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the node, under its own name, a temporary or a constant. Expressions read `buffer`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: Expr
    constant: Any = None

    @staticmethod
    def make(name: str, dtype: str, shape: tuple[int, ...], constant: Any = None) -> Tensor:
        return Tensor(name, dtype, shape, tirx.decl_buffer(shape, dtype, "tensor"), constant)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        return int(np.dtype(self.dtype).itemsize)

    @property
    def strides(self) -> tuple[int, ...]:
        """In elements, row-major."""
        return tuple(prod(self.shape[k + 1 :]) for k in range(len(self.shape)))


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop variable and the number of values it takes, from 0."""

    var: Expr
    extent: int

    @staticmethod
    def make(name: str, extent: int) -> Axis:
        return Axis(tirx.Var(name, "int64"), extent)


@dataclass(frozen=True, slots=True)
class Combine:
    """An associative operation and its neutral element."""

    function: Callable[[Expr, Expr], Expr]
    neutral: Expr


@dataclass(frozen=True, eq=False)
class Stage:
    """``out[axes] = finish(combine over reduce of value)``; without `combine` simply ``value``.

    `finish` may use `partial`, the reduction's result, and every axis of `axes`.
    """

    out: Tensor
    axes: tuple[Axis, ...]
    value: Expr
    reduce: tuple[Axis, ...] = ()
    combine: Combine | None = None
    partial: Expr = None
    finish: Expr = None

    @property
    def outs(self) -> tuple[Tensor, ...]:
        return (self.out,)

    @property
    def work(self) -> int:
        """Evaluations of `value`."""
        return prod(axis.extent for axis in (*self.axes, *self.reduce))

    def expressions(self) -> Iterator[Expr]:
        yield self.value
        if self.finish is not None:
            yield self.finish

    def map(self, function: Callable[[Expr], Expr]) -> Stage:
        """The stage with both expressions replaced."""
        finish = None if self.finish is None else function(self.finish)
        return replace(self, value=function(self.value), finish=finish)


@dataclass(frozen=True, eq=False)
class RawStage:
    """Statements over multi-dimensional buffers that fill `outs`; independent for every value of `axes`.

    `scratch` tensors lie in the running thread's own memory; what they hold means nothing at the start.
    """

    outs: tuple[Tensor, ...]
    axes: tuple[Axis, ...]
    body: Expr
    steps: int = 1  # rough number of inner iterations, for `work`
    locals: tuple[Expr, ...] = field(default=())
    scratch: tuple[Tensor, ...] = field(default=())

    @property
    def work(self) -> int:
        return prod(axis.extent for axis in self.axes) * self.steps

    def expressions(self) -> Iterator[Expr]:
        yield self.body


AnyStage = Stage | RawStage


def substitute(expr: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """Variables (buffers too) replaced."""
    return tvm_ffi.structural_map(expr, (tvm.ir.Var, lambda var: values.get(var, var)), order="post")


def map_loads(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """Every load replaced, innermost first."""
    return tvm_ffi.structural_map(expr, (TensorLoad, function), order="post")


def loads(expr: Expr) -> list[Expr]:
    """All loads in `expr`, in order of evaluation."""
    found: list[Expr] = []
    tvm_ffi.structural_walk(expr, (TensorLoad, lambda load: found.append(load)), order="post")
    return found


def count(expr: Expr, kinds: tuple[type, ...], accept: Callable[[Expr], bool] = lambda _: True) -> int:
    """How many nodes of these types."""
    total = 0

    def visit(node: Expr) -> None:
        nonlocal total
        total += accept(node)

    tvm_ffi.structural_walk(expr, [(kind, visit) for kind in kinds], order="post")
    return total


def uses(expr: Expr, var: Expr) -> bool:
    return count(expr, (tvm.ir.Var,), lambda node: bool(node.same_as(var))) > 0


def is_operator(node: Expr, name: str) -> bool:
    """Whether `node` calls the TIR operator of this name."""
    return operator_name(node) == name
