"""From ONNX's text form to our graph, and the question whether two of them compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from sanderling.compiler.evaluate import evaluate, run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.graph import Graph, TensorType
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.passes.canonicalize import OPSET, canonicalize
from sanderling.compiler.verifier import verify

Array = npt.NDArray[Any]


def parse(body: str, opset: int = 17, constants: Mapping[str, Array] | None = None) -> onnx.ModelProto:
    """A model from ONNX's text form: ``g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }``."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {body}')
    for name, array in (constants or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def imported(body: str, opset: int = 17, constants: Mapping[str, Array] | None = None) -> Graph:
    return to_graph(load_onnx(parse(body, opset, constants)))


def simplified(body: str, opset: int = 17, constants: Mapping[str, Array] | None = None) -> Graph:
    return run_passes(imported(body, opset, constants))


def operators(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def random_feeds(types: Mapping[str, TensorType], seed: int = 0) -> dict[str, Array]:
    """Normal values; small non-negative ones for integers."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, type_ in types.items():
        values = np.asarray(rng.standard_normal(type_.shape) * 2)
        kind = np.dtype(type_.dtype)
        feeds[name] = np.asarray(values if kind.kind == "f" else np.abs(values)).astype(kind)
    return feeds


def assert_equivalent(model: onnx.ModelProto, graph: Graph, tolerance: float = 1e-6) -> None:
    """Both give the same outputs, up to `tolerance` times the largest of each."""
    feeds = random_feeds({name: graph.types[name] for name in graph.inputs})
    expected, found = run_onnxruntime(model, feeds), evaluate(graph, feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert graph.types[name] == TensorType(str(array.dtype), array.shape)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        scale = max(1.0, float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array))))
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * scale)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def assert_canonical(
    body: str, opset: int, constants: Mapping[str, Array], ops: list[str], attributes: Mapping[str, Any]
) -> None:
    """Canonicalising gives these operators, the first one with these attributes, and the same values."""
    model = parse(body, opset, constants)
    graph = canonicalize(to_graph(load_onnx(model)))
    assert verify(graph, canonical=True) == []
    assert graph.opset == OPSET
    assert operators(graph) == ops
    assert dict(graph.nodes[0].attributes) == attributes
    assert_equivalent(model, graph)
