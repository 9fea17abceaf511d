"""Front ends: a module for each kind of model file, each one function from a file to a checked ONNX model."""

from __future__ import annotations

from ._inputs import InputSpec
from .onnx import OnnxModel, load_onnx, portable

__all__ = ["InputSpec", "OnnxModel", "load_onnx", "portable"]
