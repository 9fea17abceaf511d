"""Matrix products and batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical

F = np.float32

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        "g (float[2,3] x) => (float[2,4] y) { y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b) }",
        13,
        {"w": np.ones((4, 3), F), "b": np.arange(4, dtype=F)},
        ["Dense"],
        {},
    ),
    (
        "g (float[3,2] x) => (float[2,4] y) { y = Gemm <transA = 1> (x, w, b) }",
        13,
        {"w": np.ones((3, 4), F), "b": np.ones((2, 1), F)},
        ["Transpose", "Dense", "Add"],
        {"perm": (1, 0)},
    ),
    (
        (
            "g (float[2,3] x, float[3,4] w, float[4] b) "
            "=> (float[2,4] y) { y = Gemm <alpha = 0.5, beta = 2.0> (x, w, b) }"
        ),
        13,
        {},
        ["Mul", "MatMul", "Mul", "Add"],
        {},
    ),
    (
        "g (float[5,2,3] x) => (float[5,2,4] y) { y = MatMul(x, w) }",
        13,
        {"w": np.ones((3, 4), F)},
        ["Dense"],
        {},
    ),
    (
        "g (float[2,3] x) => (float[4,3] y) { y = MatMul(w, x) }",
        13,
        {"w": np.ones((4, 2), F)},
        ["MatMul"],
        {},
    ),
    (
        "g (float[1,2,4,4] x) => (float[1,2,4,4] y) { y = BatchNormalization(x, s, b, m, v) }",
        11,
        dict.fromkeys("sbmv", np.array([1, 2], F)),
        ["Mul", "Add"],
        {},
    ),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
