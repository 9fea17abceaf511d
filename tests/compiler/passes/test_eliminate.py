"""Nodes that compute nothing go; names of outputs stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes.canonicalize import canonicalize
from sanderling.compiler.passes.eliminate import eliminate
from sanderling.compiler.verifier import verify
from tests.support.graphs import assert_equivalent, operators, parse

F = np.float32

ROWS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("g (float[3] x) => (float[3] y) { a = Identity(x) y = Relu(a) }", {}, ["Relu"]),
    ("g (float[3] x) => (float[3] y) { a = Relu(x) y = Identity(a) }", {}, ["Relu"]),
    ("g (float[3] x) => (float[3] y) { a = Relu(x) b = Identity(a) y = Identity(b) }", {}, ["Relu"]),
    ("g (float[3] x) => (float[3] y) { y = Identity(x) }", {}, ["Identity"]),
    ("g (float[3] x) => (float[3] y, float[3] z) { y = Relu(x) z = Identity(y) }", {}, ["Relu", "Identity"]),
    (
        "g (float[3] x) => (float[3] y, float[3] z) { a = Relu(x) y = Identity(a) z = Tanh(a) }",
        {},
        ["Relu", "Tanh"],
    ),
    (
        "g (float[2,3] x) => (float[3,2] y) { a = Flatten <axis = 0> (x) y = Reshape(a, s) }",
        {"s": np.array([3, 2])},
        ["Reshape"],
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { a = Flatten <axis = 0> (x) b = Reshape(a, s) y = Relu(b) }",
        {"s": np.array([2, 3])},
        ["Relu"],
    ),
    (
        (
            "g (float[2,3,4] x) => (float[4,3,2] y) {"
            " a = Transpose <perm = [1, 0, 2]> (x) b = Transpose <perm = [1, 2, 0]> (a) "
            "y = Transpose <perm = [1, 0, 2]> (b) }"
        ),
        {},
        ["Transpose"],
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { a = Transpose(x) b = Transpose(a) y = Relu(b) }",
        {},
        ["Relu"],
    ),
    (
        "g (float[1,3,1,5] x) => (float[1,1,3,5] y) { y = Transpose <perm = [0, 2, 1, 3]> (x) }",
        {},
        ["Reshape"],
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { a = Expand(x, s) y = Relu(a) }",
        {"s": np.array([1, 3])},
        ["Relu"],
    ),
    ("g (float[2,3] x) => (float[2,3] y) { a = Mul(x, c) y = Relu(a) }", {"c": F(1)}, ["Relu"]),
    ("g (float[2,3] x) => (float[2,3] y) { a = Add(x, c) y = Relu(a) }", {"c": F([[0]])}, ["Relu"]),
    (
        "g (float[3] x) => (float[2,3] y) { a = Add(x, c) y = Relu(a) }",
        {"c": np.zeros((2, 1), F)},
        ["Add", "Relu"],
    ),
    ("g (float[2,3] x) => (float[2,3] y) { a = Dropout(x) y = Relu(a) }", {}, ["Relu"]),
    ("g (float[2,3] x) => (float[2,3] y) { a = Split <num_outputs = 1> (x) y = Relu(a) }", {}, ["Relu"]),
    ("g (float[2,3] x) => (float[2,3] y) { a = Tanh(x) y = Relu(x) }", {}, ["Relu"]),
]


@pytest.mark.parametrize(("body", "constants", "ops"), ROWS)
def test_what_computes_nothing_goes(body: str, constants: Any, ops: list[str]) -> None:
    model = parse(body, 18, constants)
    graph = canonicalize(to_graph(load_onnx(model)))
    for _ in range(3):
        graph = eliminate(graph)
    assert verify(graph, canonical=True) == []
    assert operators(graph) == ops
    assert eliminate(graph) is graph
    assert_equivalent(model, graph)
