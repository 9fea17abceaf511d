"""ONNX model → Graph: every type known, every constant a numpy array, every node with a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper

from . import bounds
from .control_flow import follow_if, follow_loop
from .errors import ModelError, UnsupportedError, raise_all
from .frontends.onnx import OnnxModel
from .graph import Array, AttributeValue, Bound, Graph, Node, TensorType
from .onnx_nodes import attributes_of, definition, model_of
from .onnx_types import elem_type, numpy_name, static_type, to_array
from .passes.fold_constants import Folder
from .shape import infer_types


def to_graph(model: OnnxModel) -> Graph:
    """Import a checked model, following it node by node.

    Constant nodes, shape arithmetic and branches on constants are gone afterwards. Nodes keep the model's
    names where they are unique, else they are called ``conv_3``: the third nameless Conv, counted from 0.

    Raises:
        ModelError: shapes contradict each other (the text names the node).
        UnsupportedError: a shape depends on the data, or control flow does; NotNativeError: several do.
    """
    importer = Importer(model)
    for value in model.proto.graph.input:
        type_ = static_type(value.type, f"input {value.name!r}")
        if type_ is None:
            raise ModelError(f"input {value.name!r} has no fixed shape")
        if type_.nbytes > _MAX_TENSOR_BYTES:
            raise ModelError(f"input {value.name!r} of shape {type_.shape} would have {type_.nbytes} bytes")
        importer.types[value.name] = type_
    importer.add_all(model.proto.graph)
    raise_all(importer.unsupported)
    return importer.graph()


_MAX_EYE_BYTES = 1 << 24
_MAX_TENSOR_BYTES = 1 << 31  # no runtime at the edge could hold more


class Importer:
    def __init__(self, model: OnnxModel) -> None:
        self._proto = model.proto.graph
        self._opset = model.opset
        self.types: dict[str, TensorType] = {}
        self._constants: dict[str, Array] = {}
        self._nodes: list[Node] = []
        self.unsupported: list[UnsupportedError] = []
        self._unknown: set[str] = set()  # values that an unsupported node would have made
        self._bounds: dict[str, Bound] = {}
        self._foreign = {value.name for value in self._proto.output}  # no other value may take these names
        self._scope: dict[str, str] = {}  # name in the model → name here, where they differ
        self._declared = {value.name: value.type for value in (*self._proto.value_info, *self._proto.output)}
        given = Counter(node.name for node in self._proto.node if node.name)
        self._own_names = {name for name, count in given.items() if count == 1}
        self._taken = set(self._own_names)
        self._counts: Counter[str] = Counter()
        # Integer kernels want integer weights, so a quantised model keeps the DequantizeLinear after them.
        quantized = any(
            node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in self._proto.node
        )
        given = sum(tensor.ByteSize() for tensor in self._proto.initializer)
        self._folder = Folder(given, keep=frozenset({"DequantizeLinear"}) if quantized else frozenset())

    def add_all(self, graph: GraphProto) -> None:
        """Import initializers and nodes, which are in topological order."""
        for tensor in graph.initializer:
            self._define(self._rename(tensor.name), to_array(tensor))
        for node in graph.node:
            if self._unknown and not self._unknown.isdisjoint(node.input):
                self._unknown.update(node.output)
                continue
            rule = _RULES.get(node.op_type if _is_default(node.domain) else "", Importer._plain)
            try:
                rule(self, node)
            except UnsupportedError as error:  # the others are looked at as well, to name them all
                self.unsupported.append(error)
                self._give_up(node)

    def _give_up(self, node: NodeProto) -> None:
        """Of a node that cannot be compiled the model may still say what it makes."""
        for value in filter(None, node.output):
            declared = self._declared.get(value)
            type_ = None if declared is None else static_type(declared, f"value {value!r}")
            if type_ is None or value in self.types:
                self._unknown.add(value)
            else:
                self.types[value] = type_

    def graph(self) -> Graph:
        """The finished graph. An output that is a constant is handed out by an Identity node."""
        inputs = tuple(value.name for value in self._proto.input)
        outputs = tuple(value.name for value in self._proto.output)
        for name in outputs:
            if name in inputs:
                raise ModelError(f"output {name!r} is an input of the model itself; remove that output")
            if name in self._constants:
                self._hand_out(name)
        bounded = {name: self._bounds[name] for name in outputs if name in self._bounds}
        counts = tuple(dict.fromkeys(bound.count for bound in bounded.values()))
        return Graph(
            name=self._proto.name,
            nodes=tuple(self._nodes),
            inputs=inputs,
            outputs=(*outputs, *counts),
            types=self.types,
            constants=self._constants,
            opset=self._opset,
            bounds=bounded,
        )

    # One rule for each kind of node

    def _constant(self, node: NodeProto) -> None:
        (attribute,) = node.attribute
        value: Any = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            array = to_array(value)
        elif attribute.name in ("value_int", "value_ints"):
            array = np.array(value, np.int64)
        elif attribute.name in ("value_float", "value_floats"):
            array = np.array(value, np.float32)
        else:
            raise ModelError(
                f"node {node.name!r} (Constant) holds {attribute.name}; only numbers can be compiled"
            )
        self._define(self._rename(node.output[0]), array)

    def _shape(self, node: NodeProto) -> None:
        shape = self._type(node.input[0], node).shape
        given = {attribute.name: attribute.i for attribute in node.attribute}
        wanted = range(len(shape))[given.get("start", 0) : given.get("end")]
        bound = self._bounds.get(self.resolve(node.input[0]))
        if bound is not None and bound.axis in wanted:
            self._counted_shape(node, [bound.count if axis == bound.axis else shape[axis] for axis in wanted])
        else:
            self._define(self._rename(node.output[0]), np.array([shape[axis] for axis in wanted], np.int64))

    def _counted_shape(self, node: NodeProto, dims: list[int | str]) -> None:
        """A shape of which one number is known only when the model runs."""
        parts = []
        for dim in dims:
            part = self._value("size", "int64", (1,))
            if isinstance(dim, str):
                one = self.given("one", np.array([1], np.int64))
                self._nodes.append(Node(self._fresh("reshape"), "Reshape", (dim, one), (part,)))
            else:
                self._constants[part] = np.array([dim], np.int64)
            parts.append(part)
        out = self._rename(node.output[0])
        self.types[out] = TensorType("int64", (len(dims),))
        self._nodes.append(Node(self.name(node), "Concat", tuple(parts), (out,), {"axis": 0}))

    def _size(self, node: NodeProto) -> None:
        if self.resolve(node.input[0]) in self._bounds:
            raise UnsupportedError(
                self.name(node), "Size", f"the size of {node.input[0]!r} depends on the data"
            )
        self._define(self._rename(node.output[0]), np.array(self._type(node.input[0], node).size, np.int64))

    def _cast_like(self, node: NodeProto) -> None:
        """A Cast, whose type is known here: so a constant stays a constant."""
        to = elem_type(self._type(node.input[1], node).dtype)
        self._plain(helper.make_node("Cast", node.input[:1], node.output, name=node.name, to=to))

    def _eye_like(self, node: NodeProto) -> None:
        """Nothing but the shape and the type of its input matters."""
        type_ = self._type(node.input[0], node)
        given = {attribute.name: attribute.i for attribute in node.attribute}
        dtype = numpy_name(given["dtype"], f"node {node.name!r}") if "dtype" in given else type_.dtype
        if len(type_.shape) != 2:
            raise ModelError(f"node {node.name!r} (EyeLike) takes a matrix, not {list(type_.shape)}")
        if type_.size * np.dtype(dtype).itemsize > _MAX_EYE_BYTES:
            raise UnsupportedError(self.name(node), "EyeLike", f"its matrix {type_.shape} is too large")
        eye = np.eye(*type_.shape, given.get("k", 0)).astype(dtype)
        self._define(self._rename(node.output[0]), eye)

    def _compress(self, node: NodeProto) -> None:
        """By a constant it is a Gather."""
        condition = self.constant(node.input[1])
        if condition is None:
            self._plain(node)
            return
        x = self._type(node.input[0], node)
        axis = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
        chosen = self.given(f"{node.output[0]}_chosen", np.flatnonzero(condition))
        source = self.resolve(node.input[0])
        if not axis:
            flat = self._value(f"{node.output[0]}_flat", x.dtype, (x.size,))
            one = self.given("flat", np.array([x.size], np.int64))
            self._nodes.append(Node(self._fresh("reshape"), "Reshape", (source, one), (flat,)))
            source = flat
        along = axis[0] % len(x.shape) if axis else 0
        shape = list(x.shape) if axis else [x.size]
        shape[along] = self.types[chosen].size
        if min(shape) == 0:
            raise UnsupportedError(self.name(node), "Compress", "nothing is left of its input")
        made = TensorType(x.dtype, tuple(shape))
        self.make("Gather", (source, chosen), node.output[0], made, axis=along)

    def _by_definition(self, node: NodeProto) -> None:
        """In the words of the ONNX standard, whose shape arithmetic is folded like the model's own."""
        inner = [f"{value}_inner" if value else "" for value in node.output]
        renamed = NodeProto()
        renamed.CopyFrom(node)
        del renamed.output[:]
        renamed.output.extend(inner)
        body = definition(
            renamed, {value: self._type(value, node) for value in node.input if value}, self._opset
        )
        results = dict(zip(filter(None, inner), self.inside(body), strict=True))
        for value, output in zip(inner, node.output, strict=True):
            if output:
                self.alias(results[value], output)

    def _layer_normalization(self, node: NodeProto) -> None:
        """Mean and deviation are for training, but some exporters hand them out."""
        rule = Importer._by_definition if any(node.output[1:]) else Importer._plain
        rule(self, node)

    def _finder(self, node: NodeProto) -> None:
        """A node that finds as much as the data has: the most there can be, and how much there is.

        Where nothing can be found, one row of padding stands for none: no array is empty.
        """
        if all(self.resolve(value) in self._constants for value in node.input if value):
            self._plain(node)
            return
        name, inputs = self.name(node), self._inputs(node)
        made = Node(name, node.op_type, inputs, (), attributes_of(node, name, node.op_type))
        self._follow(made)
        try:
            shape, axis = bounds.most_found(made, self.types, self._constants)
        except bounds.RefusedError as reason:
            raise UnsupportedError(name, node.op_type, str(reason)) from None
        out = self._rename(node.output[0])
        self.types[out] = TensorType("int64", shape)
        count = self._value(f"{out}.count", "int64", ())
        self._bounds[out] = Bound(axis, count)
        self._nodes.append(made.with_(outputs=(out, count)))

    def _plain(self, node: NodeProto) -> None:
        domain = "" if _is_default(node.domain) else node.domain
        op = f"{domain}::{node.op_type}" if domain else node.op_type
        name = self.name(node)
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedError(name, op, "control flow other than If and Loop cannot be compiled")
        inputs = self._inputs(node)
        outputs = tuple(self._rename(value) if value else "" for value in node.output)
        if outputs and not outputs[0]:  # whoever asks what a node makes, asks for its first output
            outputs = (self._rename(f"{name}_output"), *outputs[1:])
        local = NodeProto(
            op_type=node.op_type,
            domain=domain,
            name=name,
            input=inputs,
            output=outputs,
            attribute=node.attribute,
        )
        types = infer_types(local, self.types, self._constants, self._opset)
        if self._fold(local, op, types):
            return
        for value, output in zip(node.output, outputs, strict=True):
            if output:
                type_ = types[output] or self._declared_type(value, name, op)
                if type_.nbytes > _MAX_TENSOR_BYTES:
                    raise UnsupportedError(
                        name, op, f"its output {type_.shape} would have {type_.nbytes} bytes"
                    )
                self.types[output] = type_
        made = Node(name, op, inputs, outputs, attributes_of(node, name, op))
        self._nodes.append(made)
        self._follow(made)

    # For control flow

    def constant(self, value: str) -> Array | None:
        """What a value is, if that does not depend on the data."""
        return self._constants.get(self.resolve(value))

    def is_bounded(self, name: str) -> bool:
        return name in self._bounds

    def inside(self, graph: GraphProto, inputs: Mapping[str, str] | None = None) -> list[str]:
        """Import a subgraph, its inputs being values of ours; the names of its results."""
        outer = dict(self._scope)
        self._scope.update(inputs or {})
        before = len(self.unsupported)
        self.add_all(graph)
        if len(self.unsupported) > before:
            raise self.unsupported.pop()
        results = [self.resolve(value.name) for value in graph.output]
        self._scope = outer
        return results

    def alias(self, result: str, output: str) -> None:
        """`output` of the model is what is called `result` here."""
        if not output:
            return
        if result in self._constants:
            self._define(self._rename(output), self._constants[result])
            return
        name = self.make("Identity", (result,), output, self.types[result])
        if result in self._bounds:
            self._bounds[name] = self._bounds[result]

    def make(
        self, op: str, inputs: tuple[str, ...], output: str, type_: TensorType, **attributes: AttributeValue
    ) -> str:
        """A node that the model does not have, for an output that it has."""
        name = self._rename(output)
        self.types[name] = type_
        self._nodes.append(Node(self._fresh(op.lower()), op, inputs, (name,), attributes))
        return name

    def stack(self, values: Sequence[str], output: str) -> None:
        """`values` of one type along a new first dimension."""
        type_ = self.types[values[0]]
        rows = TensorType(type_.dtype, (1, *type_.shape))
        shape = self.given("shape", np.array(rows.shape, np.int64))
        parts = []
        for value in values:
            part = self._value(f"{output}_row", rows.dtype, rows.shape)
            self._nodes.append(Node(self._fresh("reshape"), "Reshape", (value, shape), (part,)))
            parts.append(part)
        whole = TensorType(type_.dtype, (len(values), *type_.shape))
        self.make("Concat", tuple(parts), output, whole, axis=0)

    # What the rules are made of

    def _fold(self, node: NodeProto, op: str, types: Mapping[str, TensorType | None]) -> bool:
        inputs = {name: self._constants[name] for name in node.input if name in self._constants}
        if not inputs or len(inputs) < len({name for name in node.input if name}):
            return False
        if not self._folder.allows(op, inputs, types):
            return False
        found = self._folder.compute(model_of(node, inputs, types, self._opset), types)
        for name, array in (found or {}).items():
            self._define(name, array)
        return found is not None

    def _inputs(self, node: NodeProto) -> tuple[str, ...]:
        for value in node.input:
            if value:
                self._type(value, node)
        return tuple(self.resolve(value) for value in node.input)

    def _follow(self, node: Node) -> None:
        """Note which of the node's outputs are bounded."""
        try:
            passed = bounds.follow(node, self.types, self._constants, self._bounds)
        except bounds.RefusedError as reason:
            raise UnsupportedError(node.name, node.op, str(reason)) from None
        if passed is None:
            return
        count = passed.count
        if passed.limit is not None:
            limit = self.given("limit", np.array(passed.limit, np.int64))
            count = self._value(f"{node.outputs[0]}.count", "int64", ())
            self._nodes.append(Node(self._fresh("min"), "Min", (passed.count, limit), (count,)))
        self._bounds.update(dict.fromkeys(filter(None, node.outputs), Bound(passed.axis, count)))

    def _value(self, hint: str, dtype: str, shape: tuple[int, ...]) -> str:
        """A value that the model does not have, under a name of its own."""
        name, index = hint, 0
        while name in self.types or name in self._foreign:
            index += 1
            name = f"{hint}_{index}"
        self.types[name] = TensorType(dtype, shape)
        return name

    def given(self, hint: str, array: Array) -> str:
        name = self._value(hint, str(array.dtype), array.shape)
        self._constants[name] = array
        return name

    def _define(self, name: str, array: Array) -> None:
        self._constants[name] = array
        self.types[name] = TensorType(str(array.dtype), array.shape)

    def _type(self, value: str, node: NodeProto) -> TensorType:
        found = self.types.get(self.resolve(value))
        if found is None:
            raise ModelError(
                f"node {node.name!r} ({node.op_type}) reads {value!r}, which nothing before it makes"
            )
        return found

    def _declared_type(self, value: str, name: str, op: str) -> TensorType:
        declared = self._declared.get(value)
        found = static_type(declared, f"value {value!r}") if declared is not None else None
        if found is None:
            reason = (
                "it is of another operator domain than ONNX's own, and the model does not say what it makes"
                if "::" in op
                else f"what it makes ({value!r}) has no shape that is known before the model runs"
            )
            raise UnsupportedError(name, op, reason)
        return found

    def resolve(self, value: str) -> str:
        return self._scope.get(value, value)

    def _rename(self, value: str) -> str:
        """A name for a value about to be made: its own, unless a branch taken elsewhere already uses it."""
        name, index = value, 0
        while name in self.types:
            index += 1
            name = f"{value}_{index}"
        self._scope.pop(value, None)
        if name != value:
            self._scope[value] = name
        return name

    def name(self, node: NodeProto) -> str:
        if node.name in self._own_names:
            self._own_names.remove(node.name)  # a branch taken elsewhere may use it again
            return str(node.name)
        return self._fresh(node.op_type.lower())

    def _fresh(self, kind: str) -> str:
        while True:
            name = f"{kind}_{self._counts[kind]}"
            self._counts[kind] += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _hand_out(self, output: str) -> None:
        array, type_ = self._constants.pop(output), self.types[output]
        source = output
        while source in self.types:
            source += "_value"
        self._define(source, array)
        self._nodes = [
            node.with_(inputs=tuple(source if value == output else value for value in node.inputs))
            for node in self._nodes
        ]
        self.types[output] = type_
        self._nodes.append(Node(self._fresh("identity"), "Identity", (source,), (output,)))


_RULES: Mapping[str, Callable[[Importer, NodeProto], None]] = {
    "CastLike": Importer._cast_like,
    "CenterCropPad": Importer._by_definition,
    "Compress": Importer._compress,
    "Constant": Importer._constant,
    "EyeLike": Importer._eye_like,
    "If": follow_if,
    "LayerNormalization": Importer._layer_normalization,
    "Loop": follow_loop,
    "NonMaxSuppression": Importer._finder,
    "NonZero": Importer._finder,
    "Shape": Importer._shape,
    "Size": Importer._size,
}


def _is_default(domain: str) -> bool:
    return domain in ("", "ai.onnx")
