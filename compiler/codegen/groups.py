"""Grouping: every node joins exactly one group, which becomes one kernel call.

An *anchor* (convolution, dense, pooling, …) takes along the element-wise nodes after it, as long as each is
the only reader of the value before it. Element-wise nodes without an anchor form chains of their own. All
else is a group of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Graph, Node
from .epilogue import ACTIVATIONS, BINARY, Step

_BLOCKED: frozenset[str] = frozenset({"none", "scalar", "channel", "tensor", "channel_tensor"})
_ACCEPTS: dict[str, frozenset[str]] = {
    "Conv": _BLOCKED,
    "ConvTranspose": _BLOCKED,
    "MaxPool": _BLOCKED,
    "AveragePool": _BLOCKED,
    "GlobalAveragePool": _BLOCKED,
    "GlobalMaxPool": _BLOCKED,
    "Resize": _BLOCKED,
    "Dense": frozenset({"none", "scalar", "channel", "tensor"}),
    "MatMul": _BLOCKED | {"broadcast"},
    "Softmax": frozenset(),
    "LayerNormalization": frozenset(),
}
"""Anchors, and the operands of steps that each can take along."""

ANCHORS = frozenset(_ACCEPTS)
_BY_ROWS = ("Dense", "MatMul")

# Attributes that become a Step's values, in the order of the activation's parameters.
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
}
_COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min"})


@dataclass(frozen=True)
class Group:
    """`nodes` in order, the anchor first (None for a chain of element-wise nodes). `source` is the value that
    the first node works on; `operands` are the values of the steps that take an argument, constants included.
    """

    anchor: Node | None
    nodes: tuple[Node, ...]
    source: str
    steps: tuple[Step, ...]
    operands: tuple[str, ...]

    @property
    def output(self) -> str:
        return self.nodes[-1].outputs[0]

    @property
    def name(self) -> str:
        return self.nodes[0].name

    def reads(self) -> tuple[str, ...]:
        """Every value from outside that the group needs."""
        inside = {value for node in self.nodes for value in node.outputs}
        return tuple(dict.fromkeys(v for node in self.nodes for v in node.inputs if v and v not in inside))


def make_groups(graph: Graph) -> tuple[Group, ...]:
    """All nodes in groups, in an order in which every group finds its inputs ready."""
    taken: set[str] = set()
    groups: list[Group] = []
    # Backwards, so that a sum of two branches joins the branch that ends later and keeps lifetimes short.
    for node in reversed(graph.nodes):
        if node.op in ANCHORS and node.name not in taken:
            group = _extend(graph, node, node.inputs[0], (node,), taken)
            taken.update(member.name for member in group.nodes)
            groups.append(group)
    for node in graph.nodes:
        if node.name in taken:
            continue
        group = _chain(graph, node, taken)
        taken.update(member.name for member in group.nodes)
        groups.append(group)
    return _ordered(graph, _with_attention(graph, groups))


def _chain(graph: Graph, node: Node, taken: set[str]) -> Group:
    for source in dict.fromkeys(value for value in node.inputs if value and value not in graph.constants):
        found = as_step(graph, node, source, None)
        if found is not None:
            step, operand = found
            start = Group(None, (node,), source, (step,), (operand,) if operand else ())
            return _grow(graph, start, taken)
    return Group(None, (node,), node.inputs[0] if node.inputs else "", (), ())


def _extend(graph: Graph, anchor: Node, source: str, nodes: tuple[Node, ...], taken: set[str]) -> Group:
    return _grow(graph, Group(anchor, nodes, source, (), ()), taken)


def _grow(graph: Graph, group: Group, taken: set[str]) -> Group:
    while True:
        value = group.output
        readers = graph.consumers.get(value, ())
        if len(readers) != 1 or value in graph.outputs or len(group.nodes[-1].outputs) != 1:
            return group
        reader = readers[0]
        if reader.name in taken or reader.op in ANCHORS:
            return group
        found = as_step(graph, reader, value, group.anchor)
        if found is None or (group.anchor is not None and found[0].operand not in _ACCEPTS[group.anchor.op]):
            return group
        step, operand = found
        operands = (*group.operands, operand) if operand else group.operands
        group = Group(group.anchor, (*group.nodes, reader), group.source, (*group.steps, step), operands)


def is_attention(group: Group) -> bool:
    """Whether the group is product, softmax, product."""
    return group.anchor is not None and (group.anchor.op, group.nodes[0].op) == ("Softmax", "MatMul")


def _with_attention(graph: Graph, groups: Sequence[Group]) -> list[Group]:
    """Joins a product, the softmax over its last axis, and the product with that on the left: all that lies
    between is read by nobody else. The joint group's anchor is the softmax.
    """
    found = {group.nodes[0].name: group for group in groups}
    for middle in groups:
        node = middle.nodes[0]
        if node.op != "Softmax" or node.attributes["axis"] != len(graph.types[middle.output].shape) - 1:
            continue
        before = next((group for group in groups if group.output == middle.source), None)
        readers = graph.consumers.get(middle.output, ())
        after = found.get(readers[0].name) if len(readers) == 1 else None
        if before is None or after is None or not (_is_product(before) and _is_product(after)):
            continue
        inside = (before.output, middle.output)
        alone = len(graph.consumers[before.output]) == 1 and not set(inside) & set(graph.outputs)
        ranks = {len(graph.types[value].shape) for value in (*before.nodes[0].inputs, *after.nodes[0].inputs)}
        left = after.nodes[0].inputs[0] == middle.output != after.nodes[0].inputs[1]
        if not (alone and left) or after.steps or min(ranks) < 2:
            continue
        nodes = (*before.nodes, *middle.nodes, *after.nodes)
        found[before.name] = Group(node, nodes, before.source, before.steps, before.operands)
        del found[middle.name], found[after.name]
    return list(found.values())


def _is_product(group: Group) -> bool:
    return group.anchor is not None and group.anchor.op == "MatMul"


def is_by_rows(group: Group) -> bool:
    """Whether a vector per channel belongs to the last axis, whatever the rank."""
    return group.anchor is not None and group.anchor.op in _BY_ROWS


def as_step(graph: Graph, node: Node, running: str, anchor: Node | None = None) -> tuple[Step, str] | None:
    """The node as a step on the value `running`, with its operand's name ("" if none), or None if it is no
    step. `anchor`: that of the group which it would join.
    """
    if graph.types[running] != graph.types[node.outputs[0]] or graph.types[running].dtype != "float32":
        return None
    if node.op == "Gelu" and node.attributes["approximate"] == "tanh":
        return Step("GeluTanh"), ""
    if node.op in ACTIVATIONS:
        keys = _ATTRIBUTES.get(node.op, ())
        return Step(node.op, values=tuple(float(str(node.attributes[key])) for key in keys)), ""
    if node.op not in BINARY or len(node.inputs) != 2 or node.inputs.count(running) != 1:
        return None
    position = node.inputs.index(running)
    other = node.inputs[1 - position]
    operand = _operand(graph, running, other, channel_axis(anchor, len(graph.types[running].shape)))
    if operand is None:
        return None
    kind, values = operand
    reverse = position == 1 and node.op not in _COMMUTATIVE
    return Step(node.op, kind, values, reverse), "" if kind == "scalar" else other  # type: ignore[arg-type]


def _operand(graph: Graph, running: str, other: str, axis: int) -> tuple[str, tuple[float, ...]] | None:
    shape, other_type = graph.types[running].shape, graph.types[other]
    if other_type.dtype != "float32":
        return None
    constant = graph.constants.get(other)
    if constant is not None and constant.size == 1:
        return "scalar", (float(constant.reshape(-1)[0]),)
    if constant is not None and channel_vector(constant, shape, axis) is not None:
        return "channel", ()
    if other_type.shape == shape and constant is None:
        return "tensor", ()
    per_channel = (*shape[:2], *(1,) * (len(shape) - 2))
    if axis == 1 and len(shape) > 2 and other_type.shape == per_channel and constant is None:
        return "channel_tensor", ()
    aligned = (1,) * (len(shape) - len(other_type.shape)) + other_type.shape
    if len(aligned) == len(shape) and all(n in (1, m) for n, m in zip(aligned, shape, strict=True)):
        return "broadcast", ()
    return None


def channel_axis(anchor: Node | None, rank: int) -> int:
    """Which axis of a group's output holds the channels: 1 of images, else the last."""
    if anchor is None:
        return 1 if rank == 4 else rank - 1
    return rank - 1 if anchor.op in _BY_ROWS else 1


def channel_vector(constant: Array, shape: Sequence[int], axis: int) -> Array | None:
    """A constant as one value per channel (along `axis`) of a tensor of this shape, or None."""
    wanted = [1] * len(shape)
    wanted[axis] = shape[axis]
    aligned = (1,) * (len(shape) - constant.ndim) + constant.shape
    if list(aligned) != wanted:
        return None
    return np.ascontiguousarray(constant.reshape(-1), dtype=np.float32)


def _ordered(graph: Graph, groups: Sequence[Group]) -> tuple[Group, ...]:
    """Topological, and as close to the graph's own order as that allows."""
    position = {node.name: index for index, node in enumerate(graph.nodes)}
    maker = {value: group for group in groups for node in group.nodes for value in node.outputs}
    done: set[int] = set()
    ordered: list[Group] = []
    for root in sorted(groups, key=lambda group: position[group.nodes[-1].name]):
        stack = [root]
        while stack:
            group = stack[-1]
            missing = [maker[v] for v in group.reads() if v in maker and id(maker[v]) not in done]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if id(group) not in done:
                done.add(id(group))
                ordered.append(group)
    return tuple(ordered)
