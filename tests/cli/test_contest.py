"""Turns are fair, outputs are checked, and a runtime that fails says why while the others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sanderling.cli import contest
from sanderling.cli.contest import Entry, Interrupted, Limits, measure, reference_outputs

FEEDS = {"image": np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)}
QUICK = Limits(runs=8, starts=1)
Faker = Callable[..., Entry]


@pytest.fixture
def onnxruntime(tiny_onnx: Path) -> Entry:
    """The real thing."""
    return Entry("onnxruntime", (tiny_onnx,))


@pytest.fixture
def faulty(tmp_path: Path) -> Faker:
    """A contender that does what `source` says, in place of one that crashes, hangs or talks nonsense."""

    def make(source: str) -> Entry:
        program = tmp_path / "faulty"
        program.write_text(f"#!/usr/bin/env python3\nimport sys, time, os\n{source}\n")
        program.chmod(0o755)
        return Entry("faulty", (), python=(program,))

    return make


def test_contenders_get_the_same_number_of_runs(onnxruntime: Entry) -> None:
    first, second = measure(
        [onnxruntime, replace(onnxruntime, target="again")],
        1,
        Limits(runs=40, starts=2),
        FEEDS,
        reference={},
    )
    assert (first.latency.runs, second.latency.runs) == (40, 40)
    assert 0 < first.latency.p50_ms < 1000
    assert (first.outcome, first.error, first.note) == ("right", None, None)
    assert first.version
    assert first.settings["graph_optimization_level"] == "all"


def test_start_up_is_that_of_fresh_processes(onnxruntime: Entry) -> None:
    (result,) = measure([onnxruntime], 1, QUICK, FEEDS, reference={})
    start = result.start
    assert start is not None
    assert 10_000_000 < start.base_bytes < start.peak_bytes
    row = start.row()
    assert row["start_ms"] == pytest.approx(row["import_ms"] + row["load_ms"] + row["first_ms"], abs=0.01)


def test_time_limit_is_per_contender(onnxruntime: Entry) -> None:
    (result,) = measure([onnxruntime], 1, Limits(seconds=0.2, starts=1), FEEDS, reference={})
    assert 0.2 <= sum(result.milliseconds) / 1000 < 2


def test_our_package_is_checked_against_onnx_runtime(tiny_package: Path, tiny_onnx: Path) -> None:
    reference = reference_outputs(tiny_onnx, FEEDS)
    (result,) = measure([Entry("sanderling", (tiny_package,))], 1, QUICK, FEEDS, reference=reference)
    assert result.outcome == "right"
    assert result.error is not None
    assert 0 <= result.error <= 1e-4


def test_fast_wrong_answer_is_marked(tiny_package: Path) -> None:
    wrong = {"scores": np.array([[1.0, 2.0, 3.0]], np.float32)}
    (result,) = measure([Entry("sanderling", (tiny_package,))], 1, QUICK, FEEDS, reference=wrong)
    assert result.outcome == "wrong"
    assert "of the largest output" in str(result.note)
    assert result.measured


def test_answer_of_another_shape_is_wrong(tiny_package: Path) -> None:
    wrong = {"scores": np.zeros((1, 4), np.float32)}
    (result,) = measure([Entry("sanderling", (tiny_package,))], 1, QUICK, FEEDS, reference=wrong)
    assert (result.outcome, result.note) == ("wrong", "output 'scores': shape (1, 3), not (1, 4)")


def test_without_a_reference_nothing_is_called_right(tiny_package: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    reference = reference_outputs(broken, FEEDS)
    assert isinstance(reference, str)
    (result,) = measure([Entry("sanderling", (tiny_package,))], 1, QUICK, FEEDS, reference=reference)
    assert result.outcome == "unchecked"
    assert str(result.note).startswith("no reference to check against: ONNX Runtime: ")
    assert result.measured


@pytest.mark.parametrize("content", [b"", b"not a model"], ids=["empty", "text"])
def test_refused_model_is_unsupported_and_others_go_on(
    onnxruntime: Entry, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    bad, good = measure([Entry("onnxruntime", (path,)), onnxruntime], 1, QUICK, FEEDS, reference={})
    assert bad.outcome == "unsupported"
    assert bad.note
    assert not bad.measured
    assert good.outcome == "right"
    assert good.latency.runs == QUICK.runs


def test_variant_that_is_not_there_is_unsupported(tiny_package: Path) -> None:
    entry = Entry("sanderling", (tiny_package,), variant="z80")
    (result,) = measure([entry], 1, QUICK, FEEDS, reference={})
    assert result.outcome == "unsupported"
    assert "no variant 'z80'" in str(result.note)


def test_entry_with_a_reason_does_not_run() -> None:
    entry = Entry("nobody", (), python=("/nonexistent",), note="no way", outcome="failed", version="1.2")
    (result,) = measure([entry], 1, QUICK, FEEDS, reference={})
    assert (result.outcome, result.note, result.version) == ("failed", "no way", "1.2")


FAULTS = {
    "dies": ("sys.stdin.readline(); sys.exit('no space left')", "died (exit 1: no space left)"),
    "crashes": ("sys.stdin.readline(); os.abort()", "died (signal SIGABRT"),
    "silent": ("sys.stdin.readline(); os.close(1); time.sleep(60)", "closed its output"),
    "garbage": ("sys.stdin.readline(); print('hello', flush=True); time.sleep(60)", "answers b'hello'"),
    "no object": ("sys.stdin.readline(); print('[1]', flush=True); time.sleep(60)", "answers b'[1]'"),
    "hangs": ("time.sleep(60)", "no answer within 1 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_contender_fails_with_its_reason(
    faulty: Faker, onnxruntime: Entry, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reason = FAULTS[fault]
    bad = faulty(source)
    monkeypatch.setattr(contest, "_LOAD_SECONDS", 1.0 if fault == "hangs" else 60.0)
    (result,) = measure([bad], 1, QUICK, FEEDS, reference={})
    assert result.outcome == "failed"
    assert reason in str(result.note)


def test_missing_interpreter_fails_with_its_reason() -> None:
    entry = Entry("gone", (), python=("/nonexistent/python",))
    (result,) = measure([entry], 1, QUICK, FEEDS, reference={})
    assert (result.outcome, result.note) == (
        "failed",
        "cannot start /nonexistent/python: No such file or directory",
    )


def test_failure_in_the_middle_drops_the_times(faulty: Faker, onnxruntime: Entry) -> None:
    bad = faulty("""
