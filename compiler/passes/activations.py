"""Recognise activation functions that exporters write as several nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..graph import Graph, Node
from ._match import Match, Op, Pattern, Replacement, Scalar, Value, match
from ._rewrite import Rewriter, rewrite
from .canonical.elementwise import emit_clip, is_float

X = Value("x")


def add(a: Pattern, b: Pattern) -> Op:
    return Op("Add", (a, b))


def mul(a: Pattern, b: Pattern) -> Op:
    return Op("Mul", (a, b))


def _becomes(op: str, **attributes: float | str) -> Replacement:
    def replace(rewriter: Rewriter, node: Node, found: Match) -> bool:
        rewriter.emit(op, (found.values["x"],), node.outputs[0], name=node.name, **attributes)
        return True

    return replace


def _hard_sigmoid(rewriter: Rewriter, node: Node, found: Match) -> bool:
    """clip(x + a, 0, h) · s, which is HardSigmoid if h · s = 1."""
    low, high = _bounds(found.nodes["clip"])
    shift, scale = found.numbers["shift"], found.numbers["scale"]
    if low != 0.0 or not math.isclose(high * scale, 1.0, rel_tol=1e-6):
        return False
    x, y = found.values["x"], node.outputs[0]
    rewriter.emit("HardSigmoid", (x,), y, name=node.name, alpha=scale, beta=shift * scale)
    return True


def _hard_swish_of_sigmoid(rewriter: Rewriter, node: Node, found: Match) -> bool:
    attributes: Any = found.nodes["gate"].attributes
    if not math.isclose(attributes["alpha"], 1 / 6, rel_tol=1e-6) or not math.isclose(
        attributes["beta"], 0.5, rel_tol=1e-6
    ):
        return False
    return _becomes("HardSwish")(rewriter, node, found)


def _hard_swish_of_clip(rewriter: Rewriter, node: Node, found: Match) -> bool:
    if _bounds(found.nodes["clip"]) != (0.0, 6.0):
        return False
    return _becomes("HardSwish")(rewriter, node, found)


def _leaky(rewriter: Rewriter, node: Node, found: Match) -> bool:
    alpha = found.numbers["alpha"]
    if not 0.0 <= alpha <= 1.0:
        return False
    return _becomes("LeakyRelu", alpha=alpha)(rewriter, node, found)


_LIMITS: dict[str, Callable[[Any], tuple[float, float]]] = {
    "Clip": lambda attributes: (attributes["min"], attributes["max"]),
    "Relu": lambda attributes: (0.0, math.inf),
}


def _bounds(node: Node) -> tuple[float, float]:
    return _LIMITS[node.op](node.attributes)


def _clip_of_clip(rewriter: Rewriter, node: Node, found: Match) -> bool:
    inner, outer = _bounds(found.nodes["inner"]), _bounds(node)
    low, high = (min(max(bound, outer[0]), outer[1]) for bound in inner)
    return _limit(rewriter, node, found, low, high)


def _at_least(rewriter: Rewriter, node: Node, found: Match) -> bool:
    return _limit(rewriter, node, found, found.numbers["bound"], math.inf)


def _at_most(rewriter: Rewriter, node: Node, found: Match) -> bool:
    return _limit(rewriter, node, found, -math.inf, found.numbers["bound"])


def _limit(rewriter: Rewriter, node: Node, found: Match, low: float, high: float) -> bool:
    x, y = found.values["x"], node.outputs[0]
    if rewriter.types[x] != rewriter.types[y] or math.isnan(low) or math.isnan(high):
        return False
    emit_clip(rewriter, x, y, low, high, name=node.name)
    return True


def _halved_product(inner: Op) -> tuple[Op, ...]:
    """x · inner / 2, in the orders in which exporters write it."""
    half = Scalar(0.5)
    return mul(mul(X, inner), half), mul(mul(X, half), inner), mul(X, mul(inner, half))


_ERF = add(Op("Erf", (mul(X, Scalar(math.sqrt(0.5))),)), Scalar(1.0))
_CUBE = mul(mul(X, X), X)
_ROOT = Scalar(math.sqrt(2 / math.pi))
_CUBIC = Scalar(0.044715)
_TANH = tuple(
    add(Op("Tanh", (inner,)), Scalar(1.0))
    for inner in (
        mul(add(X, mul(_CUBE, _CUBIC)), _ROOT),
        mul(mul(X, _ROOT), add(mul(mul(X, X), _CUBIC), Scalar(1.0))),
    )
)
_SHIFTED = Op("Clip", (add(X, Scalar(3.0)),), "clip")

_PATTERNS: tuple[tuple[Op, Replacement], ...] = (
    (mul(X, Op("Sigmoid", (X,))), _becomes("Silu")),
    (mul(X, Op("Tanh", (Op("Softplus", (X,)),))), _becomes("Mish")),
    (mul(X, Op("HardSigmoid", (X,), "gate")), _hard_swish_of_sigmoid),
    (mul(mul(X, _SHIFTED), Scalar(1 / 6)), _hard_swish_of_clip),
    (mul(mul(X, Scalar(1 / 6)), _SHIFTED), _hard_swish_of_clip),
    (mul(Op("Clip", (add(X, Scalar(name="shift")),), "clip"), Scalar(name="scale")), _hard_sigmoid),
    *((form, _becomes("Gelu", approximate="none")) for form in _halved_product(_ERF)),
    *((form, _becomes("Gelu", approximate="tanh")) for inner in _TANH for form in _halved_product(inner)),
    (Op("Max", (X, mul(X, Scalar(name="alpha")))), _leaky),
    (Op("Max", (X, Scalar(name="bound"))), _at_least),
    (Op("Min", (X, Scalar(name="bound"))), _at_most),
    *((Op(outer, (Op(inner, (X,), "inner"),)), _clip_of_clip) for outer in _LIMITS for inner in _LIMITS),
)


def recognize_activations(graph: Graph) -> Graph:
    """Replace the patterns by Silu, Mish, HardSwish, HardSigmoid, Gelu, LeakyRelu, Clip and Relu."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if not node.outputs[0] or not is_float(rewriter.types[node.outputs[0]]):
            return False
        for pattern, replace in _PATTERNS:
            found = match(rewriter, pattern, node)
            if found is not None and replace(rewriter, node, found):
                return True
        return False

    return rewrite(graph, rule)
