"""Reference interpreters: what a graph computes, by somebody else's code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from sanderling.runtime.ort import onnxruntime_module

from .exporter import to_onnx
from .graph import Array, Graph


def evaluate(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of the graph by name, what is real of them, computed by ONNX Runtime without optimisations."""
    return graph.real(run_onnxruntime(to_onnx(graph), feeds))


def run_onnxruntime(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of an ONNX model by name, by ONNX Runtime on one CPU thread without its optimisations."""
    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def run_reference(model: ModelProto) -> dict[str, Array]:
    """Outputs by name of an ONNX model without inputs, computed by ONNX's own reference.

    The reference is numpy: unlike native code it survives whatever a model file asks for, a division by zero
    for example. Its exceptions are passed on as they come.
    """
    with np.errstate(all="ignore"):
        outputs = ReferenceEvaluator(model).run(None, {})
    names = [output.name for output in model.graph.output]
    return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}
