"""The canonical form as data: for each operator its attributes, and the shape that follows from them.

`passes.canonicalize` makes this form, `verifier` checks it, templates match on it; see `docs/compiler.md`.
Operators that are not listed have ONNX's own form of version 22, every attribute written out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .graph import Node, TensorType
from .onnx_types import numpy_name

Shape = tuple[int, ...]


class ShapeError(ValueError):
    """Inputs and attributes of a node do not fit each other."""


@dataclass(frozen=True)
class Form:
    """Canonical form of one operator.

    Attributes:
        inputs: how many there are, omitted optional ones (empty strings) counted.
        infer: types of the outputs, from the node and the types of its inputs (None: an omitted one).
            None if they do not follow from these alone.
        attributes: names, each with the type of its value.
    """

    inputs: int
    infer: Callable[[Node, Sequence[Any]], list[TensorType]] | None
    attributes: Mapping[str, type] = field(default_factory=dict)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ShapeError(what)


def _same(node: Node, types: Sequence[Any]) -> list[TensorType]:
    return [types[0]]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape, by numpy's rule. Raises ShapeError if there is none."""
    rank = max(map(len, shapes))
    result = []
    for dims in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        sizes = {dim for dim in dims if dim != 1} or {1}
        _require(len(sizes) == 1, f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(sizes.pop())
    return tuple(result)


def _binary(node: Node, types: Sequence[Any]) -> list[TensorType]:
    return [TensorType(types[0].dtype, broadcast(types[0].shape, types[1].shape))]


def _compared(node: Node, types: Sequence[Any]) -> list[TensorType]:
    return [TensorType("bool", broadcast(types[0].shape, types[1].shape))]


def _where(node: Node, types: Sequence[Any]) -> list[TensorType]:
    return [TensorType(types[1].dtype, broadcast(*(type_.shape for type_ in types)))]


def _cast(node: Node, types: Sequence[Any]) -> list[TensorType]:
    to: Any = node.attributes["to"]
    return [TensorType(numpy_name(to, f"node {node.name!r}"), types[0].shape)]


def _window_counts(node: Node, sizes: Shape) -> Shape:
    """Places of a sliding window along each spatial dimension."""
    a: Mapping[str, Any] = node.attributes
    rank = len(sizes)
    for name, count in (("kernel_shape", rank), ("strides", rank), ("dilations", rank), ("pads", 2 * rank)):
        _require(len(a[name]) == count, f"{name} needs {count} numbers, has {a[name]}")
    counts = []
    for axis, size in enumerate(sizes):
        extent = (a["kernel_shape"][axis] - 1) * a["dilations"][axis] + 1
        padded = size + a["pads"][axis] + a["pads"][axis + rank]
        _require(padded >= extent, f"a window of {extent} does not fit into {padded}")
        counts.append((padded - extent) // a["strides"][axis] + 1)
    return tuple(counts)


def _conv(node: Node, types: Sequence[Any]) -> list[TensorType]:
    x, w, bias = types
    group: Any = node.attributes["group"]
    _require(len(x.shape) == len(w.shape) > 2, f"input {x.shape} and weights {w.shape} differ in rank")
    _require(
        group > 0 and x.shape[1] == w.shape[1] * group and w.shape[0] % group == 0,
        f"channels of input {x.shape} and weights {w.shape} do not fit {group} groups",
    )
    _require(bias is None or bias.shape == w.shape[:1], "the bias needs one number for each output channel")
    _require(
        node.attributes["kernel_shape"] == w.shape[2:], f"kernel_shape is not that of the weights {w.shape}"
    )
    return [TensorType(x.dtype, (x.shape[0], w.shape[0], *_window_counts(node, x.shape[2:])))]


def _conv_transpose(node: Node, types: Sequence[Any]) -> list[TensorType]:
    x, w, bias = types
    a: Mapping[str, Any] = node.attributes
    group, rank = a["group"], len(x.shape) - 2
    _require(len(x.shape) == len(w.shape) > 2, f"input {x.shape} and weights {w.shape} differ in rank")
    _require(
        group > 0 and x.shape[1] == w.shape[0] and w.shape[0] % group == 0,
        f"channels of input {x.shape} and weights {w.shape} do not fit {group} groups",
    )
    channels = w.shape[1] * group
    _require(bias is None or bias.shape == (channels,), "the bias needs one number for each output channel")
    _require(a["kernel_shape"] == w.shape[2:], f"kernel_shape is not that of the weights {w.shape}")
    sizes = tuple(
        a["strides"][axis] * (size - 1)
        + a["output_padding"][axis]
        + (a["kernel_shape"][axis] - 1) * a["dilations"][axis]
        + 1
        - a["pads"][axis]
        - a["pads"][axis + rank]
        for axis, size in enumerate(x.shape[2:])
    )
    return [TensorType(x.dtype, (x.shape[0], channels, *sizes))]


def _pool(node: Node, types: Sequence[Any]) -> list[TensorType]:
    (x,) = types
    return [TensorType(x.dtype, (*x.shape[:2], *_window_counts(node, x.shape[2:])))]


def _global_pool(node: Node, types: Sequence[Any]) -> list[TensorType]:
    (x,) = types
    return [TensorType(x.dtype, (*x.shape[:2], *(1,) * (len(x.shape) - 2)))]


def _dense(node: Node, types: Sequence[Any]) -> list[TensorType]:
    x, w, bias = types
    _require(len(w.shape) == 2 and x.shape[-1:] == w.shape[:1], f"{x.shape} and weights {w.shape} do not fit")
    _require(bias is None or bias.shape == w.shape[1:], "the bias needs one number for each column")
    return [TensorType(x.dtype, (*x.shape[:-1], w.shape[1]))]


def _matmul(node: Node, types: Sequence[Any]) -> list[TensorType]:
    first, second = types[0].shape, types[1].shape
    _require(bool(first and second), "scalars have no matrix product")
    rows, columns = first if len(first) > 1 else (1, *first), second if len(second) > 1 else (*second, 1)
    _require(rows[-1] == columns[-2], f"{first} and {second} do not fit")
    shape = broadcast(rows[:-2], columns[:-2]) if rows[:-2] or columns[:-2] else ()
    shape += (rows[-2],) * (len(first) > 1) + (columns[-1],) * (len(second) > 1)
    return [TensorType(types[0].dtype, shape)]


def _reshape(node: Node, types: Sequence[Any]) -> list[TensorType]:
    shape: Any = node.attributes["shape"]
    _require(
        math.prod(shape) == types[0].size and min(shape, default=0) >= 0,
        f"{types[0].shape} cannot become {shape}",
    )
    return [TensorType(types[0].dtype, shape)]


def _expand(node: Node, types: Sequence[Any]) -> list[TensorType]:
    shape: Any = node.attributes["shape"]
    _require(broadcast(types[0].shape, shape) == shape, f"{types[0].shape} does not expand to {shape}")
    return [TensorType(types[0].dtype, shape)]


def _tile(node: Node, types: Sequence[Any]) -> list[TensorType]:
    repeats: Any = node.attributes["repeats"]
    return [TensorType(types[0].dtype, tuple(d * r for d, r in zip(types[0].shape, repeats, strict=True)))]


def _transpose(node: Node, types: Sequence[Any]) -> list[TensorType]:
    perm: Any = node.attributes["perm"]
    _require(sorted(perm) == list(range(len(types[0].shape))), f"{perm} is no permutation of the dimensions")
    return [TensorType(types[0].dtype, tuple(types[0].shape[axis] for axis in perm))]


def _along(node: Node, types: Sequence[Any]) -> int:
    axis: Any = node.attributes["axis"]
    _require(0 <= axis < len(types[0].shape), f"axis {axis} is not one of {types[0].shape}")
    return int(axis)


def _concat(node: Node, types: Sequence[Any]) -> list[TensorType]:
    axis = _along(node, types)
    rests = {type_.shape[:axis] + type_.shape[axis + 1 :] for type_ in types}
    _require(len(rests) == 1, f"shapes {[type_.shape for type_ in types]} differ outside axis {axis}")
    total = sum(type_.shape[axis] for type_ in types)
    shape = types[0].shape
    return [TensorType(types[0].dtype, (*shape[:axis], total, *shape[axis + 1 :]))]


def _split(node: Node, types: Sequence[Any]) -> list[TensorType]:
    axis = _along(node, types)
    sizes: Any = node.attributes["split"]
    shape = types[0].shape
    _require(sum(sizes) == shape[axis] and len(sizes) == len(node.outputs), f"{sizes} does not split {shape}")
    return [TensorType(types[0].dtype, (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _slice(node: Node, types: Sequence[Any]) -> list[TensorType]:
    a: Mapping[str, Any] = node.attributes
    shape = list(types[0].shape)
    for start, end, axis, step in zip(a["starts"], a["ends"], a["axes"], a["steps"], strict=True):
        _require(0 <= axis < len(shape) and step != 0 and start >= 0, f"slice {dict(a)} of {types[0].shape}")
        shape[axis] = len(range(start, end, step))
    return [TensorType(types[0].dtype, tuple(shape))]


def _pad(node: Node, types: Sequence[Any]) -> list[TensorType]:
    pads: Any = node.attributes["pads"]
    shape = types[0].shape
    _require(len(pads) == 2 * len(shape) and min(pads) >= 0, f"pads {pads} for {shape}")
    sizes = zip(pads[: len(shape)], shape, pads[len(shape) :], strict=True)
    return [TensorType(types[0].dtype, tuple(map(sum, sizes)))]


def _reduced(node: Node, types: Sequence[Any]) -> list[TensorType]:
    axes: Any = node.attributes["axes"]
    shape = types[0].shape
    _require(
        list(axes) == sorted(set(axes)) and set(axes) <= set(range(len(shape))), f"axes {axes} of {shape}"
    )
    kept = node.attributes["keepdims"]
    dims = [(1 if axis in axes else size) for axis, size in enumerate(shape) if kept or axis not in axes]
    return [TensorType(types[0].dtype, tuple(dims))]


def _arg(node: Node, types: Sequence[Any]) -> list[TensorType]:
    axis, shape = _along(node, types), types[0].shape
    middle = (1,) if node.attributes["keepdims"] else ()
    return [TensorType("int64", shape[:axis] + middle + shape[axis + 1 :])]


def _gather(node: Node, types: Sequence[Any]) -> list[TensorType]:
    axis, shape = _along(node, types), types[0].shape
    return [TensorType(types[0].dtype, shape[:axis] + types[1].shape + shape[axis + 1 :])]


def _axis_kept(node: Node, types: Sequence[Any]) -> list[TensorType]:
    _along(node, types)
    return [types[0]]


COMMUTATIVE = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Max", "Min", "Mul", "Or", "Xor"}
)
"""Binary operators whose operands may be exchanged: a constant one comes second."""

_WINDOW = {"kernel_shape": tuple, "strides": tuple, "dilations": tuple, "pads": tuple}
REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)
UNARY = (
    "Abs",
    "Ceil",
    "Cos",
    "Erf",
    "Exp",
    "Floor",
    "HardSwish",
    "Identity",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
)
BINARY = ("Add", "And", "Div", "Max", "Min", "Mul", "Or", "PRelu", "Pow", "Sub", "Xor")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")

FORMS: Mapping[str, Form] = {
    "ArgMax": Form(1, _arg, {"axis": int, "keepdims": int, "select_last_index": int}),
    "ArgMin": Form(1, _arg, {"axis": int, "keepdims": int, "select_last_index": int}),
    "AveragePool": Form(1, _pool, {**_WINDOW, "count_include_pad": int}),
    "Cast": Form(1, _cast, {"to": int}),
    "Celu": Form(1, _same, {"alpha": float}),
    "Clip": Form(1, _same, {"min": float, "max": float}),
    "Concat": Form(-1, _concat, {"axis": int}),
    "Conv": Form(3, _conv, {**_WINDOW, "group": int}),
    "ConvTranspose": Form(3, _conv_transpose, {**_WINDOW, "group": int, "output_padding": tuple}),
    "Dense": Form(3, _dense),
    "Elu": Form(1, _same, {"alpha": float}),
    "Expand": Form(1, _expand, {"shape": tuple}),
    "Gather": Form(2, _gather, {"axis": int}),
    "Gelu": Form(1, _same, {"approximate": str}),
    "GlobalAveragePool": Form(1, _global_pool),
    "GlobalMaxPool": Form(1, _global_pool),
    "HardSigmoid": Form(1, _same, {"alpha": float, "beta": float}),
    "Hardmax": Form(1, _axis_kept, {"axis": int}),
    "LayerNormalization": Form(3, _axis_kept, {"axis": int, "epsilon": float}),
    "LeakyRelu": Form(1, _same, {"alpha": float}),
    "LogSoftmax": Form(1, _axis_kept, {"axis": int}),
    "MatMul": Form(2, _matmul),
    "MaxPool": Form(1, _pool, _WINDOW),
    "Pad": Form(1, _pad, {"pads": tuple, "value": float, "mode": str}),
    "Reshape": Form(1, _reshape, {"shape": tuple}),
    "Resize": Form(
        1,
        None,  # a scale and a size round differently
        {
            "antialias": int,
            "coordinate_transformation_mode": str,
            "cubic_coeff_a": float,
            "exclude_outside": int,
            "extrapolation_value": float,
            "mode": str,
            "nearest_mode": str,
            "roi": tuple,
            "scales": tuple,
        },
    ),
    "Selu": Form(1, _same, {"alpha": float, "gamma": float}),
    "Slice": Form(1, _slice, {"starts": tuple, "ends": tuple, "axes": tuple, "steps": tuple}),
    "Softmax": Form(1, _axis_kept, {"axis": int}),
    "Split": Form(1, _split, {"axis": int, "split": tuple}),
    "ThresholdedRelu": Form(1, _same, {"alpha": float}),
    "Tile": Form(1, _tile, {"repeats": tuple}),
    "Transpose": Form(1, _transpose, {"perm": tuple}),
    "Where": Form(3, _where),
    **{op: Form(1, _same) for op in UNARY},
    **{op: Form(2, _binary) for op in BINARY},
    **{op: Form(2, _compared) for op in COMPARISONS},
    **{op: Form(1, _reduced, {"axes": tuple, "keepdims": int}) for op in REDUCTIONS},
}
