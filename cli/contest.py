"""Runtimes measured in turns: a few runs of one, a pause, a few runs of the next, until the time is up.

What slows the machine for a while then slows all of them, so their ratio holds where their times do not. A
runtime that fails drops out with its reason; the others go on.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy.typing as npt

from sanderling.cli.agreement import TOLERANCE, Arrays, DisagreementError, relative_error
from sanderling.cli.child import OWN_PYTHON, Child, ContenderError
from sanderling.cli.contenders.arrays import load_arrays, save_arrays
from sanderling.cli.statistics import Latency

PAUSE_SECONDS = 0.05  # worker threads of the last one may still spin
TURN_SECONDS = 0.25
WARM_UP_SECONDS = 0.5
WARM_UP_RUNS = 50
STARTS = 3
INCOMPLETE = "incomplete: interrupted"
_LOAD_SECONDS = 300.0  # that loading may take, and a single run beyond its time
_REFERENCE = "onnxruntime"

Outcome = Literal["right", "wrong", "failed", "unsupported", "unchecked"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who takes part: a runtime, what it loads, and where it runs.

    `target` is our variant, or what a peer is held to (``native``: nothing). An entry with a `note` does not
    run at all: that is why (see `outcome`).
    """

    runtime: str
    files: tuple[Path, ...]
    target: str = "native"
    variant: str | None = None
    python: tuple[str | Path, ...] = OWN_PYTHON
    environment: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    note: str | None = None
    outcome: Outcome = "unsupported"

    @property
    def name(self) -> str:
        return self.runtime if self.target == "native" else f"{self.runtime} ({self.target})"


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: after `runs` runs or `seconds` seconds of running for each, whichever comes first.

    `starts` fresh processes give start-up times and memory.
    """

    runs: int = 1_000_000_000
    seconds: float = 10.0
    starts: int = STARTS

    @property
    def by_count(self) -> bool:
        """Whether a number of runs was asked for."""
        return self.runs < Limits().runs


@dataclass(frozen=True, slots=True)
class Start:
    """How a fresh process came to its first result: medians over several of them, and the most memory."""

    import_ms: float
    load_ms: float
    first_ms: float
    base_bytes: int
    peak_bytes: int

    @classmethod
    def of(cls, answers: Sequence[Mapping[str, Any]]) -> Start:
        """Raises ValueError for none."""
        return cls(
            import_ms=median(answer["import_ms"] for answer in answers),
            load_ms=median(answer["load_ms"] for answer in answers),
            first_ms=median(answer["first_ms"] for answer in answers),
            base_bytes=max(answer["base_bytes"] for answer in answers),
            peak_bytes=max(answer["peak_bytes"] for answer in answers),
        )

    def row(self) -> dict[str, Any]:
        """As the document names it."""
        total = self.import_ms + self.load_ms + self.first_ms
        return {
            "import_ms": round(self.import_ms, 3),
            "load_ms": round(self.load_ms, 3),
            "first_ms": round(self.first_ms, 3),
            "start_ms": round(total, 3),
            "peak_memory_bytes": self.peak_bytes,
            "base_memory_bytes": self.base_bytes,
        }


@dataclass(frozen=True)
class Result:
    """What one entry did. `error` is relative to the reference's largest output; None for the reference."""

    entry: Entry
    threads: int
    outcome: Outcome
    note: str | None = None
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    error: float | None = None
    start: Start | None = None
    milliseconds: tuple[float, ...] = field(default=(), repr=False)

    @property
    def measured(self) -> bool:
        """Whether there are times."""
        return bool(self.milliseconds)

    @property
    def latency(self) -> Latency:
        """Raises ValueError if nothing was measured."""
        return Latency.of(self.milliseconds)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a contest; `results` is what was measured until then."""

    def __init__(self, results: Sequence[Result]) -> None:
        super().__init__()
        self.results = tuple(results)


@dataclass
class _Participant:
    """An entry during the contest; `failure` ends its part in it."""

    entry: Entry
    child: Child | None = None
    start: Start | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: float | None = None
    outcome: Outcome = "right"
    note: str | None = None
    times: list[float] = field(default_factory=list)

    def drop(self, outcome: Outcome, note: str) -> None:
        self.outcome, self.note = outcome, " ".join(note.split())
        self.times.clear()
        self.end()

    def end(self) -> None:
        if self.child is not None:
            self.child.end()
            self.child = None

    def result(self, threads: int, note: str | None = None) -> Result:
        return Result(
            self.entry,
            threads,
            self.outcome,
            self.note or note,
            self.facts.get("version", self.entry.version),
            self.facts.get("settings", {}),
            self.error,
            self.start,
            tuple(self.times),
        )


def measure(
    entries: Sequence[Entry],
    threads: int,
    limits: Limits,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    reference: Arrays | str,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Result]:
    """Measure all entries on `feeds`, and check their outputs against `reference`.

    `reference` may also be the reason why there is none. Raises Interrupted on Ctrl-C.
    """
    note = progress or (lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="sanderling-bench-") as folder, ExitStack() as stack:
        feeds_path = Path(folder) / "feeds.npz"
        save_arrays(feeds_path, dict(feeds))
        people = [_Participant(entry) for entry in entries]
        for person in people:
            stack.callback(person.end)
            if person.entry.note is not None:
                person.drop(person.entry.outcome, person.entry.note)
        running = [person for person in people if person.entry.note is None]
        try:
            for index, person in enumerate(running):
                note(f"starting {person.entry.name}", index, len(running))
                _try(person, lambda p: _start(p, threads, limits, feeds_path))
            for person in running:
                _try(person, lambda p: _warm_up(p, threads, limits, feeds_path))
                _try(person, lambda p: _check(p, Path(folder) / "outputs.npz", reference))
            _take_turns(running, limits, note)
        except KeyboardInterrupt:
            measured = [person for person in people if person.times or person.entry.note is not None]
            raise Interrupted([p.result(threads, INCOMPLETE) for p in measured]) from None
        return [person.result(threads) for person in people]


def reference_outputs(path: Path, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays | str:
    """ONNX Runtime's outputs, with its optimisations as shipped; or why there are none."""
    with tempfile.TemporaryDirectory(prefix="sanderling-bench-") as name:
        folder = Path(name)
        save_arrays(folder / "feeds.npz", dict(feeds))
        try:
            with Child() as child:
                _load(child, Entry(_REFERENCE, (path,)), 1, folder / "feeds.npz")
                child.ask("save", path=str(folder / "outputs.npz"), timeout=_LOAD_SECONDS)
        except ContenderError as error:
            return f"no reference to check against: ONNX Runtime: {error}"
        return load_arrays(folder / "outputs.npz")


