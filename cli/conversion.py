"""From ONNX to what a peer loads, with the peer's own converter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.cli.tools import ToolError, last_words, run_tool

SECONDS = 300.0
"""That a conversion may take."""

Feeds = Mapping[str, npt.NDArray[Any]]
Convert = Callable[[Path, Path, Feeds, Path], tuple[Path, ...]]
"""(Python of the peers, ONNX file, inputs, empty folder) → the files to load. Raises ToolError."""

# As pnnx writes the element types of inputs.
_PNNX_TYPES = {"float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "uint8": "u8"}
_FIND_PNNX = "import importlib.util; print(*importlib.util.find_spec('pnnx').submodule_search_locations)"
# The converter itself: the script around it calls home, and installs what it needs for that where it is run.
_CONVERT_MNN = "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"


def unchanged(python: Path, onnx: Path, feeds: Feeds, folder: Path) -> tuple[Path, ...]:
    """For those that read ONNX."""
    return (onnx,)


def to_ncnn(python: Path, onnx: Path, feeds: Feeds, folder: Path) -> tuple[Path, ...]:
    """By pnnx, weights in single precision. It names its output after its input, and ends well regardless."""
    copy = folder / "model.onnx"
    copy.symlink_to(onnx.resolve())
    shapes = ",".join(_pnnx_shape(array) for array in feeds.values())
    program = Path(run_tool([python, "-I", "-c", _FIND_PNNX], timeout=60).strip()) / "pnnx"
    said = run_tool([program, copy.name, f"inputshape={shapes}", "fp16=0"], cwd=folder, timeout=SECONDS)
    return _written((folder / "model.ncnn.param", folder / "model.ncnn.bin"), said)


def to_mnn(python: Path, onnx: Path, feeds: Feeds, folder: Path) -> tuple[Path, ...]:
    """By MNN's converter, weights in single precision."""
    path = folder / "model.mnn"
    options = ["-f", "ONNX", "--modelFile", onnx, "--MNNModel", path, "--bizCode", "bench"]
    said = run_tool([python, "-I", "-c", _CONVERT_MNN, *options], cwd=folder, timeout=SECONDS)
    return _written((path,), said)


def _pnnx_shape(array: npt.NDArray[Any]) -> str:
    kind = _PNNX_TYPES.get(np.dtype(array.dtype).name)
    if kind is None:
        raise ToolError(f"pnnx takes no {array.dtype} inputs", crashed=False)
    return f"[{','.join(map(str, array.shape))}]{kind}"


def _written(paths: tuple[Path, ...], said: str) -> tuple[Path, ...]:
    for path in paths:
        if not path.exists():
            raise ToolError(f"no {path.name} was written: {last_words(said)}", crashed=False)
    return paths
