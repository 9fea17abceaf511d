"""What every runtime's module gives: a model that runs, and what the benchmark says about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


def ordered(feeds: Arrays, inputs: Sequence[Collection[str]]) -> list[Any]:
    """The arrays in the order of a runtime's inputs, each of which has one name, several, or none of ours.

    By name where all are known, otherwise as they come. Raises RefusedError for another number of them.
    """
    if len(inputs) != len(feeds):
        raise RefusedError(f"the model has {len(inputs)} inputs here, not {len(feeds)}")
    known = [next((name for name in names if name in feeds), None) for names in inputs]
    if None in known or len(set(known)) < len(known):
        return list(feeds.values())
    return [feeds[name] for name in known if name is not None]
