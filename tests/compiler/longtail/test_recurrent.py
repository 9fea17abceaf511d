"""RNN, GRU and LSTM against ONNX Runtime: both directions, states given or not, any outputs asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanderling.compiler.errors import UnsupportedError
from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.longtail import lower_node
from sanderling.compiler.passes import run_passes
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, run_graph

STEPS, BATCH, WIDTH, SIZE = 5, 2, 3, 7
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
F = np.float32


def model_of(op: str, outputs: str = "yh", *, states: bool = False, **attributes: Any) -> onnx.ModelProto:
    """`outputs`: of y, h, c, those that are asked for."""
    rng = np.random.default_rng(3)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[op] * SIZE
    weights = {
        "w": rng.standard_normal((directions, gates, WIDTH)).astype(F),
        "r": rng.standard_normal((directions, gates, SIZE)).astype(F) * F(0.3),
        "b": rng.standard_normal((directions, 2 * gates)).astype(F),
    }
    state = (directions, BATCH, SIZE)
    inputs = (
        ["x", "w", "r", "b", ""] + (["h0"] if states else []) + (["c0"] if states and op == "LSTM" else [])
    )
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, BATCH, WIDTH])]
    values += [helper.make_tensor_value_info(name, TensorProto.FLOAT, state) for name in inputs[5:]]
    names = [name if name in outputs else "" for name in "yhc"[: 3 if op == "LSTM" else 2]]
    node = helper.make_node(op, inputs, names, hidden_size=SIZE, **attributes)
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([node], "g", values, results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize(
    ("op", "outputs", "extra"),
    [
        ("RNN", "yh", {"direction": "bidirectional"}),
        ("RNN", "y", {"activations": ["Relu"], "states": True}),
        ("GRU", "yh", {"direction": "reverse", "linear_before_reset": 1}),
        ("GRU", "h", {"direction": "bidirectional", "states": True}),
        ("LSTM", "yhc", {"direction": "bidirectional", "states": True}),
        ("LSTM", "c", {"direction": "reverse"}),
    ],
)
def test_agrees_with_onnxruntime(op: str, outputs: str, extra: dict[str, Any], tmp_path: Path) -> None:
    model = model_of(op, outputs, **extra)
    graph = run_passes(to_graph(load_onnx(model)))
    rng = np.random.default_rng(5)
    feeds = {name: rng.standard_normal(graph.types[name].shape).astype(F) for name in graph.inputs}
    found = run_graph(graph, feeds, find_target(TARGETS[-1]), tmp_path)
    for name, want in run_onnxruntime(model, feeds).items():
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [({"clip": 1.0}, "clip"), ({"activations": ["Sigmoid", "Elu", "Tanh"]}, "activations Elu")],
)
def test_what_has_no_kernel_is_named(extra: dict[str, Any], reason: str) -> None:
    graph = run_passes(to_graph(load_onnx(model_of("LSTM", **extra))))
    (node,) = graph.nodes
    with pytest.raises(UnsupportedError, match=reason):
        lower_node(graph, node, find_target(TARGETS[-1]), "k")
