"""Latency figures agree with numpy's for any times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.statistics import Latency, percentile

TIMES = st.lists(st.floats(min_value=1e-3, max_value=1e4), min_size=1, max_size=200)


@given(TIMES, st.floats(min_value=0, max_value=1))
def test_percentile_is_numpys(times: list[float], share: float) -> None:
    assert percentile(sorted(times), share) == pytest.approx(np.percentile(times, 100 * share), rel=1e-9)


@given(TIMES)
def test_figures_are_in_order_and_consistent(times: list[float]) -> None:
    latency = Latency.of(times)
    assert latency.runs == len(times)
    assert latency.min_ms <= latency.p50_ms <= latency.p90_ms <= latency.p99_ms <= max(times)
    assert latency.mean_ms == pytest.approx(np.mean(times))
    assert latency.throughput == pytest.approx(1000 / latency.mean_ms)


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="no runs"):
        Latency.of([])
