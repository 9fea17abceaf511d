"""Front ends: a module for each kind of model file, each one function from a file to a checked ONNX model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ._inputs import InputSpec
from .onnx import OnnxModel, load_onnx, portable
from .pytorch import is_exported_program, load_pytorch

__all__ = ["InputSpec", "OnnxModel", "load", "load_onnx", "load_pytorch", "portable"]


def load(
    source: Any, *, inputs: Mapping[str, InputSpec] | None = None, example_inputs: Any = None
) -> OnnxModel:
    """Load a model of any kind that a front end knows: ONNX (path, bytes, message) or PyTorch.

    Raises ModelError, CompileError as `load_onnx` and `load_pytorch` do.
    """
    if isinstance(source, str | Path) and is_exported_program(Path(source)):
        _refuse_examples(example_inputs, "an exported program")
        path = Path(source)
        model = load_onnx(load_pytorch(path), inputs=inputs)
        return replace(model, name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    if _is_pytorch(source):
        proto = load_pytorch(source, example_inputs)
        return replace(load_onnx(proto, inputs=inputs), name=type(source).__name__)
    _refuse_examples(example_inputs, "an ONNX model")
    return load_onnx(source, inputs=inputs)


def _is_pytorch(source: object) -> bool:
    torch = sys.modules.get("torch")  # whoever has such an object has imported it
    return torch is not None and isinstance(source, torch.nn.Module | torch.export.ExportedProgram)


def _refuse_examples(example_inputs: Any, what: str) -> None:
    if example_inputs is not None:
        raise ModelError(f"example_inputs are for a PyTorch module; {what} says itself what it takes")
