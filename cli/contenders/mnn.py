"""MNN on the CPU, in single precision, with all the memory that it likes for Winograd.

Inputs are copied into its own layout and outputs out of it: that is part of every run.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .loaded import Loaded, RefusedError, Request, ordered

MODULES = ("MNN",)
_RELEASE = 1  # Session_Release: no hooks between operators


def load(request: Request) -> Loaded:
    mnn: Any = importlib.import_module("MNN")
    settings = {
        "backend": "CPU",
        "precision": "high",
        "memory": "high",
        "power": "high",
        "numThread": request.threads,
    }
    (path,) = request.files
    interpreter = mnn.Interpreter(str(path))
    interpreter.setSessionMode(_RELEASE)
    session = interpreter.createSession(settings)
    tensors = interpreter.getSessionInputAll(session)
    arrays = ordered(request.feeds, [{name} for name in tensors])
    inputs = [
        (tensor, _input(mnn, tensor, array)) for tensor, array in zip(tensors.values(), arrays, strict=True)
    ]
    outputs = {
        name: (tensor, _empty(mnn, tensor))
        for name, tensor in interpreter.getSessionOutputAll(session).items()
    }

    def run() -> list[Any]:
        for tensor, host in inputs:
            tensor.copyFrom(host)
        interpreter.runSession(session)
        for tensor, host in outputs.values():
            tensor.copyToHostTensor(host)
        return [host.getNumpyData() for _, host in outputs.values()]

    return Loaded(run, list(outputs), mnn.version(), settings)


def _input(mnn: Any, tensor: Any, array: Any) -> Any:
    return mnn.Tensor(
        tensor.getShape(), tensor.getDataType(), np.ascontiguousarray(array), mnn.Tensor_DimensionType_Caffe
    )


def _empty(mnn: Any, tensor: Any) -> Any:
    """Where an output goes, in ONNX's layout."""
    shape = tensor.getShape()
    dtype = {mnn.Halide_Type_Float: np.float32, mnn.Halide_Type_Int: np.int32}.get(tensor.getDataType())
    if dtype is None:
        raise RefusedError("an output is neither float32 nor int32")
    return mnn.Tensor(shape, tensor.getDataType(), np.zeros(shape, dtype), mnn.Tensor_DimensionType_Caffe)
