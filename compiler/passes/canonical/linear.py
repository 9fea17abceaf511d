"""Matrix products and batch normalisation."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedError
from ...graph import Array, Node, TensorType
from .._rewrite import Rewriter
from .attributes import given, integer, number
from .elementwise import is_float


def matrix_product(rewriter: Rewriter, node: Node) -> bool:
    x, w = node.inputs
    weights = rewriter.constants.get(w)
    if weights is None or weights.ndim != 2 or x in rewriter.constants or not is_float(rewriter.types[w]):
        return False
    rewriter.emit("Dense", (x, w, ""), node.outputs[0], name=node.name)
    return True


def general_product(rewriter: Rewriter, node: Node) -> bool:
    """Gemm: alpha · A' · B' + beta · C."""
    a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
    type_ = rewriter.types[y]
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    added = given(node, 2) if beta else ""
    weights = rewriter.constants.get(b)
    if integer(node, "transA", 0):
        a = _transposed(rewriter, node, a)
    steps: list[tuple[str, tuple[str, ...]]] = []  # operator and all its operands but the first
    if weights is not None and is_float(type_):
        weights = np.ascontiguousarray(_scaled(weights.T if integer(node, "transB", 0) else weights, alpha))
        bias = _row(rewriter.constants.get(added), type_.shape[1])
        added = added if bias is None else ""
        bias_name = "" if bias is None else rewriter.constant(f"{node.name}_bias", _scaled(bias, beta))
        steps.append(("Dense", (rewriter.constant(f"{node.name}_weights", weights), bias_name)))
    else:
        steps.append(("MatMul", (_transposed(rewriter, node, b) if integer(node, "transB", 0) else b,)))
        if alpha != 1.0:
            steps.append(("Mul", (_number(rewriter, f"{node.name}_alpha", alpha, type_),)))
    if added:
        steps.append(("Add", (_times(rewriter, node, added, beta),)))
    result = a
    for index, (op, operands) in enumerate(steps, start=1):
        made = y if index == len(steps) else rewriter.value(f"{y}_partial", type_)
        result = rewriter.emit(op, (result, *operands), made, name=node.name)
    return True


def _number(rewriter: Rewriter, hint: str, value: float, type_: TensorType) -> str:
    return rewriter.constant(hint, np.array(value).astype(type_.dtype))


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
    scale = _number(rewriter, f"{node.name}_beta", factor, type_)
    return rewriter.emit(
        "Mul", (value, scale), rewriter.value(f"{value}_scaled", type_), name=f"{node.name}_beta"
    )


def _transposed(rewriter: Rewriter, node: Node, value: str) -> str:
    type_ = rewriter.types[value]
    name = rewriter.value(f"{value}_transposed", TensorType(type_.dtype, type_.shape[::-1]))
    return rewriter.emit("Transpose", (value,), name, name=f"{node.name}_transpose", perm=(1, 0))


def batch_normalization(rewriter: Rewriter, node: Node) -> bool:
    """x · scale + shift for each channel, as Mul and Add, which `fold_affine` puts into the convolution."""
    if integer(node, "training_mode", 0) or any(node.outputs[1:]):
        raise UnsupportedError(node.name, node.op, "it is in training mode; export the model for inference")
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    if any(name not in rewriter.constants for name in node.inputs[1:5]):
        return _variable_normalization(rewriter, node)
    parameters = (rewriter.constants[name] for name in node.inputs[1:5])
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


def _variable_normalization(rewriter: Rewriter, node: Node) -> bool:
    """(x − mean) / √(variance + ε) · scale + bias, where the data decides some of these."""
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    shape = (type_.shape[1],) + (1,) * (len(type_.shape) - 2)

    def step(op: str, inputs: tuple[str, ...], made: TensorType) -> str:
        return rewriter.emit(op, inputs, rewriter.value(f"{y}_step", made), name=f"{node.name}_step")

    channels = []
    for value in node.inputs[1:5]:
        each = TensorType(rewriter.types[value].dtype, shape)
        if value in rewriter.constants:
            channels.append(rewriter.constant(f"{value}_channels", rewriter.constants[value].reshape(shape)))
        else:
            made = rewriter.value(f"{value}_channels", each)
            rewriter.emit("Reshape", (value,), made, name=f"{node.name}_channels", shape=shape)
            channels.append(made)
    scale, bias, mean, variance = channels
    each = rewriter.types[variance]
    epsilon = rewriter.constant(f"{node.name}_epsilon", np.array(number(node, "epsilon", 1e-5), each.dtype))
    deviation = step("Sqrt", (step("Add", (variance, epsilon), each),), each)
    slope = step("Div", (scale, deviation), each)
    centred = step("Sub", (x, mean), type_)
    scaled = step("Mul", (centred, slope), type_)
    rewriter.emit("Add", (scaled, bias), y, name=node.name)
    return True


RULES = {
    "BatchNormalization": batch_normalization,
    "Gemm": general_product,
    "MatMul": matrix_product,
}
