"""Operators that move, cut, join or reduce."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graphs import assert_canonical, ints

F = np.float32

# body, version, constants, operators afterwards, attributes of the first of them
ROWS: list[tuple[str, int, dict[str, Any], list[str], dict[str, Any]]] = [
    (
        "g (float[1,2,5,5] x) => (float[1,2,1,1] y) { y = ReduceMean <axes = [-1, 2]> (x) }",
        13,
        {},
        ["GlobalAveragePool"],
        {},
    ),
    (
        "g (float[1,2,5,5] x) => (float[1,2] y) { y = ReduceMean <keepdims = 0> (x, a) }",
        18,
        {"a": ints(2, 3)},
        ["GlobalAveragePool", "Reshape"],
        {},
    ),
    (
        "g (float[2,3,4] x) => (float[2,1,1] y) { y = ReduceSum (x, a) }",
        13,
        {"a": ints(-1, 1)},
        ["ReduceSum"],
        {"axes": (1, 2), "keepdims": 1},
    ),
    (
        "g (float[2,3,4] x) => (float y) { y = ReduceMax <keepdims = 0> (x) }",
        11,
        {},
        ["ReduceMax"],
        {"axes": (0, 1, 2), "keepdims": 0},
    ),
    (
        "g (float[2,3,4] x) => (float[6,4] y) { y = Flatten <axis = -1> (x) }",
        13,
        {},
        ["Reshape"],
        {"shape": (6, 4)},
    ),
    (
        "g (float[2,3,4] x) => (float[2,12] y) { y = Reshape(x, s) }",
        13,
        {"s": ints(0, -1)},
        ["Reshape"],
        {"shape": (2, 12)},
    ),
    ("g (float[1,3,1] x) => (float[3] y) { y = Squeeze(x) }", 13, {}, ["Reshape"], {"shape": (3,)}),
    (
        "g (float[3] x) => (float[1,3,1] y) { y = Unsqueeze <axes = [0, -1]> (x) }",
        11,
        {},
        ["Reshape"],
        {"shape": (1, 3, 1)},
    ),
    (
        "g (float[3] x) => (float[1,3] y) { y = Unsqueeze(x, a) }",
        13,
        {"a": ints(0)},
        ["Reshape"],
        {"shape": (1, 3)},
    ),
    ("g (float[2,3] x) => (float[3,2] y) { y = Transpose(x) }", 13, {}, ["Transpose"], {"perm": (1, 0)}),
    (
        "g (float[1,3] x) => (float[2,3] y) { y = Expand(x, s) }",
        13,
        {"s": ints(2, 1)},
        ["Expand"],
        {"shape": (2, 3)},
    ),
    (
        "g (float[1,3] x) => (float[2,3] y) { y = Tile(x, s) }",
        13,
        {"s": ints(2, 1)},
        ["Tile"],
        {"repeats": (2, 1)},
    ),
    ("g (float[2,3] x) => (float[2,6] y) { y = Concat <axis = -1> (x, x) }", 13, {}, ["Concat"], {"axis": 1}),
    ("g (float[2,3] x) => (float[2,3] y) { y = Concat <axis = 0> (x) }", 13, {}, ["Identity"], {}),
    (
        "g (float[2,5] x) => (float[2,2] y, float[2,3] z) { y, z = Split <axis = -1, split = [2, 3]> (x) }",
        11,
        {},
        ["Split"],
        {"axis": 1, "split": (2, 3)},
    ),
    (
        "g (float[4] x) => (float[2] y, float[2] z) { y, z = Split(x) }",
        13,
        {},
        ["Split"],
        {"axis": 0, "split": (2, 2)},
    ),
    (
        "g (float[5] x) => (float[3] y, float[2] z) { y, z = Split <num_outputs = 2> (x) }",
        18,
        {},
        ["Split"],
        {"axis": 0, "split": (3, 2)},
    ),
    (
        "g (float[4,5] x) => (float[4,2] y) { y = Slice(x, b, e, a) }",
        13,
        {"b": ints(-3), "e": ints(-1), "a": ints(-1)},
        ["Slice"],
        {"starts": (2,), "ends": (4,), "axes": (1,), "steps": (1,)},
    ),
    (
        "g (float[4,5] x) => (float[4,3] y) { y = Slice(x, b, e, a, s) }",
        13,
        {"b": ints(0, -1), "e": ints(2**62, -(2**62)), "a": ints(0, 1), "s": ints(1, -2)},
        ["Slice"],
        {"starts": (4,), "ends": (-1,), "axes": (1,), "steps": (-2,)},
    ),
    (
        "g (float[4] x) => (float[4] y) { y = Slice(x, b, e) }",
        13,
        {"b": ints(0), "e": ints(99)},
        ["Identity"],
        {},
    ),
    (
        "g (float[4,5] x) => (float[4] y) { y = Gather <axis = -1> (x, i) }",
        13,
        {"i": np.array(-2)},
        ["Slice", "Reshape"],
        {"starts": (3,), "ends": (4,), "axes": (1,), "steps": (1,)},
    ),
    (
        "g (float[4,5] x, int64[2] i) => (float[4,2] y) { y = Gather <axis = -1> (x, i) }",
        13,
        {},
        ["Gather"],
        {"axis": 1},
    ),
    (
        "g (float[2,3] x) => (float[2,6] y) { y = Pad(x, p, v) }",
        13,
        {"p": ints(0, 1, 0, 2), "v": F(1.5)},
        ["Pad"],
        {"pads": (0, 1, 0, 2), "value": 1.5, "mode": "constant"},
    ),
    (
        'g (float[2,3] x) => (float[2,6] y) { y = Pad <mode = "edge"> (x, p, , a) }',
        18,
        {"p": ints(1, 2), "a": ints(-1)},
        ["Pad"],
        {"pads": (0, 1, 0, 2), "value": 0.0, "mode": "edge"},
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { y = Pad(x, p) }",
        13,
        {"p": ints(0, -1, 0, 1)},
        ["Slice", "Pad"],
        {"starts": (1,), "ends": (3,), "axes": (1,), "steps": (1,)},
    ),
    ("g (float[2,3] x) => (float[2,3] y) { y = Pad(x, p) }", 13, {"p": ints(0, 0, 0, 0)}, ["Identity"], {}),
    ("g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }", 13, {}, ["Softmax"], {"axis": 2}),
    (
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }",
        11,
        {},
        ["Reshape", "Softmax", "Reshape"],
        {"shape": (2, 12)},
    ),
    (
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = LogSoftmax <axis = -1> (x) }",
        11,
        {},
        ["LogSoftmax"],
        {"axis": 2},
    ),
    (
        "g (float[2,3] x) => (int64[2] y) { y = ArgMax <axis = -1, keepdims = 0> (x) }",
        11,
        {},
        ["ArgMax"],
        {"axis": 1, "keepdims": 0, "select_last_index": 0},
    ),
    (
        "g (float[2,3] x) => (float[2,3] y) { y = LayerNormalization(x, s) }",
        17,
        {"s": np.ones(3, F)},
        ["LayerNormalization"],
        {"axis": 1, "epsilon": pytest.approx(1e-5)},
    ),
]


@pytest.mark.parametrize(("body", "opset", "constants", "ops", "attributes"), ROWS)
def test_canonical_form(body: str, opset: int, constants: Any, ops: list[str], attributes: Any) -> None:
    assert_canonical(body, opset, constants, ops, attributes)
