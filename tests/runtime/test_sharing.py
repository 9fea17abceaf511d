"""Many models in one process: one pool of threads, nothing left behind, and what a fork does to them."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanderling import SanderlingError, load
from tests.support.tiny_package import write_affine

ROUNDS = [100, pytest.param(1000, marks=pytest.mark.slow)]


def workers() -> int:
    """Threads of our pools in this process."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:  # it has just ended
            continue
    return sum(name.startswith("sanderling-") for name in names)


def holdings() -> dict[str, int]:
    """What this process has: files, mappings, threads, and memory of its own in kB."""
    status = Path("/proc/self/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("Private_"))
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "mappings": len(Path("/proc/self/maps").read_text().splitlines()),
        "threads": workers(),
        "memory": private,
    }


def assert_no_growth(work: Callable[[], None], rounds: int) -> None:
    """What leaks grows every time; what else this process does (other tests have run in it) grows once."""
    for _ in range(50):  # allocators and caches fill up first
        work()
    growths = []
    for _ in range(3):
        gc.collect()
        before = holdings()
        for _ in range(rounds):
            work()
        gc.collect()
        after = holdings()
        assert after["files"] == before["files"]
        assert after["threads"] == before["threads"]
        assert after["mappings"] <= before["mappings"] + 8
        growths.append(after["memory"] - before["memory"])
        if growths[-1] < max(rounds, 512):  # 1 kB each at most
            return
    raise AssertionError(f"memory grew each time, by {growths} kB")


def feeds(seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((1, 3, 8, 8), np.float32)}


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_model_that_is_loaded_run_and_closed_leaves_nothing_behind(affine_path: Path, rounds: int) -> None:
    def work() -> None:
        with load(affine_path, backend="native", threads=2) as model:
            model.run(feeds())

    assert_no_growth(work, rounds)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_what_is_refused_leaves_nothing_behind(affine_path: Path, tmp_path: Path, rounds: int) -> None:
    """A wrong byte in the code, in the plan, in the manifest, at the end; and a variant that is not there."""
    whole = affine_path.read_bytes()
    refused = []
    for number, marker in enumerate((b"\x7fELF", b"SNDPLAN", b'"format"', b"PK\x05\x06")):
        data = bytearray(whole)
        data[data.index(marker) + len(marker) + 20 * (marker in (b"\x7fELF", b"SNDPLAN"))] ^= 0x55
        refused.append(tmp_path / f"{number}.sand")
        refused[-1].write_bytes(data)

    def work() -> None:
        for path in refused:
            with pytest.raises(SanderlingError):
                load(path, backend="native", threads=2)
        with pytest.raises(SanderlingError):
            load(affine_path, backend="native", variant="no-such")

    assert_no_growth(work, rounds // 5)


def test_models_with_the_same_number_of_threads_share_their_workers(affine_path: Path) -> None:
    before = workers()
    models = [load(affine_path, backend="native", threads=3) for _ in range(5)]
    assert workers() == before + 2
    other = load(affine_path, backend="native", threads=2)
    assert workers() == before + 3
    for model in models[:-1]:
        model.close()
    assert workers() == before + 3
    models[-1].close()
    other.close()
    assert workers() == before


def test_models_without_a_number_of_threads_share_their_workers(affine_path: Path) -> None:
    with load(affine_path, backend="native") as one:
        alone = workers()
        with load(affine_path, backend="native") as other:
            assert one.threads == other.threads
            assert workers() == alone


def test_many_threads_run_many_models_with_the_results_of_one(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "affine.sand")
    inputs = [feeds(seed) for seed in range(6)]
    with load(path, backend="native", threads=1) as alone:
        expected = [alone.run(feed) for feed in inputs]
    before = workers()
    models = [load(path, backend="native", threads=4) for _ in inputs]
    wrong: list[int] = []
    most = [0]
    done = [0] * len(models)

    def run(index: int) -> None:
        for _ in range(300):
            found = models[index].run(inputs[index])
            if any(not np.array_equal(a, b) for a, b in zip(found, expected[index], strict=True)):
                wrong.append(index)
            done[index] += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(models))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most[0] = max(most[0], workers())
        threads[0].join(0.001)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert done == [300] * len(models)
    assert most[0] <= before + 3
    for model in models:
        model.close()


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_runs_is_told_so_and_can_load_its_own(
    affine_path: Path, backend: Any
) -> None:
    model = load(affine_path, backend=backend, threads=2)
    stop = threading.Event()
    runner = threading.Thread(target=lambda: [model.run(feeds()) for _ in iter(stop.is_set, True)])
    runner.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                os._exit(_in_child(model, affine_path, backend))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        runner.join()
        model.close()


def _in_child(model: Any, path: Path, backend: Any) -> int:
    """0 if all is as it should be."""
    try:
        model.run(feeds())
        return 1
    except SanderlingError as error:
        if "forked" not in str(error):
            return 2
    model.close()
    with load(path, backend=backend, threads=2) as own:
        return 0 if own.run(feeds())[0].shape == (1, 3, 8, 8) else 3
