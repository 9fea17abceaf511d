"""Graph → ONNX, in canonical form or not: for the reference interpreter, and to lower single operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from .canonical import REDUCTIONS
from .errors import UnsupportedError
from .graph import Array, AttributeValue, Graph, Node, TensorType
from .onnx_types import from_array, type_proto

_IR_VERSION = 10  # the one that belongs to operator set 22


def to_onnx(graph: Graph) -> ModelProto:
    """The graph as a plain ONNX model, of the graph's own operator set version.

    Raises:
        UnsupportedError: a node is of another operator domain.
    """
    writer = _Writer(graph)
    for node in graph.nodes:
        _EXPORTS.get(node.op, _plain)(writer, node)
    proto = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [helper.make_value_info(name, type_proto(graph.types[name])) for name in graph.inputs],
        [helper.make_value_info(name, type_proto(graph.types[name])) for name in graph.outputs],
        [from_array(array, name) for name, array in writer.constants.items()],
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=_IR_VERSION
    )


def node_graph(graph: Graph, node: Node) -> Graph:
    """A graph of this one node: its constants stay constants, its other inputs become the graph's inputs."""
    used = [name for name in dict.fromkeys(node.inputs) if name]
    outputs = tuple(name for name in node.outputs if name)
    return Graph(
        name=node.name,
        nodes=(node,),
        inputs=tuple(name for name in used if name not in graph.constants),
        outputs=outputs,
        types={name: graph.types[name] for name in (*used, *outputs)},
        constants={name: graph.constants[name] for name in used if name in graph.constants},
        opset=graph.opset,
    )


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = dict(graph.constants)
        self._taken = set(graph.types)

    def type(self, value: str) -> TensorType:
        return self.graph.types[value]

    def fresh(self, hint: str) -> str:
        name, index = hint, 0
        while name in self._taken:
            index += 1
            name = f"{hint}_{index}"
        self._taken.add(name)
        return name

    def constant(self, hint: str, array: Array) -> str:
        name = self.fresh(hint)
        self.constants[name] = array
        return name

    def emit(
        self,
        op: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        name: str,
        **attributes: AttributeValue,
    ) -> None:
        node = NodeProto(op_type=op, name=name, input=inputs, output=outputs)
        node.attribute.extend(_attributes(op, attributes, self.graph.opset))
        self.nodes.append(node)


def _attributes(op: str, attributes: Mapping[str, AttributeValue], opset: int) -> list[onnx.AttributeProto]:
    schema = onnx.defs.get_schema(op, opset, "")
    found = []
    for key, value in sorted(attributes.items()):
        if key not in schema.attributes:
            raise ValueError(f"operator {op} of version {opset} has no attribute {key!r}")
        if isinstance(value, np.ndarray):
            found.append(helper.make_attribute(key, numpy_helper.from_array(value)))
        else:
            kind = int(schema.attributes[key].type.value)
            found.append(helper.make_attribute(key, value, attr_type=kind))
    return found


def _plain(writer: _Writer, node: Node) -> None:
    if "::" in node.op:
        raise UnsupportedError(node.name, node.op, "it is of another operator domain than ONNX's own")
    writer.emit(node.op, node.inputs, node.outputs, node.name, **node.attributes)


def _ints(values: AttributeValue) -> Array:
    return np.array(values, np.int64).reshape(-1)


def _as_inputs(*order: str) -> Callable[[_Writer, Node], None]:
    """Attributes of the canonical form that ONNX takes as inputs of integers."""

    def export(writer: _Writer, node: Node) -> None:
        schema = onnx.defs.get_schema(node.op, writer.graph.opset, "")
        if not set(order) <= node.attributes.keys() or set(order) <= schema.attributes.keys():
            _plain(writer, node)
            return
        extra = [writer.constant(f"{node.name}_{key}", _ints(node.attributes[key])) for key in order]
        rest = {key: value for key, value in node.attributes.items() if key not in order}
        writer.emit(node.op, (node.inputs[0], *extra), node.outputs, node.name, **rest)

    return export


