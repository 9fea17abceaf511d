"""Decomposed activations and normalisations are recognised, and nothing that merely resembles them is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from tests.support.graphs import assert_equivalent, operators, parse

F = np.float32
HARD = {"three": F(3), "zero": F(0), "six": F(6), "sixth": F(1 / 6)}
GELU = {
    "root2": F(math.sqrt(2)),
    "one": F(1),
    "half": F(0.5),
    "cubic": F(0.044715),
    "k": F(math.sqrt(2 / math.pi)),
    "p": F(3),
}
NORM = {"eps": F(1e-5), "two": F(2), "s": np.arange(5, dtype=F), "b": np.ones(5, F)}

FOUND: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a = Sigmoid(x) y = Mul(x, a)", {}, ["Silu"]),
    ("a = Sigmoid(x) y = Mul(a, x)", {}, ["Silu"]),
    ("a = Softplus(x) b = Tanh(a) y = Mul(x, b)", {}, ["Mish"]),
    ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)", HARD, ["HardSwish"]),
    ("a = Add(x, three) b = Clip(a, zero, six) c = Div(b, six) y = Mul(x, c)", HARD, ["HardSwish"]),
    ("a = Add(three, x) b = Relu(a) c = Min(b, six) d = Mul(c, sixth) y = Mul(d, x)", HARD, ["HardSwish"]),
    ("a = Mul(x, sixth) b = Add(x, three) c = Clip(b, zero, six) y = Mul(a, c)", HARD, ["HardSwish"]),
    ("a = HardSigmoid <alpha = 0.16666667> (x) y = Mul(x, a)", {}, ["HardSwish"]),
    ("a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)", HARD, ["HardSigmoid"]),
    ("a = Div(x, root2) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half)", GELU, ["Gelu"]),
    ("a = Div(x, root2) b = Erf(a) c = Add(one, b) d = Mul(half, x) y = Mul(d, c)", GELU, ["Gelu"]),
    ("a = Div(x, root2) b = Erf(a) c = Add(b, one) d = Mul(c, half) y = Mul(x, d)", GELU, ["Gelu"]),
    (
        (
            "a = Pow(x, p) b = Mul(a, cubic) c = Add(x, b) d = Mul(c, k) e = Tanh(d) f = Add(e, one)"
            " g = Mul(x, half) y = Mul(g, f)"
        ),
        GELU,
        ["Gelu"],
    ),
    ("a = Max(x, zero) y = Min(a, six)", HARD, ["Clip"]),
    ("a = Min(x, six) y = Relu(a)", HARD, ["Clip"]),
    ("a = Clip(x, zero, six) y = Clip(a, three)", HARD, ["Clip"]),
    ("a = Relu(x) y = Relu(a)", {}, ["Relu"]),
    ("a = Mul(x, half) y = Max(x, a)", GELU, ["LeakyRelu"]),
    (
        (
            "m = ReduceMean <axes = [-1]> (x) d = Sub(x, m) q = Pow(d, two) v = ReduceMean <axes = [-1]> (q)"
            " e = Add(v, eps) r = Sqrt(e) n = Div(d, r) o = Mul(n, s) y = Add(o, b)"
        ),
        NORM,
        ["LayerNormalization"],
    ),
    (
        (
            "m = ReduceMean <axes = [1, 2]> (x) d = Sub(x, m) q = Mul(d, d)"
            " v = ReduceMean <axes = [-2, -1]> (q)"
            " e = Add(eps, v) r = Sqrt(e)"
            " i = Reciprocal(r) y = Mul(d, i)"
        ),
        NORM,
        ["LayerNormalization"],
    ),
]

RESEMBLING: list[tuple[str, dict[str, Any], str]] = [
    ("a = Sigmoid(x) b = Relu(x) y = Mul(b, a)", {}, "Silu"),
    ("a = Sigmoid(x) b = Mul(x, a) y = Add(a, b)", {}, "Silu"),
    ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, three)", HARD, "HardSwish"),
    ("a = Add(x, six) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)", HARD, "HardSwish"),
    ("a = Add(x, three) b = Clip(a, zero, three) y = Div(b, six)", HARD, "HardSigmoid"),
    ("a = Div(x, root2) b = Erf(a) c = Add(b, half) d = Mul(x, c) y = Mul(d, half)", GELU, "Gelu"),
    ("a = Mul(x, p) y = Max(x, a)", GELU, "LeakyRelu"),
    (
        (
            "m = ReduceMean <axes = [1]> (x) d = Sub(x, m) q = Pow(d, two) v = ReduceMean <axes = [1]> (q)"
            " e = Add(v, eps) r = Sqrt(e) y = Div(d, r)"
        ),
        NORM,
        "LayerNormalization",
    ),
    (
        (
            "m = ReduceMean <axes = [2]> (x) d = Sub(x, m) q = Pow(d, two) v = ReduceMean <axes = [1, 2]> (q)"
            " e = Add(v, eps) r = Sqrt(e) y = Div(d, r)"
        ),
        NORM,
        "LayerNormalization",
    ),
]


def model(body: str, constants: Any) -> Any:
    return parse(f"g (float[2,3,5] x) => (float[2,3,5] y) {{ {body} }}", 17, constants)


@pytest.mark.parametrize(("body", "constants", "ops"), FOUND)
def test_pattern_is_recognised(body: str, constants: Any, ops: list[str]) -> None:
    given = model(body, constants)
    graph = run_passes(to_graph(load_onnx(given)))
    assert operators(graph) == ops
    assert_equivalent(given, graph)


@pytest.mark.parametrize(("body", "constants", "op"), RESEMBLING)
def test_resemblance_is_not_enough(body: str, constants: Any, op: str) -> None:
    given = model(body, constants)
    graph = run_passes(to_graph(load_onnx(given)))
    assert op not in operators(graph)
    assert_equivalent(given, graph, tolerance=2e-6)
