"""Functions that a model brings along, written out where they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
import onnx.inliner
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from ..errors import ModelError

_MAX_NODES = 1 << 18  # a few kilobytes of functions that call each other twice could become any number
_MAX_DEPTH = 64

_Key = tuple[str, str, str]


def inline_functions(proto: ModelProto) -> ModelProto:
    """The model without functions of its own.

    Raises:
        ModelError: they call each other in a circle, or would become too many nodes.
    """
    if not proto.functions:
        return proto
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    sizes: dict[_Key, int] = {}
    total = sum(_size(node, functions, sizes, ()) for node in _nodes(proto.graph))
    if total > _MAX_NODES:
        raise ModelError(
            f"the model's functions, written out, become {total} nodes; at most {_MAX_NODES} can be compiled"
        )
    try:
        return onnx.inliner.inline_local_functions(proto)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the model's functions are inconsistent: {str(error).strip().splitlines()[0]}"
        ) from error


def _size(
    node: NodeProto,
    functions: Mapping[_Key, FunctionProto],
    sizes: dict[_Key, int],
    callers: tuple[_Key, ...],
) -> int:
    """How many nodes a node becomes."""
    key = (node.domain, node.op_type, node.overload)
    if key not in functions:
        return 1
    if len(callers) > _MAX_DEPTH:
        raise ModelError(f"the model's functions call each other more than {_MAX_DEPTH} deep")
    if key in callers:
        raise ModelError(f"the model's function {node.op_type!r} calls itself")
    if key not in sizes:
        sizes[key] = sum(_size(inner, functions, sizes, (*callers, key)) for inner in _nodes(functions[key]))
    return sizes[key]


def _nodes(body: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    for node in body.node:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(graph)
