"""Convolution and pooling: windows spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical

F = np.float32
W = {"w": np.arange(2 * 3 * 9, dtype=F).reshape(2, 3, 3, 3) / 50}
WINDOW = {"strides": (1, 1), "dilations": (1, 1)}

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        (
            "g (float[1,3,5,6] x) "
            '=> (float[1,2,3,3] y) { y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) }'
        ),
        11,
        W,
        ["Conv"],
        {"kernel_shape": (3, 3), "strides": (2, 2), "dilations": (1, 1), "pads": (1, 0, 1, 1), "group": 1},
    ),
    (
        (
            "g (float[1,3,5,6] x) "
            '=> (float[1,2,3,3] y) { y = Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w) }'
        ),
        11,
        W,
        ["Conv"],
        {"kernel_shape": (3, 3), "strides": (2, 2), "dilations": (1, 1), "pads": (1, 1, 1, 0), "group": 1},
    ),
    (
        'g (float[1,3,5,6] x) => (float[1,2,3,4] y) { y = Conv <auto_pad = "VALID"> (x, w) }',
        17,
        W,
        ["Conv"],
        {"kernel_shape": (3, 3), **WINDOW, "pads": (0, 0, 0, 0), "group": 1},
    ),
    (
        "g (float[1,4,9] x) => (float[1,4,9] y) { y = Conv <pads = [1, 1], group = 4> (x, w) }",
        17,
        {"w": np.ones((4, 1, 3), F)},
        ["Conv"],
        {"kernel_shape": (3,), "strides": (1,), "dilations": (1,), "pads": (1, 1), "group": 4},
    ),
    (
        (
            "g (float[1,2,4,4] x) "
            "=> (float[1,3,8,8] y) { y = ConvTranspose <strides = [2, 2], output_shape = [8, 8]> (x, w) }"
        ),
        11,
        W,
        ["ConvTranspose"],
        {
            "kernel_shape": (3, 3),
            "strides": (2, 2),
            "dilations": (1, 1),
            "pads": (1, 1, 0, 0),
            "group": 1,
            "output_padding": (0, 0),
        },
    ),
    (
        (
            "g (float[1,2,5,5] x) => (float[1,2,3,3] y) { "
            "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x) }"
        ),
        12,
        {},
        ["MaxPool"],
        {"kernel_shape": (2, 2), "strides": (2, 2), "dilations": (1, 1), "pads": (0, 0, 1, 1)},
    ),
    (
        (
            "g (float[1,2,5,5] x) => (float[1,2,3,3] y) { "
            "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x) }"
        ),
        12,
        {},
        ["AveragePool"],
        {
            "kernel_shape": (2, 2),
            "strides": (2, 2),
            "dilations": (1, 1),
            "pads": (0, 0, 1, 1),
            "count_include_pad": 0,
        },
    ),
    (
        (
            "g (float[1,2,6,6] x) => (float[1,2,4,4] y) { "
            "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], "
            "pads = [1, 1, 1, 1], ceil_mode = 1, count_include_pad = 1> (x) }"
        ),
        22,
        {},
        ["Pad", "AveragePool"],
        {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "value": 0.0, "mode": "constant"},
    ),
    (
        "g (float[1,2,5,5] x) => (float[1,2,1,1] y) { y = AveragePool <kernel_shape = [5, 5]> (x) }",
        17,
        {},
        ["GlobalAveragePool"],
        {},
    ),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
