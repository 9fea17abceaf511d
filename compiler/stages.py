"""How long each stage takes, told to whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and how much there is (0 where that is not known)."""


@dataclass
class Stages:
    """Seconds per stage, in order; a stage that comes again adds up."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.progress(stage, 0, 0)
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start
