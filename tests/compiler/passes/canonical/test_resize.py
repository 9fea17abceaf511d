"""Resize: one scale for each dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical, ints

F = np.float32

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        'g (float[1,2,4,6] x) => (float[1,2,7,12] y) { y = Resize <mode = "linear"> (x, , , s) }',
        13,
        {"s": ints(1, 2, 7, 12)},
        ["Resize"],
        {
            "mode": "linear",
            "coordinate_transformation_mode": "half_pixel",
            "nearest_mode": "round_prefer_floor",
            "scales": (1.0, 1.0, 1.75, 2.0),
            "antialias": 0,
            "cubic_coeff_a": -0.75,
            "exclude_outside": 0,
            "extrapolation_value": 0.0,
            "roi": (),
        },
    ),
    (
        "g (float[1,2,4,6] x) => (float[1,2,8,12] y) { y = Resize <axes = [2, 3]> (x, , s) }",
        18,
        {"s": F([2, 2])},
        ["Resize"],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "half_pixel",
            "nearest_mode": "round_prefer_floor",
            "scales": (1.0, 1.0, 2.0, 2.0),
            "antialias": 0,
            "cubic_coeff_a": -0.75,
            "exclude_outside": 0,
            "extrapolation_value": 0.0,
            "roi": (),
        },
    ),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
