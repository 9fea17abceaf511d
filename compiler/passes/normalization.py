"""Recognise layer normalisation that exporters write as nine nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Graph, Node
from ._match import Match, Op, Scalar, Value, match
from ._rewrite import Rewriter, rewrite

_X = Value("x")
_CENTRED = Op("Sub", (_X, Op("ReduceMean", (_X,), "mean")))
_VARIANCE = Op("ReduceMean", (Op("Mul", (_CENTRED, _CENTRED)),), "variance")
_DEVIATION = Op("Sqrt", (Op("Add", (_VARIANCE, Scalar(name="epsilon"))),))
_PATTERNS = (
    Op("Div", (_CENTRED, _DEVIATION)),
    Op("Mul", (_CENTRED, Op("Reciprocal", (_DEVIATION,)))),
)


def recognize_normalization(graph: Graph) -> Graph:
    """Replace (x − mean) / √(variance + ε) over the last dimensions by LayerNormalization.

    A scale and a bias that follow are put into it by `fold_affine`.
    """

    def rule(rewriter: Rewriter, node: Node) -> bool:
        for pattern in _PATTERNS:
            found = match(rewriter, pattern, node)
            if found is not None and _replace(rewriter, node, found):
                return True
        return False

    return rewrite(graph, rule)


def _replace(rewriter: Rewriter, node: Node, found: Match) -> bool:
    x, y = found.values["x"], node.outputs[0]
    type_ = rewriter.types[x]
    over: Any = found.nodes["mean"].attributes
    rank = len(type_.shape)
    if over != found.nodes["variance"].attributes or not over["keepdims"]:
        return False
    if over["axes"] != tuple(range(over["axes"][0], rank)):
        return False
    ones = np.ones(type_.shape[over["axes"][0] :], type_.dtype)
    scale = rewriter.constant(f"{y}_scale", ones)
    rewriter.emit(
        "LayerNormalization", (x, scale, ""), y, name=node.name,
        axis=over["axes"][0], epsilon=found.numbers["epsilon"],
    )  # fmt: skip
    return True
