"""Matrix products and batch normalisation."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedError
from ...graph import Array, Node, TensorType
from .._rewrite import Rewriter
from .attributes import given, integer, number

_FLOATS = ("float32", "float64", "float16", "bfloat16")


def matrix_product(rewriter: Rewriter, node: Node) -> bool:
    x, w = node.inputs
    weights = rewriter.constants.get(w)
    if weights is None or weights.ndim != 2 or x in rewriter.constants or str(weights.dtype) not in _FLOATS:
        return False
    rewriter.emit("Dense", (x, w, ""), node.outputs[0], name=node.name)
    return True


def general_product(rewriter: Rewriter, node: Node) -> bool:
    """Gemm: alpha · A' · B' + beta · C."""
    a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    if integer(node, "transA", 0):
        a = _transposed(rewriter, node, a)
    weights, type_ = rewriter.constants.get(b), rewriter.types[y]
    added = given(node, 2) if beta else ""
    if weights is None or type_.dtype not in _FLOATS:
        if integer(node, "transB", 0):
            b = _transposed(rewriter, node, b)
        operator, inputs = "MatMul", (a, b)
        bias = None
    else:
        weights = weights.T if integer(node, "transB", 0) else weights
        weights = np.ascontiguousarray(_scaled(weights, alpha))
        alpha = 1.0
        bias = _row(rewriter.constants.get(added), type_.shape[1])
        operator = "Dense"
        bias_name = "" if bias is None else rewriter.constant(f"{node.name}_bias", _scaled(bias, beta))
        inputs = (a, rewriter.constant(f"{node.name}_weights", weights), bias_name)
        added = added if bias is None else ""
    steps = [("Mul", alpha)] if alpha != 1.0 else []
    result = y if not steps and not added else rewriter.value(f"{y}_product", type_)
    rewriter.emit(operator, inputs, result, name=node.name)
    for op, factor in steps:
        scale = rewriter.constant(f"{node.name}_alpha", np.array(factor).astype(type_.dtype))
        following = rewriter.value(f"{y}_scaled", type_) if added else y
        result = rewriter.emit(op, (result, scale), following, name=f"{node.name}_alpha")
    if added:
        rewriter.emit("Add", (result, _times(rewriter, node, added, beta)), y, name=f"{node.name}_add")
    return True


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1.0 else (array * np.array(factor).astype(array.dtype)).astype(array.dtype)


def _row(added: Array | None, width: int) -> Array | None:
    """What is added to every row alike, if it is that."""
    if added is None or (added.ndim == 2 and added.shape[0] != 1) or added.ndim > 2:
        return None
    return np.ascontiguousarray(np.broadcast_to(added.reshape(-1), (width,)))


def _times(rewriter: Rewriter, node: Node, value: str, factor: float) -> str:
    if factor == 1.0:
        return value
    if value in rewriter.constants:
        return rewriter.constant(f"{node.name}_added", _scaled(rewriter.constants[value], factor))
    type_ = rewriter.types[value]
    scale = rewriter.constant(f"{node.name}_beta", np.array(factor).astype(type_.dtype))
    return rewriter.emit(
        "Mul", (value, scale), rewriter.value(f"{value}_scaled", type_), name=f"{node.name}_beta"
    )


def _transposed(rewriter: Rewriter, node: Node, value: str) -> str:
    type_ = rewriter.types[value]
    name = rewriter.value(f"{value}_transposed", TensorType(type_.dtype, type_.shape[::-1]))
    return rewriter.emit("Transpose", (value,), name, name=f"{node.name}_transpose", perm=(1, 0))


def batch_normalization(rewriter: Rewriter, node: Node) -> bool:
    """x · scale + shift for each channel, as Mul and Add; `fold_affine` then puts them into the convolution before."""
    if integer(node, "training_mode", 0) or any(node.outputs[1:]):
        raise UnsupportedError(node.name, node.op, "it is in training mode; export the model for inference")
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    parameters = [rewriter.constants.get(name) for name in node.inputs[1:5]]
    if any(array is None for array in parameters):
        raise UnsupportedError(node.name, node.op, "its scale, bias, mean and variance must be constant")
    scale, bias, mean, variance = (np.asarray(array, np.float64) for array in parameters)
    factor = scale / np.sqrt(variance + number(node, "epsilon", 1e-5))
    shape = (-1,) + (1,) * (len(type_.shape) - 2)
    scaled = rewriter.emit(
        "Mul",
        (x, rewriter.constant(f"{node.name}_scale", factor.reshape(shape).astype(type_.dtype))),
        rewriter.value(f"{y}_scaled", type_),
        name=node.name,
    )
    shift = rewriter.constant(f"{node.name}_shift", (bias - mean * factor).reshape(shape).astype(type_.dtype))
    rewriter.emit("Add", (scaled, shift), y, name=f"{node.name}_add")
    return True


RULES = {
    "BatchNormalization": batch_normalization,
    "Gemm": general_product,
    "MatMul": matrix_product,
}
