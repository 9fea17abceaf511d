"""Element-wise operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical

F = np.float32

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        "g (float[3] x) => (float[3] y) { y = Clip(x, a, b) }",
        13,
        {"a": F(-1), "b": F(6)},
        ["Clip"],
        {"min": -1.0, "max": 6.0},
    ),
    (
        "g (float[3] x) => (float[3] y) { y = Clip(x, , b) }",
        13,
        {"b": F(6)},
        ["Clip"],
        {"min": -math.inf, "max": 6.0},
    ),
    ("g (float[3] x) => (float[3] y) { y = Clip(x, a) }", 13, {"a": F(0)}, ["Relu"], {}),
    ("g (float[3] x) => (float[3] y) { y = Clip(x) }", 13, {}, ["Identity"], {}),
    ("g (float[3] x, float a, float b) => (float[3] y) { y = Clip(x, a, b) }", 13, {}, ["Max", "Min"], {}),
    ("g (float[3] x, float b) => (float[3] y) { y = Clip(x, , b) }", 13, {}, ["Min"], {}),
    (
        "g (int32[3] x) => (int32[3] y) { y = Clip(x, a) }",
        13,
        {"a": np.int32(0)},
        ["Clip"],
        {"min": 0.0, "max": math.inf},
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { y = PRelu(x, s) }",
        13,
        {"s": F([0.25])},
        ["LeakyRelu"],
        {"alpha": 0.25},
    ),
    ("g (float[2,3] x) => (float[2,3] y) { y = PRelu(x, s) }", 13, {"s": np.ones(3, F)}, ["PRelu"], {}),
    ("g (float[3] x) => (float[3] y) { y = Add(c, x) }", 13, {"c": np.ones(3, F)}, ["Add"], {}),
    ("g (float[3] x) => (float[3] y) { y = Sub(x, c) }", 13, {"c": np.ones(3, F)}, ["Add"], {}),
    ("g (float[3] x) => (float[3] y) { y = Sub(c, x) }", 13, {"c": np.ones(3, F)}, ["Sub"], {}),
    ("g (float[3] x) => (float[3] y) { y = Div(x, c) }", 13, {"c": F(3)}, ["Mul"], {}),
    ("g (float[3] x) => (float[3] y) { y = Div(x, c) }", 13, {"c": F(0)}, ["Div"], {}),
    ("g (float[3] x) => (float[3] y) { y = Div(x, c) }", 13, {"c": F(3e38)}, ["Div"], {}),
    ("g (int32[3] x) => (int32[3] y) { y = Div(x, c) }", 13, {"c": np.int32(3)}, ["Div"], {}),
    ("g (float[3] x) => (float[3] y) { y = Pow(x, c) }", 13, {"c": F(2)}, ["Mul"], {}),
    ("g (float[3] x) => (float[3] y) { y = Pow(x, c) }", 13, {"c": F(3)}, ["Mul", "Mul"], {}),
    ("g (float[3] x) => (float[3] y) { y = Sum(x, x, c) }", 13, {"c": np.ones(3, F)}, ["Add", "Add"], {}),
    ("g (float[3] x, float[2,3] z) => (float[2,3] y) { y = Mean(x, z) }", 13, {}, ["Add", "Mul"], {}),
    ("g (float[3] x) => (float[3] y) { y = Max(x) }", 13, {}, ["Identity"], {}),
    ("g (float[3] x) => (float[3] y) { y = Dropout(x) }", 11, {}, ["Identity"], {}),
    (
        "g (float[3] x) => (float[3] y) { y = Dropout(x, r, t) }",
        13,
        {"r": F(0.5), "t": np.array(False)},
        ["Identity"],
        {},
    ),
    ("g (float[3] x) => (double[3] y) { y = Cast <to = 11> (x) }", 13, {}, ["Cast"], {"to": 11}),
    ("g (float[3] x) => (float[3] y) { y = Cast <to = 1> (x) }", 13, {}, ["Identity"], {}),
    (
        "g (float[3] x) => (float[3] y) { y = LeakyRelu(x) }",
        13,
        {},
        ["LeakyRelu"],
        {"alpha": pytest.approx(0.01)},
    ),
    (
        "g (float[3] x) => (float[3] y) { y = HardSigmoid(x) }",
        13,
        {},
        ["HardSigmoid"],
        {"alpha": pytest.approx(0.2), "beta": 0.5},
    ),
    ("g (float[3] x) => (float[3] y) { y = Gelu(x) }", 20, {}, ["Gelu"], {"approximate": "none"}),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
