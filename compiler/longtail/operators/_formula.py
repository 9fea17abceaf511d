"""Tensor expressions for one node: each line of mathematics becomes a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import TensorLoad

from ...errors import UnsupportedError
from ...graph import Array, Graph, Node
from ..computation import Computation
from ..stage import AnyStage, Axis, Combine, Expr, Stage, Tensor, count

Shape = Sequence[int]


def whole(value: int) -> Expr:
    return tirx.const(value, "int64")


def number(value: float, dtype: str = "float32") -> Expr:
    return tirx.const(value, dtype)


class Formula:
    """Collects the stages of a node. Tensors are row-major, so a value may be given any shape of its size."""

    def __init__(self, graph: Graph, node: Node, symbol: str) -> None:
        self.graph, self.node, self._symbol = graph, node, symbol
        self._inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._constants: list[Tensor] = []
        self._stages: list[AnyStage] = []
        self._temporaries = 0

    def unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(self.node.name, self.node.op, reason)

    def done(self) -> Computation:
        return Computation(tuple(self._stages), self._inputs, self._outputs, tuple(self._constants))

    # --- tensors ---

    def shape(self, position: int) -> tuple[int, ...]:
        return self.graph.types[self.node.inputs[position]].shape

    def has(self, position: int) -> bool:
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def input(self, position: int, shape: Shape | None = None) -> Tensor:
        """An input, each only once."""
        name = self.node.inputs[position]
        type_ = self.graph.types[name]
        if name not in self._inputs:
            self._inputs[name] = Tensor.make(
                name, type_.dtype, type_.shape if shape is None else tuple(shape)
            )
        return self._inputs[name]

    def output(self, position: int = 0, shape: Shape | None = None) -> Tensor:
        """An output; one that nobody asked for is a temporary."""
        name = self.node.outputs[position] if position < len(self.node.outputs) else ""
        if not name:
            assert shape is not None, "an omitted output has no shape of its own"
            return self.temporary("int64", shape)
        type_ = self.graph.types[name]
        made = Tensor.make(name, type_.dtype, type_.shape if shape is None else tuple(shape))
        self._outputs[name] = made
        return made

    def temporary(self, dtype: str, shape: Shape) -> Tensor:
        self._temporaries += 1
        return Tensor.make(f"{self._symbol}.t{self._temporaries}", dtype, tuple(shape))

    def table(self, array: Array) -> Tensor:
        """A constant that the node does not have itself."""
        array = np.ascontiguousarray(array)
        name = f"{self._symbol}.c{len(self._constants)}"
        self._constants.append(Tensor.make(name, str(array.dtype), array.shape, array))
        return self._constants[-1]

    def constant(self, position: int, what: str) -> Array:
        """The value of an input that must be constant."""
        name = self.node.inputs[position]
        if name not in self.graph.constants:
            raise self.unsupported(f"its {what} must be constant")
        return self.graph.constants[name]

    def attribute(self, name: str, default: Any) -> Any:
        return self.node.attributes.get(name, default)

    # --- stages ---

    def add(self, stage: AnyStage) -> None:
        self._stages.append(stage)

    def fill(self, out: Tensor, value: Callable[..., Expr]) -> Tensor:
        """``out[i, j, …] = value(i, j, …)``"""
        axes = tuple(Axis.make(f"i{rank}", extent) for rank, extent in enumerate(out.shape))
        self.add(Stage(out, axes, value(*(axis.var for axis in axes))))
        return out

    def reduce(
        self,
        out: Tensor,
        over: Shape,
        combine: Combine,
        value: Callable[..., Expr],
        finish: Callable[..., Expr] | None = None,
    ) -> Tensor:
        """``out[i, …] = finish(combined over j … of value(i, …, j, …), i, …)``"""
        axes = tuple(Axis.make(f"i{rank}", extent) for rank, extent in enumerate(out.shape))
        reduce = tuple(Axis.make(f"r{rank}", extent) for rank, extent in enumerate(over))
        places = [axis.var for axis in axes]
        element = value(*places, *(axis.var for axis in reduce))
        if finish is None:
            self.add(Stage(out, axes, element, reduce, combine))
        else:
            partial = tirx.Var("partial", str(element.ty.dtype))
            self.add(Stage(out, axes, element, reduce, combine, partial, finish(partial, *places)))
        return out


def at(tensor: Tensor, *indices: Expr) -> Expr:
    """An element. An index that comes from data is kept inside: a wrong one must not read foreign memory."""
    safe = []
    for index, extent in zip(indices, tensor.shape, strict=True):
        if count(index, (TensorLoad,)):
            dtype = str(index.ty.dtype)
            index = tirx.Max(tirx.const(0, dtype), tirx.Min(index, tirx.const(extent - 1, dtype)))
        safe.append(index)
    return tirx.BufferLoad(tensor.buffer, safe)


def known(tensor: Tensor, *indices: Expr) -> Expr:
    """An element whose index comes from our own tables, so that it is known to be inside."""
    return tirx.BufferLoad(tensor.buffer, list(indices))


def total(dtype: str) -> Combine:
    return Combine(lambda a, b: a + b, tirx.const(0, dtype))


def largest(dtype: str) -> Combine:
    return Combine(tirx.Max, lowest(dtype))


def smallest(dtype: str) -> Combine:
    return Combine(tirx.Min, highest(dtype))


def lowest(dtype: str) -> Expr:
    return tirx.const(-inf, dtype) if dtype.startswith("float") else tvm.tirx.min_value(dtype)


def highest(dtype: str) -> Expr:
    return tirx.const(inf, dtype) if dtype.startswith("float") else tvm.tirx.max_value(dtype)
