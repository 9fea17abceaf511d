"""Every rule of the verifier catches what it is there for, and good graphs pass."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pytest

from sanderling.compiler.canonical import FORMS, ShapeError, broadcast
from sanderling.compiler.graph import Graph, Node, TensorType
from sanderling.compiler.verifier import CANONICAL_RULES, RULES, verify
from tests.support.graphs import simplified

Change = Callable[[Graph], Graph]


@pytest.fixture
def graph() -> Graph:
    return simplified(
        """g (float[1,2,4,4] x) => (float[1,8] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, w)
            b = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
            c = Add(k, b)
            y = Flatten(c)
        }""",
        constants={"w": np.ones((2, 2, 3, 3), "f"), "k": np.arange(8, dtype="f").reshape(2, 2, 2)},
    )


def test_good_graph_has_no_violations(graph: Graph) -> None:
    assert verify(graph, canonical=True) == []


def node(graph: Graph, op: str) -> Node:
    return next(node for node in graph.nodes if node.op == op)


def replaced(op: str, **changes: object) -> Change:
    """Change one node of the graph."""

    def change(graph: Graph) -> Graph:
        old = node(graph, op)
        return graph.with_(nodes=tuple(n.with_(**changes) if n is old else n for n in graph.nodes))

    return change


def attributes(op: str, **changes: object) -> Change:
    return lambda graph: replaced(op, attributes={**node(graph, op).attributes, **changes})(graph)


def typed(value: str, type_: TensorType) -> Change:
    return lambda graph: graph.with_(types={**graph.types, value: type_})


BROKEN: list[tuple[str, Change]] = [
    ("unique names", replaced("MaxPool", name="conv_0")),
    ("unique names", replaced("MaxPool", name="")),
    ("unique producers", replaced("MaxPool", outputs=("a",))),
    ("unique producers", replaced("MaxPool", outputs=("x",))),
    ("unique producers", lambda graph: graph.with_(constants={**graph.constants, "x": np.zeros(1)})),
    ("topological order", lambda graph: graph.with_(nodes=graph.nodes[::-1])),
    ("topological order", replaced("MaxPool", inputs=("nothing",))),
    (
        "every value typed",
        lambda graph: graph.with_(types={k: v for k, v in graph.types.items() if k != "a"}),
    ),
    ("every value typed", typed("ghost", TensorType("float32", ()))),
    ("interface", lambda graph: graph.with_(outputs=("x",))),
    ("interface", lambda graph: graph.with_(outputs=("k",))),
    ("interface", lambda graph: graph.with_(outputs=())),
    ("interface", lambda graph: graph.with_(outputs=("y", "y"))),
    ("constants agree with types", typed("k", TensorType("float32", (8,)))),
    ("constants agree with types", typed("k", TensorType("float64", (2, 2, 2)))),
    ("canonical attributes", attributes("Conv", auto_pad="VALID")),
    ("canonical attributes", attributes("Conv", group=1.0)),
    ("canonical attributes", replaced("MaxPool", attributes=MappingProxyType({}))),
    ("canonical inputs", replaced("Conv", inputs=("x", "w"))),
    ("canonical inputs", replaced("Add", inputs=("k", "b"))),
    ("shapes follow", attributes("Conv", pads=(0, 0, 0, 0))),
    ("shapes follow", attributes("Conv", pads=(1, 1))),
    ("shapes follow", attributes("Conv", group=2)),
    ("shapes follow", attributes("MaxPool", kernel_shape=(9, 9))),
    ("shapes follow", attributes("Reshape", shape=(1, 9))),
    ("shapes follow", typed("b", TensorType("float32", (1, 2, 2, 3)))),
    ("shapes follow", typed("b", TensorType("float64", (1, 2, 2, 2)))),
]


@pytest.mark.parametrize(("rule", "change"), BROKEN)
def test_broken_graph_is_caught_by_its_rule(rule: str, change: Change, graph: Graph) -> None:
    violations = verify(change(graph), canonical=True)
    assert any(violation.startswith(f"{rule}: ") for violation in violations), violations


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _ in BROKEN} == RULES.keys() | CANONICAL_RULES.keys()


def test_canonical_rules_wait_for_a_canonical_graph(graph: Graph) -> None:
    assert verify(attributes("Conv", auto_pad="VALID")(graph)) == []


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (((2, 3), (3,)), (2, 3)),
        (((2, 1), (1, 3)), (2, 3)),
        (((), (4,)), (4,)),
        (((1,), (0,)), (0,)),
        (((5, 1), (2, 1, 4)), (2, 5, 4)),
    ],
)
def test_broadcast_is_numpys(shapes: tuple[tuple[int, ...], ...], expected: tuple[int, ...]) -> None:
    assert broadcast(*shapes) == np.broadcast_shapes(*shapes) == expected


def test_shapes_that_do_not_broadcast_are_an_error() -> None:
    with pytest.raises(ShapeError):
        broadcast((2, 3), (2,))


def test_every_form_without_inference_is_known_to_be_so() -> None:
    assert {op for op, form in FORMS.items() if form.infer is None} == {"Resize"}
