"""Normalisation over groups of channels; the tensor is seen as rows of what shares a mean and a variance."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import tirx

from ...graph import Graph, Node
from ..computation import Computation
from ..stage import Expr
from ._formula import Formula, at, number, total


def _normalization(graph: Graph, node: Node, symbol: str) -> Computation:
    """scale · (x − mean) / √(variance + ε) + bias, scale and bias by channel."""
    formula = Formula(graph, node, symbol)
    batch, channels, *spatial = formula.shape(0)
    groups = int(formula.attribute("num_groups", channels))
    per_group, pixels = channels // groups, prod(spatial)
    shape = (batch, groups, per_group, pixels)
    x, y = formula.input(0, shape), formula.output(0, shape)
    scale, bias = formula.input(1), formula.input(2)
    epsilon, share = float(formula.attribute("epsilon", 1e-5)), 1.0 / (per_group * pixels)

    def value(*indices: Any) -> Expr:
        return tirx.Cast("float32", at(x, *indices)) if x.dtype != "float32" else at(x, *indices)

    mean = formula.reduce(
        formula.temporary("float32", (batch, groups)), (per_group, pixels), total("float32"),
        value, lambda sum_, n, g: sum_ * number(share),
    )  # fmt: skip

    def deviation(n: Any, g: Any, c: Any, p: Any) -> Expr:
        return value(n, g, c, p) - at(mean, n, g)

    factor = formula.reduce(
        formula.temporary("float32", (batch, groups)), (per_group, pixels), total("float32"),
        lambda *place: deviation(*place) * deviation(*place),
        lambda sum_, n, g: number(1.0) / tirx.sqrt(sum_ * number(share) + number(epsilon)),
    )  # fmt: skip

    def normalized(n: Any, g: Any, c: Any, p: Any) -> Expr:
        channel = g * per_group + c
        made = deviation(n, g, c, p) * at(factor, n, g) * _single(at(scale, channel)) + _single(
            at(bias, channel)
        )
        return made.astype(y.dtype)

    formula.fill(y, normalized)
    return formula.done()


def _single(value: Any) -> Expr:
    return value.astype("float32")


OPERATORS = {"GroupNormalization": _normalization, "InstanceNormalization": _normalization}
