"""Put a multiplication or addition of constants into the operator before it, where its weights can take it.

Batch normalisation comes here as such a pair, see `canonicalize`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ._rewrite import Rewriter, rewrite
from .canonical.elementwise import is_float


@dataclass(frozen=True)
class _Affine:
    """An operator that ends with `· weights + bias`.

    `varies(node, shape)` is what a constant may look like to fit: the output's shape, with 1 wherever all
    elements share weights. `scaled(weights, node, factor)` multiplies the weights by a factor of that shape.
    """

    varies: Callable[[Node, tuple[int, ...]], tuple[int, ...]]
    scaled: Callable[[Array, Node, Array], Array]


def _channels(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, shape[1], *(1,) * (len(shape) - 2))


def _last(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(1,) * (len(shape) - 1), shape[-1])


def _normalized(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    axis: Any = node.attributes["axis"]
    return (*(1,) * axis, *shape[axis:])


def _scale_convolution(weights: Array, node: Node, factor: Array) -> Array:
    return weights * factor.reshape(-1, *(1,) * (weights.ndim - 1))


def _scale_transposed(weights: Array, node: Node, factor: Array) -> Array:
    group: Any = node.attributes["group"]
    inputs, outputs = weights.shape[:2]
    grouped = weights.reshape(group, inputs // group, outputs, -1)
    return (grouped * factor.reshape(group, 1, outputs, 1)).reshape(weights.shape)


def _scale_elements(weights: Array, node: Node, factor: Array) -> Array:
    return weights * factor.reshape(factor.shape[factor.ndim - weights.ndim :])


def _scale_columns(weights: Array, node: Node, factor: Array) -> Array:
    return weights * factor.reshape(1, -1)


_AFFINE: Mapping[str, _Affine] = {
    "Conv": _Affine(_channels, _scale_convolution),
    "ConvTranspose": _Affine(_channels, _scale_transposed),
    "Dense": _Affine(_last, _scale_columns),
    "LayerNormalization": _Affine(_normalized, _scale_elements),
}


def fold_affine(graph: Graph) -> Graph:
    """Fold Mul and Add by per-channel constants into Conv, ConvTranspose, Dense and LayerNormalization."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if node.op not in ("Add", "Mul") or node.inputs[1] not in rewriter.constants:
            return False
        before = rewriter.producer(node.inputs[0])
        if before is None or before.op not in _AFFINE or rewriter.uses(node.inputs[0]) != 1:
            return False
        return _fold(rewriter, node, before, rewriter.constants[node.inputs[1]])

    return rewrite(graph, rule)


def _fold(rewriter: Rewriter, node: Node, before: Node, operand: Array) -> bool:
    y = node.outputs[0]
    type_ = rewriter.types[y]
    if type_ != rewriter.types[node.inputs[0]] or not is_float(type_):
        return False
    x, w, b = before.inputs
    weights, bias = rewriter.constants.get(w), rewriter.constants.get(b)
    if weights is None or (b and bias is None):
        return False
    how = _AFFINE[before.op]
    fits = how.varies(before, type_.shape)
    if operand.ndim > len(fits):
        return False
    padded = operand.reshape((1,) * (len(fits) - operand.ndim) + operand.shape)
    if any(have not in (1, may) for have, may in zip(padded.shape, fits, strict=True)):
        return False
    factor = np.broadcast_to(padded, fits).astype(np.float64)
    shape = weights.shape if before.op == "LayerNormalization" else (-1,)
    shift = factor.reshape(shape)
    if node.op == "Mul":
        scaled = how.scaled(weights.astype(np.float64), before, factor).astype(weights.dtype)
        w = rewriter.constant(f"{before.name}_weights", np.ascontiguousarray(scaled))
        new_bias = None if bias is None else bias * shift
    else:
        new_bias = shift if bias is None else bias + shift
    if new_bias is not None:
        b = rewriter.constant(f"{before.name}_bias", np.ascontiguousarray(new_bias.astype(weights.dtype)))
    rewriter.emit(before.op, (x, w, b), y, name=before.name, **before.attributes)
    return True
