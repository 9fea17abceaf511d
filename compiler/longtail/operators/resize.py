"""Resize, axis by axis: each output element mixes a few input elements, by the tables of `resampling`."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx

from ...graph import Graph, Node
from ...resampling import Taps, taps
from ..computation import Computation
from ..stage import Expr, Tensor
from ._formula import Formula, at, known, number, total

_UNROLLED = 4  # terms of a sum that is written out


def _resize(graph: Graph, node: Node, symbol: str) -> Computation:
    formula = Formula(graph, node, symbol)
    x, y = formula.input(0), formula.output(0)
    tables = _tables(formula, x.shape, y.shape)
    exact = node.attributes["mode"] == "nearest"
    dtype = y.dtype if exact else "float32"
    # What shrinks goes first, and the last axis last: its elements are gathered, all others read in vectors.
    order = sorted(tables, key=lambda axis: (y.shape[axis] / x.shape[axis] > 1, axis))
    current, shape = x, list(x.shape)
    for axis in order:
        shape[axis] = y.shape[axis]
        current = _mixed(formula, current, formula.temporary(dtype, shape), axis, tables[axis])
    formula.fill(y, lambda *place: _finished(formula, current, tables, place, y.dtype))
    return formula.done()


def _tables(formula: Formula, before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, Taps]:
    """Of the axes that change."""
    try:
        found = {
            axis: taps(formula.node.attributes, axis, old, new)
            for axis, (old, new) in enumerate(zip(before, after, strict=True))
        }
    except ValueError as error:
        raise formula.unsupported(str(error)) from error
    return {axis: table for axis, table in found.items() if not table.is_identity}


def _mixed(formula: Formula, source: Tensor, out: Tensor, axis: int, table: Taps) -> Tensor:
    """`source` resampled along one axis."""
    indices = formula.table(table.indices.reshape(-1))

    def element(place: Any, tap: Expr) -> Expr:
        index = known(indices, place[axis] * table.count + tap)
        value = known(source, *place[:axis], index, *place[axis + 1 :])
        return value if source.dtype == out.dtype else value.astype(out.dtype)

    if table.count == 1:
        return formula.fill(out, lambda *place: element(place, tirx.const(0, "int64")))
    weights = formula.table(table.weights.reshape(-1))

    def term(place: Any, tap: Any) -> Expr:
        return known(weights, place[axis] * table.count + tap) * element(place, tap)

    if table.count > _UNROLLED:
        return formula.reduce(
            out, (table.count,), total(out.dtype), lambda *place: term(place[:-1], place[-1])
        )

    def summed(*place: Any) -> Expr:
        terms = [term(place, tirx.const(tap, "int64")) for tap in range(table.count)]
        return sum(terms[1:], terms[0])

    return formula.fill(out, summed)


def _finished(formula: Formula, made: Tensor, tables: dict[int, Taps], place: Any, dtype: str) -> Expr:
    """The result in its own type; outside of the image, the value that stands for it."""
    value = at(made, *place)
    if made.dtype != dtype:
        value = _rounded(value, dtype)
    for axis, table in tables.items():
        if table.outside is not None:
            outside = formula.table(table.outside.astype(np.int8))
            fill = number(float(formula.attribute("extrapolation_value", 0.0)), dtype)
            value = tirx.Select(tirx.NE(known(outside, place[axis]), tirx.const(0, "int8")), fill, value)
    return value


def _rounded(value: Expr, dtype: str) -> Expr:
    """ONNX Runtime cuts off towards zero what it mixes of integers, within the type's range."""
    if dtype.startswith("float"):
        return value.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    bounded = tirx.Max(number(float(low)), tirx.Min(value, number(float(high))))
    return bounded.astype(dtype)


OPERATORS = {"Resize": _resize}
