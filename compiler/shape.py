"""Types of ONNX nodes, one node at a time, with every constant input known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.checker
import onnx.shape_inference
from onnx import NodeProto, helper

from .errors import ModelError
from .graph import Array, TensorType
from .onnx_types import from_array, static_type, type_proto

_ERRORS = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError)
# Operators defined by others, which ONNX's inference overlooks in some versions: the output's dtype (None for
# the input's), and how many inputs are broadcast.
_OVERLOOKED: Mapping[str, tuple[str | None, int]] = {
    "GreaterOrEqual": ("bool", 2),
    "GroupNormalization": (None, 1),
    "LessOrEqual": ("bool", 2),
    "MeanVarianceNormalization": (None, 1),
}
_MAX_SHAPE_DATA = 4096  # elements; larger constants are weights, on whose values no shape depends


def infer_types(
    node: NodeProto,
    types: Mapping[str, TensorType],
    constants: Mapping[str, Array],
    opset: int,
) -> dict[str, TensorType | None]:
    """Types of a node's outputs; None where the shape depends on the data or the operator is not ONNX's own.

    Args:
        node: a node without subgraphs.
        types: of all its inputs.
        constants: values of those inputs that are constant.
        opset: version of the default operator set.

    Raises:
        ModelError: the inputs do not fit the operator.
    """
    outputs = [name for name in node.output if name]
    if node.domain not in ("", "ai.onnx"):
        return dict.fromkeys(outputs)
    where = f"node {node.name!r} ({node.op_type})"
    inputs = {name for name in node.input if name}
    data = {
        name: from_array(constants[name], name)
        for name in inputs
        if name in constants and constants[name].size <= _MAX_SHAPE_DATA
    }
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, opset, ""),
            node,
            {name: type_proto(types[name]) for name in inputs},
            data,
            opset_imports=[helper.make_opsetid("", opset)],
        )
    except _ERRORS as error:
        described = ", ".join(f"{name!r} {list(types[name].shape)}" for name in node.input if name)
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{where}: its inputs {described} do not fit it: {reason}") from error
    inferred = {name: static_type(found[name], where) if name in found else None for name in outputs}
    if node.op_type in _OVERLOOKED:
        dtype, count = _OVERLOOKED[node.op_type]
        shape = np.broadcast_shapes(*(types[name].shape for name in node.input[:count]))
        return dict.fromkeys(outputs, TensorType(dtype or types[node.input[0]].dtype, shape))
    if node.op_type == "Resize":
        return {name: type_ and _scaled(node, types, constants, type_) for name, type_ in inferred.items()}
    if node.op_type in ("AveragePool", "LpPool", "MaxPool"):
        return {
            name: type_ and _without_late_window(node, types[node.input[0]], type_)
            for name, type_ in inferred.items()
        }
    return inferred


def _scaled(
    node: NodeProto, types: Mapping[str, TensorType], constants: Mapping[str, Array], y: TensorType
) -> TensorType:
    """The size by scales as ONNX Runtime computes it, in single precision: 0.7 times 10 is 7."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None
    cropped = given.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    if scales is None or not scales.size or cropped or not all(np.isfinite(scales)):
        return y
    x = types[node.input[0]].shape
    shape = list(y.shape)
    for axis, scale in zip(given.get("axes", range(len(x))), scales, strict=False):
        shape[axis] = int(np.float32(x[axis]) * np.float32(scale))
    return TensorType(y.dtype, tuple(shape))


def _without_late_window(node: NodeProto, x: TensorType, y: TensorType) -> TensorType:
    """With ceil_mode the last window must not start in the padding at the end.

    PyTorch, ONNX Runtime and newer versions of ONNX agree on that; older versions counted such a window.
    """
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if not given.get("ceil_mode", 0) or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return y
    rank = len(x.shape) - 2
    strides, pads = given.get("strides", (1,) * rank), given.get("pads", (0,) * 2 * rank)
    spatial = (
        count - 1 if (count - 1) * stride >= size + before else count
        for count, stride, size, before in zip(y.shape[2:], strides, x.shape[2:], pads, strict=False)
    )
    return TensorType(y.dtype, (*y.shape[:2], *spatial))
