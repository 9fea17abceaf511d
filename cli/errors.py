"""Which errors are the user's business, and the one line that says so."""

from __future__ import annotations

from sanderling.runtime.errors import SanderlingError

# Module → the extra that brings it. A missing one is the commonest mistake after `pip install sanderling`.
_EXTRAS = {
    "tvm": "compile",
    "onnx": "compile",
    "onnxruntime": "onnx",
    "cv2": "images",
    "matplotlib": "bench",
    "torch": "pytorch",
}


class CommandError(SanderlingError):
    """The command cannot do what it was asked."""


def explain(error: Exception) -> str | None:
    """One line for `error`, or None if it is a bug of ours that deserves its traceback."""
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").split(".")[0]
        if module in _EXTRAS:
            return f"this needs {module}: pip install 'sanderling[{_EXTRAS[module]}]'"
        return None
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if isinstance(error, SanderlingError | MemoryError):
        return " ".join(str(error).split()) or type(error).__name__
    return None
