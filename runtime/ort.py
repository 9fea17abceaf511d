"""ONNX Runtime, imported with its telemetry off."""

from __future__ import annotations

import os
from types import ModuleType


def onnxruntime_module() -> ModuleType:
    """ONNX Runtime without its telemetry, which would leave an identifier of the device in the user's cache.

    Raises ImportError if it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    module: ModuleType = onnxruntime
    return module
