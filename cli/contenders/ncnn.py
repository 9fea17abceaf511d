"""ncnn on the CPU, in single precision, with Winograd and blocked layouts.

Its tensors have no batch dimension. Nothing is computed before an output is asked for, so all of them are.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .loaded import Loaded, RefusedError, Request

MODULES = ("ncnn",)
_MOST_DIMENSIONS = 4
_SETTINGS = {
    "lightmode": True,
    "use_winograd_convolution": True,
    "use_sgemm_convolution": True,
    "use_packing_layout": True,
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_storage": False,
    "use_vulkan_compute": False,
}


def load(request: Request) -> Loaded:
    ncnn: Any = importlib.import_module("ncnn")
    net = ncnn.Net()
    settings = {**_SETTINGS, "num_threads": request.threads}
    for name, value in settings.items():
        setattr(net.opt, name, value)
    param, weights = map(str, request.files)
    if net.load_param(param) != 0 or net.load_model(weights) != 0:
        raise RefusedError("ncnn cannot load the converted model")
    mats = [_mat(ncnn, array) for array in request.feeds.values()]
    inputs, outputs = list(net.input_names()), list(net.output_names())
    if len(inputs) != len(mats):
        raise RefusedError(f"the converted model has {len(inputs)} inputs, not {len(mats)}")

    def run() -> list[Any]:
        extractor = net.create_extractor()
        for name, mat in zip(inputs, mats, strict=True):
            extractor.input(name, mat)
        return [_output(extractor, name) for name in outputs]

    return Loaded(run, outputs, ncnn.__version__, settings)


def _mat(ncnn: Any, array: Any) -> Any:
    """The input without its batch dimension, in memory that is aligned as ncnn likes it."""
    if array.dtype != np.float32:
        raise RefusedError(f"ncnn takes float32 inputs only, not {array.dtype}")
    if array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim > _MOST_DIMENSIONS or array.ndim == 0:
        raise RefusedError(f"ncnn has no tensors of {array.ndim} dimensions")
    return ncnn.Mat(np.ascontiguousarray(array)).clone()


def _output(extractor: Any, name: str) -> Any:
    code, mat = extractor.extract(name)
    if code != 0:
        raise RuntimeError(f"ncnn cannot compute {name!r} (code {code})")
    return np.array(mat)