def _try(person: _Participant, step: Callable[[_Participant], None]) -> None:
    """Take a step, unless it dropped out before; or drop it out now."""
    if person.note is not None:
        return
    try:
        step(person)
    except ContenderError as error:
        person.drop("unsupported" if error.refused else "failed", str(error))


def _load(child: Child, entry: Entry, threads: int, feeds: Path) -> dict[str, Any]:
    return child.ask(
        "load",
        timeout=_LOAD_SECONDS,
        runtime=entry.runtime,
        files=[str(file) for file in entry.files],
        variant=entry.variant,
        threads=threads,
        cpus=_cpus(threads),
        feeds=str(feeds),
    )


def _start(person: _Participant, threads: int, limits: Limits, feeds: Path) -> None:
    """Fresh processes, one after the other and nothing else: start-up and memory."""
    answers = []
    for _ in range(limits.starts):
        with Child(person.entry.python, person.entry.environment) as child:
            answers.append(_load(child, person.entry, threads, feeds))
    person.start = Start.of(answers)


def _warm_up(person: _Participant, threads: int, limits: Limits, feeds: Path) -> None:
    person.child = Child(person.entry.python, person.entry.environment)
    person.facts = _load(person.child, person.entry, threads, feeds)
    _run(person.child, WARM_UP_RUNS, min(WARM_UP_SECONDS, limits.seconds))
    time.sleep(PAUSE_SECONDS)


def _check(person: _Participant, path: Path, reference: Arrays | str) -> None:
    """A wrong answer stays in the contest, marked."""
    assert person.child is not None
    person.child.ask("save", path=str(path), timeout=_LOAD_SECONDS)
    if person.entry.runtime == _REFERENCE and not isinstance(reference, str):
        return
    person.outcome, person.note, person.error = judge(load_arrays(path), reference)


def judge(outputs: Arrays, reference: Arrays | str) -> tuple[Outcome, str | None, float | None]:
    """Outcome, what is wrong, and error of outputs. A `reference` that is a text is the reason for none."""
    if isinstance(reference, str):
        return "unchecked", reference, None
    try:
        error = relative_error(outputs, reference)
    except DisagreementError as problem:
        return "wrong", str(problem), None
    if error > TOLERANCE:
        return "wrong", f"error {error:.1e} of the largest output, more than {TOLERANCE:g}", error
    return "right", None, error


def _take_turns(
    people: Sequence[_Participant], limits: Limits, progress: Callable[[str, int, int], None]
) -> None:
    while wanted := [person for person in people if person.child and _wanted(person.times, limits)]:
        for person in wanted:
            _turn(person, limits)
            time.sleep(PAUSE_SECONDS)
        shares = [max(sum(p.times) / 1000 / limits.seconds, len(p.times) / limits.runs) for p in wanted]
        progress("measuring in turns", min(100, int(100 * min(shares))), 100)


def _turn(person: _Participant, limits: Limits) -> None:
    assert person.child is not None
    seconds = min(TURN_SECONDS, limits.seconds - sum(person.times) / 1000)
    try:
        person.times += _run(person.child, limits.runs - len(person.times), seconds)
    except ContenderError as error:
        person.drop("failed", str(error))


def _run(child: Child, runs: int, seconds: float) -> list[float]:
    times: list[float] = child.ask("run", runs=runs, seconds=seconds, timeout=seconds + _LOAD_SECONDS)["ms"]
    return times


def _wanted(own: Sequence[float], limits: Limits) -> bool:
    return len(own) < limits.runs and sum(own) / 1000 < limits.seconds


def _cpus(threads: int) -> list[int]:
    """The last `threads` CPUs we may use: interrupts tend to go to the first. Empty: no pinning."""
    available = sorted(os.sched_getaffinity(0))
    return available[-threads:] if threads <= len(available) else []
