"""One node → a few nodes that TVM's importer knows: on the ONNX side, before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx.helper import np_dtype_to_tensor_dtype
from onnx.inliner import inline_selected_functions

from ..graph import Array, Graph, Node, TensorType

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
    """Without empty inputs, and many in parts: a call has only so many arguments."""
    node = node.with_(inputs=tuple(value for value in node.inputs if graph.types[value].size))
    if len(node.inputs) <= _MANY:
        return _with_nodes(graph, [node], {})
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
    """Both operands of one type; powers of integers through float64, where they are exact while they fit."""
    base, exponent = (graph.types[value].dtype for value in node.inputs)
    if base == exponent and base.startswith("float"):
        return graph
    if base.startswith("float"):
        same = f"{node.outputs[0]}.exponent"
        nodes = [_cast(node.inputs[1], same, base), node.with_(inputs=(node.inputs[0], same))]
        return _with_nodes(graph, nodes, {same: TensorType(base, graph.types[node.inputs[1]].shape)})
    out = graph.types[node.outputs[0]]
    wide = {value: f"{value}.float64" for value in node.inputs}
    power, whole, slack = (f"{node.outputs[0]}.{part}" for part in ("float64", "whole", "slack"))
    nodes = [_cast(value, name, "float64") for value, name in wide.items()]
    nodes.append(node.with_(inputs=tuple(wide[value] for value in node.inputs), outputs=(power,)))
    if exponent.startswith("float"):
        # The result is cut off: what is whole must not come out a little smaller.
        nodes.append(Node(whole, "Mul", (power, slack), (whole,)))
    else:
        nodes.append(Node(whole, "Round", (power,), (whole,)))
    nodes.append(_cast(whole, node.outputs[0], out.dtype))
    types = {name: TensorType("float64", graph.types[value].shape) for value, name in wide.items()}
    types |= dict.fromkeys((power, whole), TensorType("float64", out.shape))
    types[slack] = TensorType("float64", ())
    constants = {**graph.constants, slack: np.array(1 + 1e-12)}
    return _with_nodes(graph, nodes, types).with_(constants=MappingProxyType(constants))


def _cast(value: str, out: str, dtype: str) -> Node:
    return Node(
        f"{out}.cast", "Cast", (value,), (out,), {"to": int(np_dtype_to_tensor_dtype(np.dtype(dtype)))}
    )


def _wide_cast(graph: Graph, node: Node) -> Graph:
    """No instruction turns float64 into float16 at once."""
    source, out = graph.types[node.inputs[0]], graph.types[node.outputs[0]]
    if {source.dtype, out.dtype} != {"float64", "float16"}:
        return graph
    middle = f"{node.outputs[0]}.float32"
    nodes = [_cast(node.inputs[0], middle, "float32"), node.with_(inputs=(middle,))]
    return _with_nodes(graph, nodes, {middle: TensorType("float32", source.shape)})


def _truth_reduction(graph: Graph, node: Node) -> Graph:
    """The largest of truths: of zeros and ones."""
    source, out = graph.types[node.inputs[0]], graph.types[node.outputs[0]]
    if source.dtype != "bool":
        return graph
    ones, found = f"{node.outputs[0]}.ones", f"{node.outputs[0]}.found"
    nodes = [
        _cast(node.inputs[0], ones, "int8"),
        node.with_(inputs=(ones, *node.inputs[1:]), outputs=(found,)),
        _cast(found, node.outputs[0], "bool"),
    ]
    types = {ones: TensorType("int8", source.shape), found: TensorType("int8", out.shape)}
    return _with_nodes(graph, nodes, types)


def _quantized_product(graph: Graph, node: Node) -> Graph:
    """Sums of integers, scaled once."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    out = graph.types[node.outputs[0]]
    names = ("sums", "real", "scale", "scaled")
    sums, real, scale, scaled = (f"{node.outputs[0]}.{name}" for name in names)
    kind = graph.types[a_scale].dtype
    shape = np.broadcast_shapes(graph.types[a_scale].shape, graph.types[b_scale].shape)
    nodes = [
        Node(sums, "MatMulInteger", (a, b, a_zero, b_zero), (sums,)),
        _cast(sums, real, kind),
        Node(scale, "Mul", (a_scale, b_scale), (scale,)),
        Node(scaled, "Mul", (real, scale), (scaled,)),
        Node(node.name, "QuantizeLinear", (scaled, y_scale, y_zero), node.outputs),
    ]
    types = {sums: TensorType("int32", out.shape), scale: TensorType(kind, shape)}
    types |= dict.fromkeys((real, scaled), TensorType(kind, out.shape))
    return _with_nodes(graph, nodes, types)


