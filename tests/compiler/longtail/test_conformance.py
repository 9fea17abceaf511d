"""ONNX's own tests of its operators, each node lowered and run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sanderling.compiler.errors import UnsupportedError
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, run_graph
from tests.compiler.test_conformance import agrees, cases, feeds, graph_of

SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))

# What TVM computes otherwise: floating-point remainders of infinities, and without `fmod` ONNX has none.
OTHERWISE = ("test_mod_float_edge_cases_fmod_0",)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("every", "at_least"), [(150, 5), pytest.param(1, 850, marks=SLOW)])
def test_operators_compute_what_onnx_expects(every: int, at_least: int, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    wrong = []
    for number, (case, model) in enumerate(cases(every)):
        graph = None if case.name.startswith(OTHERWISE) else graph_of(model)
        inputs = None if graph is None else feeds(case, graph)
        if graph is None or inputs is None:
            outcomes["refused"] += 1
            continue
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        try:
            target = find_target(TARGETS[number % len(TARGETS)])
            found = graph.real(run_graph(graph, arrays, target, tmp_path))
        except UnsupportedError:
            outcomes["unsupported"] += 1
            continue
        expected = zip(graph.results, case.data_sets[0][1], strict=True)
        if all(agrees(found[name], value) for name, value in expected):
            outcomes["right"] += 1
        else:
            wrong.append(case.name)
    assert wrong == []
    assert outcomes["right"] >= at_least, outcomes
