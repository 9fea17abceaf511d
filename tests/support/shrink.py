"""A failing model made small: fewer outputs, fewer nodes, for as long as it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx
from onnx import ModelProto, NodeProto

Fails = Callable[[ModelProto], bool]


def shrunk(model: ModelProto, fails: Fails, attempts: int = 200) -> ModelProto:
    """The smallest model that was found and for which `fails` holds, as it does for `model`.

    Values in the middle become inputs or outputs, so that what is before or behind them can go. Each attempt
    costs one call of `fails`.
    """
    types = _types(model)
    progress = True
    while progress and attempts > 0:
        progress = False
        for candidate in _smaller(model, types):
            if attempts <= 0:
                break
            attempts -= 1
            if fails(candidate):
                model, progress = candidate, True
                break
    return model


def _types(model: ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Every value whose type ONNX's shape inference finds."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {v.name: v for v in (*inferred.value_info, *inferred.output, *inferred.input)}


def _smaller(model: ModelProto, types: dict[str, onnx.ValueInfoProto]) -> Iterator[ModelProto]:
    """Candidates, the boldest first."""
    graph = model.graph
    outputs = [output.name for output in graph.output]
    if len(outputs) > 1:
        for name in outputs:
            yield _cut(model, types, [name], ())
    made = [name for node in graph.node for name in node.output if name in types and name not in outputs]
    if len(outputs) == 1:
        # An earlier end; a later start, from the end backwards.
        for name in made:
            yield _cut(model, types, [name], ())
        for name in reversed(made):
            yield _cut(model, types, outputs, (name,))
    for node in graph.node:
        yield from _bypassed(model, node, types)


def _cut(
    model: ModelProto, types: dict[str, onnx.ValueInfoProto], outputs: Sequence[str], given: Sequence[str]
) -> ModelProto:
    """The part of the model that makes `outputs`, the values `given` being inputs."""
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output) and not set(given).intersection(node.output):
            nodes.insert(0, node)
            needed.update(filter(None, node.input))
    return _with(model, nodes, [types[name] for name in outputs], needed, [types[name] for name in given])


def _with(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    needed: set[str],
    given: Sequence[onnx.ValueInfoProto],
) -> ModelProto:
    smaller = ModelProto()
    smaller.CopyFrom(model)
    graph = smaller.graph
    inputs = [value for value in graph.input if value.name in needed]
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    for field, items in (
        (graph.node, nodes),
        (graph.input, [*inputs, *(value for value in given if value.name in needed)]),
        (graph.output, outputs),
        (graph.initializer, constants),
    ):
        kept = list(items)
        del field[:]
        field.extend(kept)
    return smaller


def _bypassed(
    model: ModelProto, node: NodeProto, types: dict[str, onnx.ValueInfoProto]
) -> Iterator[ModelProto]:
    """Without one node, its readers reading an input of the same type instead."""
    output = node.output[0]
    if output not in types or output in {value.name for value in model.graph.output}:
        return
    for name in node.input:
        if name in types and types[name].type == types[output].type:
            nodes = []
            for other in model.graph.node:
                if other.output[0] != output:
                    copy = NodeProto()
                    copy.CopyFrom(other)
                    copy.input[:] = [name if value == output else value for value in other.input]
                    nodes.append(copy)
            ends = [value.name for value in model.graph.output]
            changed = _with(model, nodes, list(model.graph.output), _all_names(model), ())
            yield _cut(changed, types, ends, ())


def _all_names(model: ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in (*node.input, *node.output)}
