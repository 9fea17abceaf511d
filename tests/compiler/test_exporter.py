"""Graph → ONNX: whole graphs and single nodes, valid for ONNX's own checker."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from sanderling.compiler.errors import UnsupportedError
from sanderling.compiler.evaluate import run_onnxruntime, run_reference
from sanderling.compiler.exporter import node_graph, to_onnx
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.models import zoo
from tests.support.graphs import imported, parse, random_feeds, simplified

BODY = """g (float[1,3,6,6] x) => (float[1,5] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    b = Sigmoid(a)
    c = Mul(a, b)
    d = ReduceMean <axes = [2, 3], keepdims = 0> (c)
    y = MatMul(d, m)
}"""
CONSTANTS = {"w": np.ones((4, 3, 3, 3), np.float32), "m": np.ones((4, 5), np.float32)}


@pytest.mark.parametrize("name", zoo.names())
def test_exported_zoo_model_is_valid_before_and_after_passes(name: str) -> None:
    before = to_graph(load_onnx(zoo.materialize(name)))
    for graph in (before, run_passes(before)):
        onnx.checker.check_model(to_onnx(graph), full_check=True)


def test_every_node_alone_computes_what_it_does_in_the_graph() -> None:
    graph = simplified(BODY, constants=CONSTANTS)
    values = random_feeds({"x": graph.types["x"]})
    for node in graph.nodes:
        alone = node_graph(graph, node)
        model = to_onnx(alone)
        onnx.checker.check_model(model, full_check=True)
        values |= run_onnxruntime(model, {name: values[name] for name in alone.inputs})
    whole = run_onnxruntime(to_onnx(graph), {"x": values["x"]})
    np.testing.assert_allclose(values["y"], whole["y"], rtol=1e-5)


def test_names_made_for_the_export_are_new() -> None:
    graph = simplified(
        "g (float[2,3] x) => (float[3,2] reshape_0_shape) { reshape_0_shape = Reshape(x, s) }",
        constants={"s": np.array([3, 2])},
    )
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.output[0].name == "reshape_0_shape"


def test_reference_computes_constants() -> None:
    found = run_reference(
        parse("g () => (float[2] y) { y = Add(a, a) }", constants={"a": np.float32([1, 2])})
    )
    np.testing.assert_array_equal(found["y"], [2, 4])


def test_other_domains_are_not_exported() -> None:
    model = parse("g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }")
    model.opset_import.append(helper.make_opsetid("custom", 1))
    model.graph.node[0].domain = "custom"
    with pytest.raises(UnsupportedError, match="operator domain"):
        to_onnx(to_graph(load_onnx(model)))


def test_imported_graph_is_exported_in_the_models_own_version() -> None:
    graph = imported(BODY, opset=13, constants=CONSTANTS)
    model = to_onnx(graph)
    assert model.opset_import[0].version == 13
    onnx.checker.check_model(model, full_check=True)
