"""What a caller asks of `compile`, checked before any work begins."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from .errors import CompileError
from .package import check_identity
from .pipeline import check_labels
from .target import Target, find_target

Tune = Literal["none", "quick", "full"]

_MAX_DOCUMENT = 1 << 20  # bytes of a pipeline file; the manifest that it goes into has no more
_MAX_THREADS = 256


@dataclass(frozen=True)
class Request:
    """The checked arguments of `compile`; its documentation says what they mean."""

    output: Path
    targets: tuple[Target, ...]
    tune: Tune
    threads: int
    pipeline: Mapping[str, Any] | None
    labels: tuple[str, ...] | None
    name: str
    version: str
    budget_ms: float | None
    max_error: float
    verify: bool


def make_request(
    model: object,
    *,
    output: str | Path,
    target: str | Sequence[str],
    tune: str,
    threads: int,
    pipeline: Mapping[str, Any] | str | Path | None,
    labels: Sequence[str] | None,
    name: str | None,
    version: str,
    budget_ms: float | None,
    max_error: float,
    verify: bool,
) -> Request:
    """Check the arguments. Raises CompileError for the first that cannot be meant; OSError."""
    source = Path(model) if isinstance(model, str | Path) else None
    request = Request(
        output=_output(Path(output), source),
        targets=_targets((target,) if isinstance(target, str) else tuple(target)),
        tune=_tune(tune),
        threads=threads,
        pipeline=_document(pipeline) if isinstance(pipeline, str | Path) else pipeline,
        labels=check_labels(labels) if labels is not None else None,
        name=_name(source) if name is None else name,
        version=version,
        budget_ms=budget_ms,
        max_error=max_error,
        verify=verify,
    )
    check_identity(request.name, request.version)
    if not 1 <= threads <= _MAX_THREADS:
        raise CompileError(f"threads: {threads}; allowed are 1 to {_MAX_THREADS}")
    if math.isnan(max_error) or max_error < 0:
        raise CompileError(f"max_error: {max_error}; a number of at least 0 is needed")
    if budget_ms is not None and not budget_ms > 0:
        raise CompileError(f"budget_ms: {budget_ms}; a positive number is needed")
    if budget_ms is not None and not verify:
        raise CompileError("a budget is checked when results are verified: leave out the budget, or verify")
    return request


def _output(path: Path, source: Path | None) -> Path:
    if path.is_dir():
        raise CompileError(f"{path} is a folder; name a file such as {path / 'model.sand'}")
    if not path.parent.is_dir():
        raise CompileError(f"{path.parent} is no folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise CompileError(f"{path.parent} is not writable")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise CompileError(f"{path} is the model itself; name another output")
    return path


def _targets(names: tuple[str, ...]) -> tuple[Target, ...]:
    if not names:
        raise CompileError("no target; name at least one, such as host")
    return tuple({found.name: found for found in map(find_target, names)}.values())


def _tune(value: str) -> Tune:
    if value not in get_args(Tune):
        raise CompileError(f"tune: {value!r}; allowed: {', '.join(get_args(Tune))}")
    return cast(Tune, value)


def _document(path: str | Path) -> Any:
    with open(path, "rb") as file:
        data = file.read(_MAX_DOCUMENT + 1)
    if len(data) > _MAX_DOCUMENT:
        raise CompileError(f"{path} has more than {_MAX_DOCUMENT} bytes; it is no pipeline document")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CompileError(f"{path} is not JSON: {error}") from None


def _name(source: Path | None) -> str:
    """A model name from the file's: what a package does not allow becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", source.stem if source else "model")[:64] or "model"
