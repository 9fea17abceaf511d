"""ONNX nodes: their attributes in our types, and a node as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, helper
from onnx.inliner import inline_selected_functions

from .errors import UnsupportedError
from .graph import Array, AttributeValue, TensorType
from .onnx_types import from_array, to_array, type_proto

# The reference has no older versions of these; what the older ones could say means the same in the newer.
_REFERENCE_SINCE = {"DequantizeLinear": 19}


def model_of(
    node: NodeProto, inputs: Mapping[str, Array], outputs: Iterable[str], opset: int
) -> onnx.ModelProto:
    """A model of one node and its constants, for ONNX's reference."""
    graph = helper.make_graph(
        [node],
        "node",
        [],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [from_array(array, name) for name, array in inputs.items()],
    )
    opset = max(opset, _REFERENCE_SINCE.get(node.op_type, 0))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def definition(node: NodeProto, types: Mapping[str, TensorType], opset: int) -> GraphProto:
    """The graph by which the ONNX standard defines a node. Its outputs are those that are not omitted."""
    graph = helper.make_graph(
        [node],
        "definition",
        [helper.make_value_info(name, type_proto(type_)) for name, type_ in types.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return inline_selected_functions(model, [("", node.op_type)], inline_schema_functions=True).graph


def attributes_of(node: NodeProto, name: str, op: str) -> dict[str, AttributeValue]:
    """The attributes in the graph's types. Raises UnsupportedError, for the node of that name."""
    return {attribute.name: _attribute(attribute, name, op) for attribute in node.attribute}


def _attribute(attribute: AttributeProto, name: str, op: str) -> AttributeValue:
    value: Any = helper.get_attribute_value(attribute)
    match attribute.type:
        case AttributeProto.INT | AttributeProto.FLOAT:
            return value  # type: ignore[no-any-return]
        case AttributeProto.INTS | AttributeProto.FLOATS:
            return tuple(value)
        case AttributeProto.STRING:
            return bytes(value).decode(errors="replace")
        case AttributeProto.STRINGS:
            return tuple(bytes(item).decode(errors="replace") for item in value)
        case AttributeProto.TENSOR:
            return to_array(value)
    raise UnsupportedError(name, op, f"its attribute {attribute.name!r} is of a kind that cannot be compiled")
