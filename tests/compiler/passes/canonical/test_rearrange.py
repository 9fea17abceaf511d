"""Depth and space, and normalisation of instances and groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical

F = np.float32
SCALE, BIAS = np.linspace(0.5, 2, 6, dtype=F), np.linspace(-1, 1, 6, dtype=F)
MOVE = ["Reshape", "Transpose", "Reshape"]

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        "g (float[2,12,3,4] x) => (float[2,3,6,8] y) { y = DepthToSpace <blocksize = 2> (x) }",
        13,
        {},
        MOVE,
        {"shape": (2, 2, 2, 3, 3, 4)},
    ),
    (
        'g (float[2,12,3,4] x) => (float[2,3,6,8] y) { y = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }',
        13,
        {},
        MOVE,
        {"shape": (2, 3, 2, 2, 3, 4)},
    ),
    (
        "g (float[2,3,6,8] x) => (float[2,12,3,4] y) { y = SpaceToDepth <blocksize = 2> (x) }",
        13,
        {},
        MOVE,
        {"shape": (2, 3, 3, 2, 4, 2)},
    ),
    (
        "g (float[2,6,3,4] x) => (float[2,6,3,4] y) { y = InstanceNormalization <epsilon = 0.01> (x, s, b) }",
        13,
        {"s": SCALE, "b": BIAS},
        ["Reshape", "LayerNormalization", "Reshape", "Mul", "Add"],
        {"shape": (2, 6, 12)},
    ),
    (
        (
            "g (float[2,6,5] x, float[6] s, float[6] b) "
            "=> (float[2,6,5] y) { y = InstanceNormalization(x, s, b) }"
        ),
        22,
        {},
        ["Reshape", "LayerNormalization", "Reshape", "Reshape", "Reshape", "Mul", "Add"],
        {"shape": (2, 6, 5)},
    ),
    (
        "g (float[2,6,3,4] x) => (float[2,6,3,4] y) { y = GroupNormalization <num_groups = 3> (x, s, b) }",
        21,
        {"s": SCALE, "b": BIAS},
        ["Reshape", "LayerNormalization", "Reshape", "Mul", "Add"],
        {"shape": (2, 3, 24)},
    ),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
