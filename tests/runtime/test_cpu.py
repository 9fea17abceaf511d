"""The number of threads when nobody says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sanderling.runtime.cpu import default_threads


@pytest.mark.parametrize(
    ("siblings", "allowed", "quota", "threads"),
    [
        ({0: "0", 1: "1"}, {0, 1}, "max 100000\n", 2),
        ({0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}, {0, 1, 4, 5}, "max 100000\n", 2),
        ({0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}, {0, 4}, "max 100000\n", 1),
        ({0: "0", 1: "1", 2: "2", 3: "3"}, {0, 1, 2, 3}, "150000 100000\n", 2),
        ({0: "0", 1: "1", 2: "2", 3: "3"}, {0, 1, 2, 3}, "50000 100000\n", 1),
        ({0: "0", 1: "1", 2: "2", 3: "3"}, {1, 3}, "", 2),
        ({}, {0, 1, 2}, "nonsense", 3),
        ({}, {7}, "1 0", 1),
    ],
)
def test_physical_cores_of_the_affinity_within_the_quota(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    siblings: dict[int, str],
    allowed: set[int],
    quota: str,
    threads: int,
) -> None:
    for cpu, shared in siblings.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(shared + "\n")
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    assert default_threads(tmp_path, tmp_path / "cpu.max") == threads


def test_this_machine() -> None:
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))
