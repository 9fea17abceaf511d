"""Choosing configurations: database first, then measurement, then the template's own order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sanderling.compiler.codegen.select import TEMPLATES
from sanderling.compiler.codegen.tuning import Tuner
from sanderling.compiler.codegen.workload import Conv2d, Dense, GlobalPool, Window, Workload
from sanderling.compiler.database import Database
from sanderling.compiler.program import Program
from sanderling.compiler.target import find_target

TARGET = find_target("x86-64-v3")
WORK = Conv2d(1, 8, (1, 6, 6), 16, Window.of((3, 3), pads=(1, 1, 1, 1)), 1, False, True, ())
OTHERS: list[Workload] = [Dense(1, 8, 40, False, ()), GlobalPool("average", 1, 8, 9, ())]


def _works(*works: Workload) -> Any:
    return {str(work): (work, TEMPLATES[type(work)]) for work in works}


class _Clock:
    """Times for the calls of a trial program: what `best` names is quickest. Counts how often it is asked."""

    def __init__(self, best: str, lead: float = 0.5) -> None:
        self.best, self.lead, self.asked = best, lead, 0

    def __call__(self, program: Program) -> list[float]:
        self.asked += 1
        return [self.lead if call.kind == self.best else 1.0 for call in program.calls]


def _candidates() -> list[str]:
    return [str(config) for config in TEMPLATES[Conv2d].candidates(WORK, TARGET)]


def test_the_quickest_candidate_wins_and_is_remembered(tmp_path: Path) -> None:
    wanted = _candidates()[-1]
    clock = _Clock(wanted)
    database = Database.open(tmp_path / "tuning.jsonl")
    assert str(Tuner(TARGET, "full", database, clock)(_works(WORK, *OTHERS))[str(WORK)]) == wanted
    database.save()
    again = Tuner(TARGET, "full", Database.open(tmp_path / "tuning.jsonl"), clock)
    assert str(again(_works(WORK))[str(WORK)]) == wanted
    assert clock.asked == 1


def test_a_lead_within_the_noise_does_not_choose() -> None:
    first, *_, last = _candidates()
    chosen = Tuner(TARGET, "full", None, _Clock(last, lead=0.995))(_works(WORK))
    assert str(chosen[str(WORK)]) == first


def test_without_tuning_the_first_candidate_is_taken_and_nothing_is_measured() -> None:
    clock = _Clock(_candidates()[-1])
    assert str(Tuner(TARGET, "none", None, clock)(_works(WORK))[str(WORK)]) == _candidates()[0]
    assert clock.asked == 0


def test_a_choice_that_no_longer_exists_is_measured_anew(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "tuning.jsonl")
    database.record(str(WORK), TARGET.name, "99x99.row", {"99x99.row": 1e-6})
    wanted = _candidates()[1]
    assert str(Tuner(TARGET, "full", database, _Clock(wanted))(_works(WORK))[str(WORK)]) == wanted


def test_workloads_without_a_choice_are_not_measured() -> None:
    clock = _Clock("")
    chosen = Tuner(TARGET, "full", None, clock)(_works(GlobalPool("average", 1, 8, 9, ())))
    assert len(chosen) == 1
    assert clock.asked == 0
