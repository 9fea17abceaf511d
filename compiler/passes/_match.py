"""Patterns: what a decomposed operator looks like, as a tree that is matched backwards from its last node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..canonical import COMMUTATIVE
from ..graph import Node
from ._rewrite import Rewriter

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Op:
    """A node of this operator; `name` makes it available to the replacement."""

    op: str
    inputs: tuple[Pattern, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """Any value, the same one wherever the name occurs."""

    name: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A constant of one element: of this value, or of any value if a name is given."""

    value: float | None = None
    name: str = ""


Pattern = Op | Value | Scalar


@dataclass(frozen=True)
class Match:
    """What a pattern has found: values and numbers by name, and the nodes it covers."""

    values: dict[str, str]
    numbers: dict[str, float]
    nodes: dict[str, Node]
    covered: tuple[Node, ...]


Replacement = Callable[[Rewriter, Node, Match], bool]
"""Emits what makes the output of the pattern's last node, or says False."""


def match(rewriter: Rewriter, pattern: Op, node: Node) -> Match | None:
    """Match `pattern` with `node` as its last node; nothing it covers may be needed by anyone else."""
    for found in _match_node(rewriter, pattern, node, Match({}, {}, {}, ())):
        inside = Counter(value for covered in found.covered for value in covered.inputs)
        hidden = [value for covered in found.covered if covered is not node for value in covered.outputs]
        if all(rewriter.uses(value) == inside[value] for value in hidden):
            return found
    return None


def _match_node(rewriter: Rewriter, pattern: Op, node: Node, found: Match) -> Iterator[Match]:
    if node.op != pattern.op or len(node.inputs) < len(pattern.inputs):
        return
    covered = found.covered if any(node is known for known in found.covered) else (*found.covered, node)
    nodes = {**found.nodes, pattern.name: node} if pattern.name else found.nodes
    here = Match(found.values, found.numbers, nodes, covered)
    orders = [node.inputs]
    if node.op in COMMUTATIVE and node.inputs[0] != node.inputs[1]:
        orders.append(node.inputs[::-1])
    for order in orders:
        yield from _match_inputs(rewriter, pattern.inputs, order, here)


def _match_inputs(
    rewriter: Rewriter, patterns: tuple[Pattern, ...], values: tuple[str, ...], found: Match
) -> Iterator[Match]:
    if not patterns:
        yield found
        return
    for first in _match_value(rewriter, patterns[0], values[0], found):
        yield from _match_inputs(rewriter, patterns[1:], values[1:], first)


def _match_value(rewriter: Rewriter, pattern: Pattern, value: str, found: Match) -> Iterator[Match]:
    match pattern:
        case Op():
            node = rewriter.producer(value)
            if node is not None and node.outputs[0] == value:
                yield from _match_node(rewriter, pattern, node, found)
        case Value(name):
            if found.values.get(name, value) == value:
                yield Match({**found.values, name: value}, found.numbers, found.nodes, found.covered)
        case Scalar(wanted, name):
            array = rewriter.constants.get(value)
            if array is None or array.size != 1:
                return
            number = float(array.reshape(-1)[0])
            if wanted is None or bool(np.isclose(number, wanted, rtol=_TOLERANCE, atol=0.0)):
                numbers = {**found.numbers, name: number} if name else found.numbers
                yield Match(found.values, numbers, found.nodes, found.covered)
