"""Element-wise operators: constants second, bounds as attributes, n-ary ones as chains of binary ones."""

from __future__ import annotations

import math

import numpy as np

from ...errors import UnsupportedError
from ...graph import Array, Node, TensorType
from ...onnx_types import elem_type
from .._rewrite import Rewriter, Rule
from .attributes import given


def is_float(type_: TensorType) -> bool:
    return type_.dtype in ("float32", "float64", "float16", "bfloat16")


def subtract(rewriter: Rewriter, node: Node) -> bool:
    first, second = node.inputs
    array = rewriter.constants.get(second)
    if array is None or not is_float(rewriter.types[second]):
        return False
    rewriter.emit(
        "Add", (first, rewriter.constant(f"{second}_negative", -array)), node.outputs[0], name=node.name
    )
    return True


def divide(rewriter: Rewriter, node: Node) -> bool:
    first, second = node.inputs
    array = rewriter.constants.get(second)
    if array is None or not is_float(rewriter.types[second]):
        return False
    with np.errstate(all="ignore"):
        inverse = (1.0 / array.astype(np.float64)).astype(array.dtype)
    tiny = np.finfo(np.float32).tiny if array.dtype.name not in ("float16", "bfloat16") else 1e-4
    magnitude = np.abs(inverse.astype(np.float64))
    if not np.all(np.isfinite(magnitude)) or np.any(magnitude < tiny):
        return False  # the reciprocal would lose precision or become infinite
    rewriter.emit(
        "Mul", (first, rewriter.constant(f"{second}_inverse", inverse)), node.outputs[0], name=node.name
    )
    return True


def chain(op: str) -> Rule:
    """Sum, Max, Min of any number of operands, as binary operators one after another."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        y = node.outputs[0]
        if len(node.inputs) == 1:
            rewriter.emit("Identity", node.inputs, y, name=node.name)
            return True
        if len(node.inputs) == 2 and node.op == op:
            return False
        _chained(rewriter, node, op, y)
        return True

    return rule


def _chained(rewriter: Rewriter, node: Node, op: str, y: str) -> None:
    operands = sorted(node.inputs, key=lambda value: value in rewriter.constants)
    result = operands[0]
    for index, operand in enumerate(operands[1:], start=2):
        if index == len(operands):
            target = y
        else:
            shape = np.broadcast_shapes(rewriter.shape(result), rewriter.shape(operand))
            target = rewriter.value(f"{y}_partial", TensorType(rewriter.types[y].dtype, shape))
        result = rewriter.emit(op, (result, operand), target, name=node.name)


def mean(rewriter: Rewriter, node: Node) -> bool:
    y = node.outputs[0]
    type_ = rewriter.types[y]
    if len(node.inputs) == 1:
        rewriter.emit("Identity", node.inputs, y, name=node.name)
        return True
    total = rewriter.value(f"{y}_total", type_)
    _chained(rewriter, node, "Add", total)
    factor = rewriter.constant(f"{node.name}_factor", np.array(1 / len(node.inputs)).astype(type_.dtype))
    rewriter.emit("Mul", (total, factor), y, name=f"{node.name}_mean")
    return True


def clip(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    bounds = (given(node, 1), given(node, 2))
    if all(not bound or bound in rewriter.constants for bound in bounds):
        low = _bound(rewriter.constants.get(bounds[0]), -math.inf)
        high = _bound(rewriter.constants.get(bounds[1]), math.inf)
        emit_clip(rewriter, x, y, low, high, name=node.name)
        return True
    steps = [(op, bound) for op, bound in zip(("Max", "Min"), bounds, strict=True) if bound]
    for index, (op, bound) in enumerate(steps, start=1):
        made = y if index == len(steps) else rewriter.value(f"{y}_bounded", rewriter.types[y])
        x = rewriter.emit(op, (x, bound), made, name=node.name)
    return True


def emit_clip(rewriter: Rewriter, x: str, y: str, low: float, high: float, *, name: str) -> None:
    """Limit `x` to the bounds with the simplest operator that does it."""
    if (low, high) == (-math.inf, math.inf):
        rewriter.emit("Identity", (x,), y, name=name)
    elif (low, high) == (0.0, math.inf) and is_float(rewriter.types[x]):
        rewriter.emit("Relu", (x,), y, name=name)
    else:
        rewriter.emit("Clip", (x,), y, name=name, min=low, max=high)


def _bound(array: Array | None, default: float) -> float:
    return default if array is None else float(array.reshape(-1)[0])


def power(rewriter: Rewriter, node: Node) -> bool:
    x, exponent = node.inputs
    y = node.outputs[0]
    array = rewriter.constants.get(exponent)
    if array is None or array.size != 1 or rewriter.types[x] != rewriter.types[y]:
        return False
    if not is_float(rewriter.types[x]):
        return False
    match float(array.reshape(-1)[0]):
        case 1.0:
            rewriter.emit("Identity", (x,), y, name=node.name)
        case 2.0:
            rewriter.emit("Mul", (x, x), y, name=node.name)
        case 3.0:
            square = rewriter.value(f"{y}_square", rewriter.types[x])
            rewriter.emit("Mul", (x, x), square, name=f"{node.name}_square")
            rewriter.emit("Mul", (square, x), y, name=node.name)
        case 0.5:
            rewriter.emit("Sqrt", (x,), y, name=node.name)
        case -1.0:
            rewriter.emit("Reciprocal", (x,), y, name=node.name)
        case _:
            return False
    return True


def leaky_by_slope(rewriter: Rewriter, node: Node) -> bool:
    """PRelu with one slope for everything is LeakyRelu."""
    slope = rewriter.constants.get(node.inputs[1])
    if slope is None or slope.size != 1:
        return False
    alpha = float(slope.reshape(-1)[0])
    rewriter.emit("LeakyRelu", node.inputs[:1], node.outputs[0], name=node.name, alpha=alpha)
    return True


def dropout(rewriter: Rewriter, node: Node) -> bool:
    if any(node.outputs[1:]):
        raise UnsupportedError(node.name, node.op, "its mask has no kernel; export the model for inference")
    training = given(node, 2)
    flag = rewriter.constants.get(training)
    if training and (flag is None or flag.any()):
        raise UnsupportedError(node.name, node.op, "it is in training mode; export the model for inference")
    rewriter.emit("Identity", node.inputs[:1], node.outputs[0], name=node.name)
    return True


def cast(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    if rewriter.types[x].dtype == rewriter.types[y].dtype:
        rewriter.emit("Identity", (x,), y, name=node.name)
    else:
        rewriter.emit("Cast", (x,), y, name=node.name, to=elem_type(rewriter.types[y].dtype))
    return True


RULES: dict[str, Rule] = {
    "Cast": cast,
    "Clip": clip,
    "Div": divide,
    "Dropout": dropout,
    "Max": chain("Max"),
    "Mean": mean,
    "Min": chain("Min"),
    "PRelu": leaky_by_slope,
    "Pow": power,
    "Sub": subtract,
    "Sum": chain("Add"),
}
