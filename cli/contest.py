"""Runtimes measured in turns: a few runs of one, a pause, a few runs of the next, until the time is up.

What slows the machine for a while then slows all of them, so their ratio holds where their times do not.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.cli.contender import save_arrays
from sanderling.cli.errors import CommandError
from sanderling.cli.statistics import Latency
from sanderling.compiler.reference import largest_error

PAUSE_SECONDS = 0.05  # worker threads of the last one may still spin
TURN_SECONDS = 0.25
WARM_UP_SECONDS = 0.5
WARM_UP_RUNS = 50
_ENDING_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """Who takes part: a runtime, its file, and for a package the variant (None: the best here)."""

    name: str
    runtime: str
    path: Path
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: after `runs` runs or `seconds` seconds of running for each, whichever comes first."""

    runs: int = 1_000_000_000
    seconds: float = 10.0


@dataclass(frozen=True)
class Result:
    """What one entry did.

    `error` is its largest deviation from the last entry's outputs, relative to their largest magnitude; None
    for that reference itself.
    """

    entry: Entry
    version: str
    threads: int
    latency: Latency
    import_ms: float
    load_ms: float
    first_ms: float
    peak_bytes: int
    error: float | None
    milliseconds: tuple[float, ...] = field(repr=False)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "runtime": self.entry.name,
            "version": self.version,
            "threads": self.threads,
            **self.latency.rounded(),
            "import_ms": round(self.import_ms, 3),
            "load_ms": round(self.load_ms, 3),
            "first_ms": round(self.first_ms, 3),
            "peak_memory_bytes": self.peak_bytes,
            "error": self.error,
        }


class _Child:
    """A contender process, and its requests."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sanderling.cli.contender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise CommandError(f"{self.entry.name}: the measuring process died{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CommandError(f"{self.entry.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        _, errors = self._process.communicate()
        lines = errors.strip().splitlines()
        status = self._process.returncode
        return (
            f" ({f'signal {-status}' if status < 0 else f'exit {status}'}{': ' + lines[-1] if lines else ''})"
        )

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


def measure(
    entries: Sequence[Entry],
    threads: int,
    limits: Limits,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Result]:
    """Run all entries on `feeds` in turns, and check all outputs against the last entry's, the reference.

    Raises CommandError if an entry fails; its message names it.
    """
    with tempfile.TemporaryDirectory(prefix="sanderling-bench-") as folder, _children(entries) as children:
        feeds_path = Path(folder) / "feeds.npz"
        save_arrays(feeds_path, dict(feeds))
        loaded = [
            child.ask(
                "load",
                runtime=child.entry.runtime,
                path=str(child.entry.path),
                variant=child.entry.variant,
                threads=threads,
                cpus=_cpus(threads),
                feeds=str(feeds_path),
            )
            for child in children
        ]
        times = _take_turns(children, limits, progress or (lambda *_: None))
        outputs = [_outputs(child, Path(folder) / f"{index}.npz") for index, child in enumerate(children)]
        reference = outputs[-1]
        return [
            Result(
                entry=child.entry,
                version=facts["version"],
                threads=threads,
                latency=Latency.of(milliseconds),
                import_ms=facts["import_ms"],
                load_ms=facts["load_ms"],
                first_ms=facts["first_ms"],
                peak_bytes=child.ask("memory")["peak_bytes"],
                error=None if found is reference else relative_error(found, reference),
                milliseconds=tuple(milliseconds),
            )
            for child, facts, milliseconds, found in zip(children, loaded, times, outputs, strict=True)
        ]


@contextlib.contextmanager
def _children(entries: Sequence[Entry]) -> Iterator[list[_Child]]:
    children: list[_Child] = []
    try:
        children.extend(
            map(_Child, entries)
        )  # one by one: those that did start are ended even if the next fails
        yield children
    finally:
        for child in children:
            child.end()


def _take_turns(
    children: Sequence[_Child], limits: Limits, progress: Callable[[str, int, int], None]
) -> list[list[float]]:
    for child in children:
        child.ask("run", runs=WARM_UP_RUNS, seconds=min(WARM_UP_SECONDS, limits.seconds))
        time.sleep(PAUSE_SECONDS)
    times: list[list[float]] = [[] for _ in children]
    while any(_wanted(own, limits) for own in times):
        for child, own in zip(children, times, strict=True):
            if not _wanted(own, limits):
                continue
            turn = min(TURN_SECONDS, limits.seconds - sum(own) / 1000)
            own.extend(child.ask("run", runs=limits.runs - len(own), seconds=turn)["ms"])
            time.sleep(PAUSE_SECONDS)
        shares = [max(sum(own) / 1000 / limits.seconds, len(own) / limits.runs) for own in times]
        progress("measuring in turns", min(100, int(100 * min(shares))), 100)
    return times


def _wanted(own: Sequence[float], limits: Limits) -> bool:
    return len(own) < limits.runs and sum(own) / 1000 < limits.seconds


def _cpus(threads: int) -> list[int]:
    """The last `threads` CPUs we may use: interrupts tend to go to the first. Empty: no pinning."""
    available = sorted(os.sched_getaffinity(0))
    return available[-threads:] if threads <= len(available) else []


def _outputs(child: _Child, path: Path) -> dict[str, npt.NDArray[Any]]:
    child.ask("save", path=str(path))
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def relative_error(found: Mapping[str, npt.NDArray[Any]], reference: Mapping[str, npt.NDArray[Any]]) -> float:
    """The worst output's largest |difference| over its largest |value|.

    Raises CommandError if names or shapes differ, or where NaN or infinity stands in only one of them.
    """
    worst = 0.0
    for name, wanted in reference.items():
        got = found.get(name)
        if got is None or got.shape != wanted.shape:
            shape = None if got is None else got.shape
            raise CommandError(f"output {name!r}: shape {shape}, not {wanted.shape}")
        error = largest_error(got, wanted)
        if math.isinf(error):
            raise CommandError(
                f"output {name!r}: NaN or infinity where the reference has none, or the reverse"
            )
        worst = max(worst, error)
    return worst
