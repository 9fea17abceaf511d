"""What all passes are written with: one walk over the nodes, each kept or replaced by a rule."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Container, Iterable

from ..canonical import COMMUTATIVE
from ..graph import Array, AttributeValue, Graph, Node, TensorType

Rule = Callable[["Rewriter", Node], bool]
"""Sees a node whose inputs are rewritten already; emits a replacement and says True, or False to keep it."""


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Apply `rule` to every node in order, then drop what is dead. The same object if nothing changed."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        rewriter.visit(node, rule)
    return rewriter.finish()


class Rewriter:
    """A graph under construction. Lives for one pass."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.opset = graph.opset
        self.types: dict[str, TensorType] = dict(graph.types)
        self.constants: dict[str, Array] = dict(graph.constants)
        self._nodes: list[Node] = []
        self._producers: dict[str, Node] = {}
        self._forwarded: dict[str, str] = {}
        self._names = {node.name for node in graph.nodes}
        self._free = ""  # the name of the node that is being replaced
        self._uses = Counter(value for node in graph.nodes for value in node.inputs)
        self._uses.update(graph.outputs)

    def visit(self, node: Node, rule: Rule) -> None:
        """Let the rule replace the node, or keep it."""
        node = self.resolved(node)
        self._free = node.name
        if not rule(self, node):
            self.keep(node)

    # Looking

    def shape(self, value: str) -> tuple[int, ...]:
        return self.types[value].shape

    def producer(self, value: str) -> Node | None:
        """The node that makes `value`, as rewritten; None for inputs and constants."""
        return self._producers.get(value)

    def is_output(self, *values: str) -> bool:
        """Whether one of the values is an output of the graph."""
        return not set(values).isdisjoint(self._graph.outputs)

    def uses(self, value: str) -> int:
        """How many places read the value, graph outputs counted."""
        return self._uses[value]

    def view(self) -> Graph:
        """Types and constants so far; the nodes are the old graph's."""
        return self._graph.with_(types=self.types, constants=self.constants)

    # Building

    def constant(self, hint: str, array: Array) -> str:
        """Add a constant; returns its name."""
        name = self.value(hint, TensorType(str(array.dtype), array.shape))
        self.constants[name] = array
        return name

    def value(self, hint: str, type_: TensorType) -> str:
        """Add a value that some node will make; returns its name."""
        name = _unique(hint, self.types)
        self.types[name] = type_
        return name

    def emit(
        self, op: str, inputs: Iterable[str], output: str, *, name: str, **attributes: AttributeValue
    ) -> str:
        """Add a node with one output, a value that exists; returns the output. The name is made unique."""
        if name == self._free:
            self._free = ""
        elif name in self._names:
            name = _unique(name, self._names)
        self._names.add(name)
        self.keep(Node(name, op, tuple(inputs), (output,), attributes))
        return output

    def keep(self, node: Node) -> None:
        """Add a node as it is."""
        self._nodes.append(node)
        self._producers.update({value: node for value in node.outputs if value})

    def forward(self, old: str, new: str) -> None:
        """Whoever reads `old` from now on reads `new`. Not for outputs of the graph: see `alias`."""
        self._forwarded[old] = new
        self._uses[new] += self._uses[old]

    def alias(self, node: Node, value: str) -> bool:
        """Replace a node that only passes `value` on. Says False where the name of its output must stay."""
        (output,) = node.outputs
        if not self.is_output(output):
            self.forward(output, value)
            self._uses[value] -= 1
            return True
        producer = self.producer(value)
        if producer is None or self.is_output(value):
            return False
        renamed = producer.with_(
            outputs=tuple(output if name == value else name for name in producer.outputs)
        )
        self._nodes = [renamed if node is producer else node for node in self._nodes]
        self.forward(value, output)
        self._uses[output] -= 1
        self._nodes = [self.resolved(node) for node in self._nodes]
        self._producers = {name: node for node in self._nodes for name in node.outputs if name}
        return True

    def resolved(self, node: Node) -> Node:
        """The node, reading what its inputs have been replaced by; a constant operand comes second."""
        inputs = tuple(self._resolve(value) for value in node.inputs)
        if (
            node.op in COMMUTATIVE
            and len(inputs) == 2
            and inputs[0] in self.constants
            and inputs[1] not in self.constants
        ):
            inputs = inputs[::-1]
        return node if inputs == node.inputs else node.with_(inputs=inputs)

    def finish(self, opset: int | None = None) -> Graph:
        """The new graph, or the old one if nothing changed. `opset`: its new operator set version."""
        before = self._graph.nodes
        unchanged = len(before) == len(self._nodes) and all(map(operator.is_, before, self._nodes))
        if unchanged and opset in (None, self._graph.opset):
            return drop_dead(self._graph)
        graph = self._graph.with_(
            nodes=tuple(self._nodes),
            types=self.types,
            constants=self.constants,
            opset=opset or self._graph.opset,
        )
        return drop_dead(graph)

    def _resolve(self, value: str) -> str:
        while value in self._forwarded:
            value = self._forwarded[value]
        return value


def drop_dead(graph: Graph) -> Graph:
    """The graph without nodes, constants and types that no output needs."""
    alive = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if not alive.isdisjoint(node.outputs):
            nodes.append(node)
            alive.update(node.inputs)
    alive.update(graph.inputs)
    alive.update(value for node in nodes for value in node.outputs)
    alive.discard("")
    if len(nodes) == len(graph.nodes) and alive == graph.types.keys():
        return graph
    return graph.with_(
        nodes=tuple(reversed(nodes)),
        types={name: type_ for name, type_ in graph.types.items() if name in alive},
        constants={name: array for name, array in graph.constants.items() if name in alive},
    )


def _unique(hint: str, taken: Container[str]) -> str:
    name, index = hint, 0
    while name in taken:
        index += 1
        name = f"{hint}_{index}"
    return name
