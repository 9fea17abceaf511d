"""Factors of a matrix product's operands go behind it; what others read stays."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.graphs import assert_equivalent, operators, parse, simplified

F = np.float32
BOTH = (
    "g (float[2,5,4] a, float[2,3,4] b) => (float[2,5,3] y) "
    "{ p = Mul(a, s)  q = Mul(b, t)  r = Transpose <perm = [0, 2, 1]> (q)  y = MatMul(p, r) }"
)
LEFT = "g (float[5,4] a, float[4,3] b) => (float[5,3] y) { p = Mul(a, s)  y = MatMul(p, b) }"
SHARED = "g (float[4,4] a) => (float[4,4] y, float[4,4] p) { p = Mul(a, s)  y = MatMul(p, a) }"
PER_CHANNEL = "g (float[5,4] a, float[4,3] b) => (float[5,3] y) { p = Mul(a, c)  y = MatMul(p, b) }"


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        (BOTH, ["Transpose", "MatMul", "Mul"]),
        (LEFT, ["MatMul", "Mul"]),
        (SHARED, ["Mul", "MatMul"]),
        (PER_CHANNEL, ["Mul", "MatMul"]),
    ],
    ids=["both sides", "left side", "read elsewhere too", "not one number"],
)
def test_a_factor_goes_behind_the_product(body: str, ops: list[str]) -> None:
    constants = {"s": F(0.5), "t": F([[[3.0]]]), "c": np.arange(1, 5, dtype=F)}
    used = {name: array for name, array in constants.items() if f", {name})" in body}
    assert operators(simplified(body, 13, used)) == ops
    assert_equivalent(parse(body, 13, used), simplified(body, 13, used))
