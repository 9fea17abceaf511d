"""What canonicalize refuses, and what it does with operators that have no rule of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sanderling.compiler.errors import UnsupportedError
from sanderling.compiler.graph import Graph
from sanderling.compiler.passes.canonicalize import canonicalize
from tests.support.graphs import imported

F = np.float32

UNSUPPORTED: list[tuple[str, int, dict[str, Any], str]] = [
    (
        (
            "g (float[1,2,4,4] x) "
            "=> (float[1,2,2,2] y, int64[1,2,2,2] i) { y, i = MaxPool <kernel_shape = [3, 3]> (x) }"
        ),
        13,
        {},
        "places of the maxima",
    ),
    (
        (
            "g (float[1,2] x) "
            "=> (float[1,2] y) { y, m, n = BatchNormalization <training_mode = 1> (x, s, s, s, s) }"
        ),
        15,
        {"s": np.ones(2, F)},
        "training",
    ),
    ("g (float[2] x, float[1] s) => (float[2] y) { y, m = Dropout(x) }", 13, {}, "mask"),
    ("g (float[2] x, bool t) => (float[2] y) { y = Dropout(x, r, t) }", 13, {"r": F(0.5)}, "training"),
]


@pytest.mark.parametrize(("body", "opset", "constants", "reason"), UNSUPPORTED)
def test_what_no_form_can_say_is_unsupported(body: str, opset: int, constants: Any, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        canonicalize(imported(body, opset, constants))


def test_other_operators_get_every_attribute_written_out() -> None:
    graph: Graph = canonicalize(
        imported("g (float[2,4] x) => (float[2,4] y) { y = LpNormalization <axis = 0> (x) }")
    )
    assert dict(graph.nodes[0].attributes) == {"axis": 0, "p": 2}
