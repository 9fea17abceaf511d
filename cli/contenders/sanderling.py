"""Sanderling, natively: never ONNX Runtime in its place."""

from __future__ import annotations

import importlib
from typing import Any

from .loaded import Loaded, RefusedError, Request

MODULES = ("sanderling.runtime.loading",)


def load(request: Request) -> Loaded:
    sanderling: Any = importlib.import_module("sanderling")
    (path,) = request.files
    try:
        model = sanderling.load(path, backend="native", threads=request.threads, variant=request.variant)
    except sanderling.SanderlingError as error:
        raise RefusedError(str(error)) from error
    feeds = request.feeds
    return Loaded(lambda: model.run(feeds), [spec.name for spec in model.outputs], sanderling.__version__)
