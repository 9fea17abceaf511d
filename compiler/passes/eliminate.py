"""Remove nodes that compute nothing: identities, and moves that cancel each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Graph, Node
from ._rewrite import Rewriter, Rule, rewrite


def eliminate(graph: Graph) -> Graph:
    """Drop identities and join chains of Reshape and of Transpose.

    What stays of Identity hands an input, a constant or a second name of a value out of the graph.
    """

    def rule(rewriter: Rewriter, node: Node) -> bool:
        found = _RULES.get(node.op)
        return found is not None and found(rewriter, node)

    return rewrite(graph, rule)


def _identity(rewriter: Rewriter, node: Node) -> bool:
    return rewriter.alias(node, node.inputs[0])


def _same_type(rewriter: Rewriter, node: Node) -> bool:
    """Operators that do nothing if they do not change the shape."""
    if rewriter.types[node.inputs[0]] != rewriter.types[node.outputs[0]]:
        return False
    return _pass_on(rewriter, node)


def _pass_on(rewriter: Rewriter, node: Node) -> bool:
    if not rewriter.alias(node, node.inputs[0]):
        rewriter.emit("Identity", node.inputs[:1], node.outputs[0], name=node.name)
    return True


def _reshape(rewriter: Rewriter, node: Node) -> bool:
    if _same_type(rewriter, node):
        return True
    before = rewriter.producer(node.inputs[0])
    if before is None or before.op != "Reshape":
        return False
    rewriter.emit("Reshape", before.inputs, node.outputs[0], name=node.name, **node.attributes)
    return True


def _transpose(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    perm: Any = node.attributes["perm"]
    before = rewriter.producer(x)
    if before is not None and before.op == "Transpose":
        first: Any = before.attributes["perm"]
        joined = tuple(first[index] for index in perm)
        rewriter.emit("Transpose", before.inputs, y, name=node.name, perm=joined)
        return True
    shape = rewriter.shape(x)
    moved = [index for index in perm if shape[index] != 1]
    if moved == sorted(moved):  # only dimensions of size 1 change places
        if rewriter.shape(y) == shape:
            return _pass_on(rewriter, node)
        rewriter.emit("Reshape", (x,), y, name=node.name, shape=rewriter.shape(y))
        return True
    return False


def _neutral(element: float) -> Rule:
    """A binary operator with this constant does nothing."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        operand = rewriter.constants.get(node.inputs[1])
        if operand is None or not bool(np.all(operand == element)):
            return False
        return _same_type(rewriter, node)

    return rule


_RULES: Mapping[str, Rule] = {
    "Add": _neutral(0.0),
    "Expand": _same_type,
    "Identity": _identity,
    "Mul": _neutral(1.0),
    "Reshape": _reshape,
    "Split": lambda rewriter, node: len(node.outputs) == 1 and _pass_on(rewriter, node),
    "Tile": _same_type,
    "Transpose": _transpose,
}