def _slice(writer: _Writer, node: Node) -> None:
    if "starts" not in node.attributes:
        _plain(writer, node)
        return
    steps = _ints(node.attributes["steps"])
    ends = _ints(node.attributes["ends"])
    # Walking backwards, -1 means "before the first"; ONNX counts negative ends from the end.
    ends = np.where((steps < 0) & (ends < 0), np.iinfo(np.int64).min // 2, ends)
    values = (_ints(node.attributes["starts"]), ends, _ints(node.attributes["axes"]), steps)
    extra = [
        writer.constant(f"{node.name}_{key}", array)
        for key, array in zip(("starts", "ends", "axes", "steps"), values, strict=True)
    ]
    writer.emit("Slice", (node.inputs[0], *extra), node.outputs, node.name)


def _pad(writer: _Writer, node: Node) -> None:
    if "pads" not in node.attributes:
        _plain(writer, node)
        return
    dtype = writer.type(node.inputs[0]).dtype
    extra = [writer.constant(f"{node.name}_pads", _ints(node.attributes["pads"]))]
    if node.attributes["mode"] == "constant":
        extra.append(writer.constant(f"{node.name}_value", np.array(node.attributes["value"]).astype(dtype)))
    writer.emit("Pad", (node.inputs[0], *extra), node.outputs, node.name, mode=node.attributes["mode"])


def _clip(writer: _Writer, node: Node) -> None:
    if "min" not in node.attributes:
        _plain(writer, node)
        return
    dtype = np.dtype(writer.type(node.inputs[0]).dtype)
    extra = []
    for key in ("min", "max"):
        bound: Any = node.attributes[key]
        if np.isinf(bound):
            extra.append("")
        else:
            extra.append(writer.constant(f"{node.name}_{key}", np.array(bound).astype(dtype)))
    while extra and not extra[-1]:
        extra.pop()
    writer.emit("Clip", (node.inputs[0], *extra), node.outputs, node.name)


def _resize(writer: _Writer, node: Node) -> None:
    if "scales" not in node.attributes:
        _plain(writer, node)
        return
    scales = np.array(node.attributes["scales"], np.float32)
    rest = {key: value for key, value in node.attributes.items() if key not in ("roi", "scales")}
    region = np.array(node.attributes["roi"], np.float32)
    roi = writer.constant(f"{node.name}_roi", region) if region.size else ""
    before, after = np.array(writer.type(node.inputs[0]).shape), writer.type(node.outputs[0]).shape
    # Whether runtimes compute the size in single or in double precision must not matter.
    sizes = {tuple(np.floor(before.astype(kind) * scales.astype(kind)).astype(int)) for kind in "fd"}
    if sizes == {after}:
        extra = [roi, writer.constant(f"{node.name}_scales", scales)]
    else:
        extra = [roi, "", writer.constant(f"{node.name}_sizes", _ints(after))]
    writer.emit("Resize", (node.inputs[0], *extra), node.outputs, node.name, **rest)


def _dense(writer: _Writer, node: Node) -> None:
    x, w, bias = node.inputs
    if not bias:
        writer.emit("MatMul", (x, w), node.outputs, node.name)
    elif len(writer.type(x).shape) == 2:
        writer.emit("Gemm", (x, w, bias), node.outputs, node.name)
    else:
        product = writer.fresh(f"{node.outputs[0]}_product")
        writer.emit("MatMul", (x, w), (product,), f"{node.name}_product")
        writer.emit("Add", (product, bias), node.outputs, node.name)


def _silu(writer: _Writer, node: Node) -> None:
    gate = writer.fresh(f"{node.outputs[0]}_gate")
    writer.emit("Sigmoid", node.inputs, (gate,), f"{node.name}_gate")
    writer.emit("Mul", (node.inputs[0], gate), node.outputs, node.name)


def _bounded(axis: int) -> Callable[[_Writer, Node], None]:
    """Padding behind what is found along `axis`, up to the bound, and the number found."""

    def export(writer: _Writer, node: Node) -> None:
        if len(node.outputs) == 1:
            _plain(writer, node)
            return
        out, count = node.outputs
        type_ = writer.type(out)
        found, padded, shape = (writer.fresh(f"{out}_{what}") for what in ("found", "padded", "shape"))
        padding = writer.constant(f"{out}_padding", np.zeros(type_.shape, type_.dtype))
        starts, ends = writer.constant(f"{out}_starts", _ints(0)), _ints(type_.shape[axis])
        along, which = (
            writer.constant(f"{out}_axis", _ints(axis)),
            writer.constant(f"{out}_which", np.array(axis)),
        )
        writer.emit(node.op, node.inputs, (found,), node.name, **node.attributes)
        writer.emit("Concat", (found, padding), (padded,), f"{node.name}_padded", axis=axis)
        bounds = (starts, writer.constant(f"{out}_ends", ends), along)
        writer.emit("Slice", (padded, *bounds), (out,), f"{node.name}_cut")
        writer.emit("Shape", (found,), (shape,), f"{node.name}_shape")
        if count:
            writer.emit("Gather", (shape, which), (count,), f"{node.name}_count", axis=0)

    return export


_EXPORTS: Mapping[str, Callable[[_Writer, Node], None]] = {
    "Clip": _clip,
    "Dense": _dense,
    "Expand": _as_inputs("shape"),
    "NonMaxSuppression": _bounded(0),
    "NonZero": _bounded(1),
    "Pad": _pad,
    "Reshape": _as_inputs("shape"),
    "Resize": _resize,
    "Silu": _silu,
    "Slice": _slice,
    "Split": _as_inputs("split"),
    "Tile": _as_inputs("repeats"),
    **dict.fromkeys(REDUCTIONS, _as_inputs("axes")),
}
