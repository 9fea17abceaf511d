"""Turns are fair, outputs are compared, and a contender that fails says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sanderling.cli.contender import save_arrays
from sanderling.cli.contest import Entry, Limits, measure, relative_error
from sanderling.cli.errors import CommandError

FEEDS = {"image": np.ones((1, 3, 8, 8), np.float32)}


def test_two_contenders_get_the_same_number_of_runs(tiny_onnx: Path) -> None:
    entries = [Entry("first", "onnxruntime", tiny_onnx), Entry("second", "onnxruntime", tiny_onnx)]
    first, second = measure(entries, 1, Limits(runs=40), FEEDS)
    assert (first.latency.runs, second.latency.runs) == (40, 40)
    assert first.error == 0.0
    assert second.error is None
    assert 0 < first.latency.p50_ms < 1000
    assert first.peak_bytes > 10_000_000
    assert first.row()["runtime"] == "first"


def test_time_limit_is_per_contender(tiny_onnx: Path) -> None:
    (result,) = measure([Entry("one", "onnxruntime", tiny_onnx)], 1, Limits(seconds=0.2), FEEDS)
    assert 0.2 <= sum(result.milliseconds) / 1000 < 2


def test_feeds_that_do_not_fit_are_an_error(tiny_onnx: Path) -> None:
    with pytest.raises(CommandError, match=r"one: .*picture"):
        measure([Entry("one", "onnxruntime", tiny_onnx)], 1, Limits(runs=1), {"picture": FEEDS["image"]})


@pytest.mark.parametrize(("content", "cause"), [(b"", "bad"), (b"not a model", "bad")], ids=["empty", "text"])
def test_failure_names_the_contender(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=rf"^{cause}: "):
        measure([Entry("bad", "onnxruntime", path)], 1, Limits(runs=1), FEEDS)


def test_a_contender_that_dies_is_reported(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CommandError, match=r"one: the measuring process died \(exit 1"):
        measure([Entry("one", "onnxruntime", tiny_onnx)], 1, Limits(runs=1), FEEDS)


def test_contender_answers_errors_and_goes_on() -> None:
    requests = [{"do": "run", "runs": 1, "seconds": 1}, {"do": "dance"}, {"do": "memory"}]
    done = subprocess.run(
        [sys.executable, "-m", "sanderling.cli.contender"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0] == {"error": "ValueError: nothing is loaded"}
    assert answers[1] == {"error": "KeyError: 'dance'"}
    assert answers[2]["peak_bytes"] > 0


def test_relative_error_is_of_the_largest_value() -> None:
    reference = {"a": np.array([1.0, -4.0]), "b": np.array([0.5])}
    found = {"a": np.array([1.0, -4.2]), "b": np.array([0.5])}
    assert relative_error(found, reference) == pytest.approx(0.05)


def test_relative_error_needs_the_same_shapes() -> None:
    with pytest.raises(CommandError, match=r"output 'a': shape \(2,\), not \(3,\)"):
        relative_error({"a": np.zeros(2)}, {"a": np.zeros(3)})


@pytest.mark.parametrize(("found", "reference"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf)])
def test_nan_is_no_small_error(found: float, reference: float) -> None:
    with pytest.raises(CommandError, match="NaN or infinity"):
        relative_error({"a": np.array([found, 1.0])}, {"a": np.array([reference, 1.0])})


def test_nan_in_both_is_passed_over() -> None:
    assert relative_error({"a": np.array([np.nan, 2.2])}, {"a": np.array([np.nan, 2.0])}) == pytest.approx(
        0.1
    )


def test_arrays_of_any_name_can_be_stored(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), np.float16), "": np.zeros(1)}
    save_arrays(tmp_path / "x.npz", arrays)
    with np.load(tmp_path / "x.npz") as stored:
        assert all(np.array_equal(stored[name], value) for name, value in arrays.items())
