"""ONNX's own tests of its operators, through import, passes and export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from sanderling.compiler.errors import ModelError, UnsupportedError
from sanderling.compiler.evaluate import evaluate
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.frontends.onnx import OPSETS
from sanderling.compiler.graph import Graph
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes

# What ONNX Runtime itself computes otherwise than ONNX expects.
OTHERWISE = ("test_maxunpool_export_with_output_shape",)


def cases(every: int) -> Iterator[Any]:
    """Every so manieth case, in the newest version of the operators that we understand."""
    with np.errstate(all="ignore"):
        found = collect_testcases(None)
    for case in found[::every]:
        if case.model is None or case.name in OTHERWISE:
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        model.ir_version = 10
        for entry in model.opset_import:
            if entry.domain == "":
                entry.version = min(entry.version, OPSETS[-1])
        yield case, model


def graph_of(model: onnx.ModelProto) -> Graph | None:
    try:
        return run_passes(to_graph(load_onnx(model)))
    except (ModelError, UnsupportedError):
        return None


def feeds(case: Any, graph: Graph) -> dict[str, Any] | None:
    names = [value.name for value in case.model.graph.input]
    values = {
        name: value for name, value in zip(names, case.data_sets[0][0], strict=False) if name in graph.inputs
    }
    return values if all(isinstance(value, np.ndarray | np.generic) for value in values.values()) else None


def agrees(found: Any, expected: Any) -> bool:
    if not isinstance(expected, np.ndarray | np.generic):
        return True
    if np.asarray(expected).dtype.kind not in "fiub":
        return True
    scale = max(1.0, float(np.max(np.abs(np.asarray(expected, np.float64)), initial=0.0)))
    close = np.allclose(
        found, expected, rtol=1e-3, atol=1e-4 * (scale if np.isfinite(scale) else 1.0), equal_nan=True
    )
    return np.shape(found) == np.shape(expected) and close


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("every", "at_least"), [(10, 90), pytest.param(1, 1000, marks=pytest.mark.slow)])
def test_operators_compute_what_onnx_expects(every: int, at_least: int) -> None:
    outcomes: Counter[str] = Counter()
    wrong = []
    for case, model in cases(every):
        graph = graph_of(model)
        if graph is None:
            outcomes["refused"] += 1
            continue
        inputs = feeds(case, graph)
        try:
            found = evaluate(graph, inputs) if inputs is not None else None
        except Exception:  # ONNX Runtime has no kernel for some operators and types
            found = None
        if found is None:
            outcomes["not run"] += 1
        elif all(
            agrees(found[name], value)
            for name, value in zip(graph.results, case.data_sets[0][1], strict=True)
        ):
            outcomes["right"] += 1
        else:
            wrong.append(case.name)
    assert wrong == []
    assert outcomes["right"] >= at_least, outcomes