import json
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "load":
        answer = {"version": "7", "settings": {}, "import_ms": 1, "load_ms": 1, "first_ms": 1,
                  "base_bytes": 1, "peak_bytes": 2}
    elif request["do"] == "run" and request["runs"] < 8:
        sys.exit("out of luck")
    elif request["do"] == "run":
        answer = {"ms": [1.0] * 4}
    else:
        import zipfile
        zipfile.ZipFile(request["path"], "w").close()
        answer = {}
    print(json.dumps(answer), flush=True)
""")
    first, second = measure([bad, onnxruntime], 1, QUICK, FEEDS, reference="none wanted")
    assert (first.outcome, first.measured, first.version) == ("failed", False, "7")
    assert "out of luck" in str(first.note)
    assert second.latency.runs == QUICK.runs


def test_interrupt_keeps_what_was_measured_and_ends_all_children(onnxruntime: Entry) -> None:
    earlier = _children()  # what other tests have started is not ours to end
    pids: set[int] = set()
    turns = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal turns
        turns += stage == "measuring in turns"
        if turns == 2:
            pids.update(_children() - earlier)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        measure([onnxruntime], 1, Limits(starts=1), FEEDS, reference={}, progress=progress)
    (result,) = caught.value.results
    assert result.measured
    assert result.note == "incomplete: interrupted"
    assert pids
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


def _children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    return set(map(int, tasks.read_text().split()))


def test_pinned_to_as_many_cpus_as_there_are_threads() -> None:
    available = sorted(os.sched_getaffinity(0))
    assert contest._cpus(1) == available[-1:]
    assert contest._cpus(len(available) + 1) == []


def test_pause_lies_between_turns(onnxruntime: Entry) -> None:
    began = time.monotonic()
    entries = [onnxruntime, replace(onnxruntime, target="again")]
    measure(entries, 1, Limits(seconds=0.3, starts=1), FEEDS, reference={})
    assert time.monotonic() - began > 2 * (0.3 + 2 * contest.PAUSE_SECONDS)
