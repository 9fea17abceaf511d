"""The numbers that every benchmark reports, from raw times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of `runs` runs, and runs per second when one follows the other."""

    runs: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    throughput: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """Raises ValueError if there is nothing to summarise."""
        if not milliseconds:
            raise ValueError("no runs were measured")
        ordered = sorted(milliseconds)
        mean = math.fsum(ordered) / len(ordered)
        p50, p90, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99))
        return cls(len(ordered), ordered[0], p50, p90, p99, mean, 1000.0 / mean if mean > 0 else math.inf)

    def rounded(self) -> dict[str, float]:
        """For JSON: microsecond precision is more than such times deserve."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie, linearly interpolated (as numpy's default)."""
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
