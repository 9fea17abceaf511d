"""The reference: ONNX Runtime on seeded inputs, and how far other outputs are from its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.runtime.ort import onnxruntime_module

from .errors import CompileError
from .graph import TensorType

Array = npt.NDArray[Any]

_IMAGE_CELLS = 8  # of the smooth part of a made image, along each side
_IMAGE_NOISE = 24.0  # bytes, on top of it


def make_inputs(
    types: Mapping[str, TensorType], *, seed: int = 0, pipeline: Mapping[str, Any] | None = None
) -> dict[str, Array]:
    """Inputs that a model may meet, the same for the same seed.

    The input that a (checked) pipeline fills gets a smooth, noisy image; others get standard normal values,
    0–255 for bytes, and 0 or 1 where integers may be indices.
    """
    rng = np.random.default_rng(seed)
    image = pipeline["input"] if pipeline else {"name": None}
    return {
        name: _image(rng, type_.shape, image) if name == image["name"] else _values(rng, type_)
        for name, type_ in types.items()
    }


def _values(rng: np.random.Generator, type_: TensorType) -> Array:
    dtype = np.dtype(type_.dtype)
    if dtype.kind in "fV":
        return np.asarray(rng.standard_normal(type_.shape), dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, type_.shape, dtype, endpoint=True)
    return np.asarray(rng.integers(0, 2, type_.shape), dtype)


def _image(rng: np.random.Generator, shape: tuple[int, ...], stage: Mapping[str, Any]) -> Array:
    channels = len(stage["mean"])
    first = shape[1] == channels  # NCHW
    height, width = shape[2:] if first else shape[1:3]
    cells = rng.uniform(0, 255, (channels, _IMAGE_CELLS, _IMAGE_CELLS))
    rows, columns = (np.arange(size) * _IMAGE_CELLS // size for size in (height, width))
    pixels = cells[:, rows][:, :, columns] + rng.normal(0, _IMAGE_NOISE, (channels, height, width))
    pixels = np.clip(np.rint(pixels), 0, 255)
    mean, std = (np.asarray(stage[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    image = ((pixels - mean) / std).astype(np.float32)[np.newaxis]
    return np.ascontiguousarray(image if first else image.transpose(0, 2, 3, 1))


class Reference:
    """The model in ONNX Runtime on the CPU, with as many threads as asked for.

    Its threads do not spin between runs, so that what is measured in turn with it is not disturbed.
    Raises CompileError if ONNX Runtime is missing or cannot load the model.
    """

    def __init__(self, model_onnx: bytes, *, threads: int = 1) -> None:
        try:
            onnxruntime = onnxruntime_module()
        except ImportError:
            raise CompileError(
                "ONNX Runtime is needed to check the result: pip install 'sanderling[compile]'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; it also raises them
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model_onnx, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes share no other base
            raise CompileError(f"ONNX Runtime, the reference, cannot load the model: {error}") from error
        self.title = f"ONNX Runtime {onnxruntime.__version__}"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises CompileError if ONNX Runtime fails."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise CompileError(f"ONNX Runtime, the reference, cannot run the model: {error}") from error
        return dict(zip((output.name for output in self._session.get_outputs()), outputs, strict=True))

    def time(self, inputs: Mapping[str, Array], runs: int) -> list[float]:
        """Seconds of each run."""
        feeds = dict(inputs)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self._session.run(None, feeds)
            seconds.append(time.perf_counter() - start)
        return seconds


def largest_error(found: Array, wanted: Array) -> float:
    """max|found − wanted| ÷ max|wanted|, over finite wanted values; absolute where all of those are zero.

    Infinite if shapes differ, or if one has NaN, or an infinity, where the other does not.
    """
    if found.shape != wanted.shape:
        return float("inf")
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    difference = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    scale = float(np.max(np.abs(b[finite]), initial=0.0))
    return difference / scale if scale else difference
