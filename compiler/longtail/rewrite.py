"""One node → a few nodes that TVM's importer knows: on the ONNX side, before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx.helper import np_dtype_to_tensor_dtype
from onnx.inliner import inline_selected_functions

from ..graph import Graph, Node, TensorType

_MANY = 16  # inputs that one kernel takes with room to spare


def rewritten(graph: Graph) -> Graph:
    """The graph of one node, in other words if it needs any."""
    (node,) = graph.nodes
    rewrite = _REWRITES.get(node.op)
    return rewrite(graph, node) if rewrite else graph


def with_function_body(model: Any) -> Any:
    """The model with the ONNX standard's own definition of its operators put in, where there is one."""
    operators = [("", node.op_type) for node in model.graph.node]
    return inline_selected_functions(model, operators, inline_schema_functions=True)


def _with_nodes(graph: Graph, nodes: Iterable[Node], types: dict[str, TensorType]) -> Graph:
    return graph.with_(nodes=tuple(nodes), types=MappingProxyType({**graph.types, **types}))


def _concat(graph: Graph, node: Node) -> Graph:
    """Many inputs in parts: a call has only so many arguments."""
    if len(node.inputs) <= _MANY:
        return graph
    axis = node.attributes["axis"]
    assert isinstance(axis, int)
    whole = graph.types[node.outputs[0]]
    nodes, types, parts = [], {}, []
    for first in range(0, len(node.inputs), _MANY):
        inputs = node.inputs[first : first + _MANY]
        shape = list(whole.shape)
        shape[axis] = sum(graph.types[value].shape[axis] for value in inputs)
        part = f"{node.outputs[0]}.part{first}"
        nodes.append(node.with_(name=part, inputs=inputs, outputs=(part,)))
        types[part] = TensorType(whole.dtype, tuple(shape))
        parts.append(part)
    return _with_nodes(graph, [*nodes, node.with_(inputs=tuple(parts))], types)


def _pow(graph: Graph, node: Node) -> Graph:
    """Powers of integers through float64, where they are exact as far as they fit."""
    if graph.types[node.inputs[0]].dtype.startswith("float"):
        return graph
    out = graph.types[node.outputs[0]]
    wide = {value: f"{value}.float64" for value in node.inputs}
    power, whole = f"{node.outputs[0]}.float64", f"{node.outputs[0]}.whole"
    nodes = [_cast(value, name, "float64") for value, name in wide.items()]
    nodes.append(node.with_(inputs=tuple(wide[value] for value in node.inputs), outputs=(power,)))
    if graph.types[node.inputs[1]].dtype.startswith("float"):
        whole = power
    else:
        nodes.append(Node(whole, "Round", (power,), (whole,)))
    nodes.append(_cast(whole, node.outputs[0], out.dtype))
    types = {name: TensorType("float64", graph.types[value].shape) for value, name in wide.items()}
    return _with_nodes(graph, nodes, types | dict.fromkeys((power, whole), TensorType("float64", out.shape)))


def _cast(value: str, out: str, dtype: str) -> Node:
    return Node(
        f"{out}.cast", "Cast", (value,), (out,), {"to": int(np_dtype_to_tensor_dtype(np.dtype(dtype)))}
    )


def _lp_normalization(graph: Graph, node: Node) -> Graph:
    """x divided by its norm along one axis; a zero row stays zero."""
    axis, power = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    assert isinstance(axis, int)
    out = graph.types[node.outputs[0]]
    shape = list(out.shape)
    shape[axis] = 1
    norm, safe = f"{node.outputs[0]}.norm", f"{node.outputs[0]}.safe"
    axes, tiny = f"{node.outputs[0]}.axes", f"{node.outputs[0]}.tiny"
    smallest = np.array(np.finfo(out.dtype).tiny, out.dtype)
    constants = {axes: np.array([axis], np.int64), tiny: smallest}
    nodes = [
        Node(norm, f"ReduceL{power}", (node.inputs[0], axes), (norm,)),
        Node(safe, "Max", (norm, tiny), (safe,)),
        node.with_(op="Div", inputs=(node.inputs[0], safe), attributes={}),
    ]
    types = {name: TensorType(str(array.dtype), array.shape) for name, array in constants.items()}
    types |= dict.fromkeys((norm, safe), TensorType(out.dtype, tuple(shape)))
    return _with_nodes(graph, nodes, types).with_(
        constants=MappingProxyType({**graph.constants, **constants})
    )


_REWRITES: dict[str, Callable[[Graph, Node], Graph]] = {
    "Concat": _concat,
    "LpNormalization": _lp_normalization,
    "Pow": _pow,
}
