"""ONNX Runtime on the CPU.

Graph optimisations are all on and its threads spin between operators, as shipped. Inputs are read in place;
binding inputs and outputs in advance was tried: on small models it gains less than a hundredth.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from .loaded import Loaded, RefusedError, Request

MODULES = ("onnxruntime",)
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(request: Request) -> Loaded:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    (path,) = request.files
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes share no other base
        raise RefusedError(str(error)) from error
    names = [value.name for value in session.get_outputs()]
    feeds = request.feeds
    settings = {"graph_optimization_level": "all", "execution_mode": "sequential", "spinning": True}
    return Loaded(lambda: session.run(None, feeds), names, onnxruntime.__version__, settings)
