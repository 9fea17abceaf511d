"""What every runtime's module gives: a model that runs, and what the benchmark says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arrays import Arrays


class RefusedError(Exception):
    """The runtime cannot run this model, or not on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to load. `files` are the runtime's own; `variant` is for ours only."""

    files: Sequence[Path]
    threads: int
    feeds: Arrays
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model.

    `run` computes all outputs once from the inputs that were given at loading, whose transfer into the
    runtime is part of the run, and returns them as arrays, in the model's order. `names` are the runtime's
    own names of them. `settings` is what was set on the runtime beyond its defaults.
    """

    run: Callable[[], Sequence[Any]]
    names: Sequence[str]
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
