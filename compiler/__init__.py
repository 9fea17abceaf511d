"""The compiler: a trained model in, one package file out. Its stages are described in `docs/compiler.md`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .database import Database as Database
    from .driver import compile as compile  # noqa: A004 - the name that everybody expects
    from .errors import CompileError as CompileError
    from .errors import ModelError as ModelError
    from .errors import UnsupportedError as UnsupportedError
    from .report import Report as Report
    from .target import Target as Target
    from .target import find_target as find_target
    from .target import known_targets as known_targets

# Imported when first used: what only needs a target's name does not load ONNX.
_HOME = {
    "CompileError": "errors",
    "Database": "database",
    "ModelError": "errors",
    "Report": "report",
    "Target": "target",
    "UnsupportedError": "errors",
    "compile": "driver",
    "find_target": "target",
    "known_targets": "target",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
