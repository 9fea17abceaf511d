"""Operators that find or set places: ArgMax, OneHot and the like."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from ...graph import Graph, Node
from ..computation import Computation
from ..stage import Expr
from ._formula import Formula, at, largest, smallest, whole


def _extreme(graph: Graph, node: Node, symbol: str) -> Computation:
    """ArgMax and ArgMin: the extreme value first, then the first (or last) place that holds it."""
    formula = Formula(graph, node, symbol)
    x = formula.input(0)
    axis = int(formula.attribute("axis", 0)) % len(x.shape)
    length = x.shape[axis]
    kept = tuple(1 if rank == axis else extent for rank, extent in enumerate(x.shape))
    y = formula.output(0, kept)
    find = largest if node.op == "ArgMax" else smallest
    last = bool(formula.attribute("select_last_index", 0))

    def element(*place: Any) -> Expr:
        *out, along = place
        return at(x, *out[:axis], along, *out[axis + 1 :])

    best = formula.reduce(formula.temporary(x.dtype, kept), (length,), find(x.dtype), element)

    def candidate(*place: Any) -> Expr:
        along = place[-1].astype("int32")
        nowhere = tirx.const(-1 if last else length, "int32")
        return tirx.Select(tirx.EQ(element(*place), at(best, *place[:-1])), along, nowhere)

    def inside(found: Expr, *_: Expr) -> Expr:
        """Where nothing equals the extreme there are only NaNs."""
        bounded = tirx.Max(tirx.const(0, "int32"), tirx.Min(found, tirx.const(length - 1, "int32")))
        return bounded.astype("int64")

    combine = largest("int32") if last else smallest("int32")
    formula.reduce(y, (length,), combine, candidate, inside)
    return formula.done()


def _one_hot(graph: Graph, node: Node, symbol: str) -> Computation:
    """`on` where the index says so, else `off`; indices may count from the end, others are nowhere."""
    formula = Formula(graph, node, symbol)
    indices, values, y = formula.input(0), formula.input(2), formula.output(0)
    axis = int(formula.attribute("axis", -1)) % len(y.shape)
    depth = y.shape[axis]

    def value(*place: Any) -> Expr:
        index = at(indices, *place[:axis], *place[axis + 1 :]).astype("int64")
        index = tirx.Select(index < whole(0), index + whole(depth), index)
        hit = tirx.EQ(index, place[axis].astype("int64"))
        return tirx.Select(hit, at(values, whole(1)), at(values, whole(0)))

    formula.fill(y, value)
    return formula.done()


OPERATORS = {"ArgMax": _extreme, "ArgMin": _extreme, "OneHot": _one_hot}
