"""Every operator of the table computes what ONNX Runtime computes, at any address and with any partition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes.canonicalize import canonicalize
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, run_graph
from tests.compiler.longtail.table import Case, elementwise, movement, normalization, windows


def model_of(case: Case) -> onnx.ModelProto:
    """One node. Constants whose name is blank are optional inputs left out."""
    outputs = [f"y{k}" for k in range(case.outputs)]
    names = [name.strip() for name in (*case.inputs, *case.constants)]
    graph = helper.make_graph(
        [helper.make_node(case.op, names, outputs, **case.attributes)],
        "case",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in case.inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in case.constants.items() if name.strip()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=10)


def with_output_types(model: onnx.ModelProto, outputs: dict[str, Any]) -> onnx.ModelProto:
    """Shape inference does not know every operator, but whoever has run the model knows."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    del typed.graph.output[:]
    for name, array in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        typed.graph.output.append(helper.make_tensor_value_info(name, kind, array.shape))
    return typed


def rows() -> Iterator[Any]:
    """Each case on one target; the slow suite also on the others."""
    for number, case in enumerate([*elementwise(), *normalization(), *movement(), *windows()]):
        for turn, target in enumerate(TARGETS):
            marks = () if turn == number % len(TARGETS) else (pytest.mark.slow,)
            yield pytest.param(case, target, id=f"{number}-{case}-{target}", marks=marks)


@pytest.mark.parametrize(("case", "target"), list(rows()))
def test_agrees_with_onnxruntime(case: Case, target: str, tmp_path: Path) -> None:
    model = model_of(case)
    feeds = dict(case.inputs)
    expected = run_onnxruntime(model, feeds)
    graph = canonicalize(to_graph(load_onnx(with_output_types(model, expected))))
    found = run_graph(graph, feeds, find_target(target), tmp_path)
    for name, want in expected.items():
        assert found[name].dtype == want.dtype
        assert found[name].shape == want.shape
        exact = want.dtype.kind not in "f"
        tolerance = 0.0 if exact else 1e-3 if want.dtype == np.float16 else 1e-5
        scale = 1.0 if exact else max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0)))
        np.testing.assert_allclose(found[name], want, rtol=tolerance, atol=tolerance * 0.1 * scale)