class _Parts:
    """Nodes that stand for one, with what they make and need."""

    def __init__(self, graph: Graph, out: str) -> None:
        self._graph, self._out = graph, out
        self.nodes: list[Node] = []
        self._types: dict[str, TensorType] = {}
        self._constants: dict[str, Array] = {}

    def type(self, value: str) -> TensorType:
        return self._types.get(value) or self._graph.types[value]

    def add(
        self, op: str, inputs: tuple[str, ...], dtype: str, shape: tuple[int, ...], **attributes: Any
    ) -> str:
        name = f"{self._out}.part{len(self.nodes)}"
        self._types[name] = TensorType(dtype, shape)
        self.nodes.append(Node(name, op, inputs, (name,), attributes))
        return name

    def cast(self, value: str, dtype: str) -> str:
        to = int(np_dtype_to_tensor_dtype(np.dtype(dtype)))
        return self.add("Cast", (value,), dtype, self.type(value).shape, to=to)

    def by_channel(self, value: str, rank: int) -> str:
        """A number, or one for each channel, so that it broadcasts over `rank` spatial dimensions."""
        type_ = self.type(value)
        if type_.size == 1:
            return value
        shape = (type_.size, *(1,) * rank)
        target = f"{self._out}.shape{len(self.nodes)}"
        self._constants[target] = np.array(shape)
        self._types[target] = TensorType("int64", (len(shape),))
        return self.add("Reshape", (value, target), type_.dtype, shape)

    def graph(self, *last: Node) -> Graph:
        made = _with_nodes(self._graph, [*self.nodes, *last], self._types)
        return made.with_(constants=MappingProxyType({**self._graph.constants, **self._constants}))


def _integer_sums(parts: _Parts, node: Node, operands: Iterable[tuple[str, str]], out: TensorType) -> str:
    """Convolution of both operands without their zero points, in int32 as ONNX asks."""
    shifted = []
    for (value, zero), rank in zip(operands, (0, len(out.shape) - 1), strict=True):
        wide = parts.cast(value, "int32")
        if zero:
            origin = parts.cast(parts.by_channel(zero, rank), "int32")
            wide = parts.add("Sub", (wide, origin), "int32", parts.type(value).shape)
        shifted.append(wide)
    return parts.add("Conv", tuple(shifted), "int32", out.shape, **node.attributes)


def _convolution_of_integers(graph: Graph, node: Node) -> Graph:
    x, w, x_zero, w_zero = (*node.inputs, "", "")[:4]
    parts = _Parts(graph, node.outputs[0])
    sums = _integer_sums(parts, node, ((x, x_zero), (w, w_zero)), graph.types[node.outputs[0]])
    return parts.graph(Node(node.name, "Identity", (sums,), node.outputs))


def _quantized_convolution(graph: Graph, node: Node) -> Graph:
    """Sums of integers, scaled once by channel."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = (*node.inputs, "")[:9]
    out = graph.types[node.outputs[0]]
    parts, rank = _Parts(graph, node.outputs[0]), len(out.shape) - 2
    sums = _integer_sums(parts, node, ((x, x_zero), (w, w_zero)), out)
    if bias:
        sums = parts.add("Add", (sums, parts.by_channel(bias, rank)), "int32", out.shape)
    scale = parts.by_channel(w_scale, rank)
    factor = parts.add("Mul", (x_scale, scale), "float32", parts.type(scale).shape)
    scaled = parts.add("Mul", (parts.cast(sums, "float32"), factor), "float32", out.shape)
    return parts.graph(Node(node.name, "QuantizeLinear", (scaled, y_scale, y_zero), node.outputs))


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


def _is_infinite(graph: Graph, node: Node) -> Graph:
    """TVM's importer overlooks that only one sign may be asked for."""
    signs = [
        sign for sign, key in ((1, "detect_positive"), (-1, "detect_negative")) if node.attributes.get(key, 1)
    ]
    if len(signs) != 1:
        return graph
    infinity = f"{node.outputs[0]}.infinity"
    value = np.array(signs[0] * np.inf, graph.types[node.inputs[0]].dtype)
    equal = node.with_(op="Equal", inputs=(node.inputs[0], infinity), attributes={})
    types = {infinity: TensorType(str(value.dtype), ())}
    constants = MappingProxyType({**graph.constants, infinity: value})
    return _with_nodes(graph, [equal], types).with_(constants=constants)


_REWRITES: dict[str, Callable[[Graph, Node], Graph]] = {
    "Cast": _wide_cast,
    "Concat": _concat,
    "ConvInteger": _convolution_of_integers,
    "IsInf": _is_infinite,
    "LpNormalization": _lp_normalization,
    "Pow": _pow,
    "QLinearConv": _quantized_convolution,
    "QLinearMatMul": _quantized_product,
    "ReduceMax": _truth_reduction,
    "ReduceMin": _truth_reduction,
}
