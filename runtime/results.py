"""What a model gives back besides arrays: detections, where its nodes run, and how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Detection(NamedTuple):
    """One object: `box` is (x1, y1, x2, y2) in pixels of the frame, `score` 0…1, `label` a class index."""

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


class Placement(NamedTuple):
    """Where one node runs: `backend` is ``native`` or ``onnxruntime``, `kind` the template or operator."""

    node: str
    backend: str
    kind: str


class ProfileRow(NamedTuple):
    """Median wall time of one call, in microseconds."""

    node: str
    kind: str
    microseconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Times of every call, in the order of execution. `str(profile)` is a table, slowest first."""

    rows: tuple[ProfileRow, ...]
    runs: int

    @classmethod
    def of_runs(cls, calls: Iterable[tuple[str, str]], runs: Sequence[Sequence[float]]) -> Profile:
        """From (node, kind) of each call and, per run, the microseconds of each call."""
        medians = np.median(np.asarray(runs, np.float64), axis=0).tolist()
        rows = (ProfileRow(*call, time) for call, time in zip(calls, medians, strict=True))
        return cls(tuple(rows), len(runs))

    @property
    def microseconds(self) -> float:
        """Sum over all calls."""
        return sum(row.microseconds for row in self.rows)

    def __str__(self) -> str:
        total = self.microseconds or 1.0
        width = max((len(row.node) for row in self.rows), default=4)
        lines = [f"{'µs':>10}  {'%':>5}  {'node':<{width}}  kind"]
        for row in sorted(self.rows, key=lambda row: -row.microseconds):
            share = 100 * row.microseconds / total
            lines.append(f"{row.microseconds:10.1f}  {share:5.1f}  {row.node:<{width}}  {row.kind}")
        lines.append(f"{self.microseconds:10.1f}  100.0  all, median of {self.runs} runs")
        return "\n".join(lines)
