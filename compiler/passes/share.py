"""Compute once what is computed twice."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ..graph import AttributeValue, Graph, Node
from ._rewrite import Rewriter, rewrite

_SMALL_BYTES = 4096  # larger constants are compared by name only
_DIFFERENT_EACH_TIME = ("Bernoulli", "Multinomial", "RandomNormal", "RandomUniform")


def share(graph: Graph) -> Graph:
    """Common subexpressions: of nodes with the same operator, inputs and attributes, the first one stays."""
    seen: dict[Hashable, Node] = {}
    same = _equal_constants(graph)

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if rewriter.is_output(*node.outputs) or node.op.startswith(_DIFFERENT_EACH_TIME):
            return False
        inputs = tuple(same.get(value, value) for value in node.inputs)
        attributes = tuple((key, _hashable(value)) for key, value in sorted(node.attributes.items()))
        first = seen.setdefault((node.op, inputs, attributes, tuple(map(bool, node.outputs))), node)
        if first is node:
            return False
        for old, new in zip(node.outputs, first.outputs, strict=True):
            if old:
                rewriter.forward(old, new)
        return True

    return rewrite(graph, rule)


def _equal_constants(graph: Graph) -> dict[str, str]:
    """Name of each small constant → name of the first one of the same contents."""
    first: dict[Hashable, str] = {}
    return {
        name: first.setdefault(_hashable(array), name)
        for name, array in graph.constants.items()
        if array.nbytes <= _SMALL_BYTES
    }


def _hashable(value: AttributeValue) -> Hashable:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return type(value).__name__, value
