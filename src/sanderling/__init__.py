"""Sanderling: compile a trained model once, run it at the edge."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime.errors import InputError as InputError
    from .runtime.errors import PackageError as PackageError
    from .runtime.errors import SanderlingError as SanderlingError
    from .runtime.errors import TargetError as TargetError
    from .runtime.loading import load as load
    from .runtime.model import Model as Model
    from .runtime.package import Package as Package
    from .runtime.results import Detection as Detection
    from .runtime.results import Placement as Placement
    from .runtime.results import Profile as Profile
    from .runtime.tensors import TensorSpec as TensorSpec

__version__ = "0.1.0"

# Imported when first used: the compiler and the command line do not load the native runtime for nothing.
_HOME = {
    "Detection": "results",
    "InputError": "errors",
    "Model": "model",
    "Package": "package",
    "PackageError": "errors",
    "Placement": "results",
    "Profile": "results",
    "SanderlingError": "errors",
    "TargetError": "errors",
    "TensorSpec": "tensors",
    "load": "loading",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".runtime.{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
