"""OpenVINO on the CPU, in single precision (left alone it may take bfloat16), one request at a time.

Inputs are set once, on the arrays themselves, so that nothing is copied.
"""

from __future__ import annotations

import importlib
from typing import Any

from .loaded import Loaded, RefusedError, Request, ordered

MODULES = ("openvino",)


def load(request: Request) -> Loaded:
    openvino: Any = importlib.import_module("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": request.threads,
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    (path,) = request.files
    try:
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise RefusedError(str(error)) from error
    infer = compiled.create_infer_request()
    ports = [set(port.get_names()) for port in compiled.inputs]
    for index, array in enumerate(ordered(request.feeds, ports)):
        infer.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    outputs = range(len(compiled.outputs))

    def run() -> list[Any]:
        infer.infer()
        return [infer.get_output_tensor(index).data for index in outputs]

    names = [min(port.get_names(), default=f"output{index}") for index, port in enumerate(compiled.outputs)]
    return Loaded(run, names, openvino.get_version().split("-")[0], settings)
