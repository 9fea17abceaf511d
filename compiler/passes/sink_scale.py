"""Move a factor that an operand of a matrix product was multiplied with behind the product.

There it costs nothing, because the product's kernel applies it to what it holds in registers; and no copy of
the scaled operand stands between the product and the Dense that made it. Attention is written that way.
"""

from __future__ import annotations

import numpy as np

from ..graph import Graph, Node
from ._rewrite import Rewriter, rewrite

_MOVES = ("Reshape", "Transpose")


def sink_scale(graph: Graph) -> Graph:
    """MatMul(s · a, t · b) becomes s·t · MatMul(a, b), for constants s and t of one element."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if node.op != "MatMul":
            return False
        found = [_unscaled(rewriter, value) for value in node.inputs]
        if all(scale is None for scale, _ in found):
            return False
        y = node.outputs[0]
        type_ = rewriter.types[y]
        operands = [_moved(rewriter, moves) for _, moves in found]
        factor = np.prod([np.float64(1.0 if scale is None else scale) for scale, _ in found])
        product = rewriter.emit("MatMul", operands, rewriter.value(f"{y}_product", type_), name=node.name)
        constant = rewriter.constant(f"{y}_factor", np.array(factor).astype(type_.dtype))
        rewriter.emit("Mul", (product, constant), y, name=f"{node.name}_factor")
        return True

    return rewrite(graph, rule)


def _unscaled(rewriter: Rewriter, value: str) -> tuple[float | None, list[Node | str]]:
    """The factor, and the value before it with the moves that lie between, outermost last."""
    moves: list[Node | str] = []
    at = value
    while (node := rewriter.producer(at)) is not None and rewriter.uses(at) == 1:
        if node.op in _MOVES:
            moves.insert(0, node)
            at = node.inputs[0]
            continue
        scale = rewriter.constants.get(node.inputs[1]) if node.op == "Mul" else None
        if scale is None or scale.size != 1 or rewriter.types[node.inputs[0]] != rewriter.types[at]:
            break
        return float(scale.reshape(-1)[0]), [node.inputs[0], *moves]
    return None, [value]


def _moved(rewriter: Rewriter, chain: list[Node | str]) -> str:
    value = str(chain[0])
    for node in chain[1:]:
        assert isinstance(node, Node)
        made = rewriter.value(f"{node.outputs[0]}_unscaled", rewriter.types[node.outputs[0]])
        value = rewriter.emit(node.op, (value,), made, name=node.name, **node.attributes)
    return value
