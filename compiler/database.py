"""The tuning database: what was measured for a workload on a target, so that it is measured once.

A file holds one JSON object a line, `{"workload", "target", "version", "choice", "times"}`, sorted, so
that files can be compared and joined with text tools. Databases are layered: the user's own file, the
only one that is written, wins over those that ship with the project.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .errors import CompileError
from .files import replacing

# Raise it whenever a template changes so that older times no longer hold.
KERNELS_VERSION = "2"

_SHIPPED = Path(__file__).parent / "tuning"


class Key(NamedTuple):
    """What a choice holds for."""

    workload: str
    target: str
    version: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate, and the seconds of every candidate that was measured."""

    choice: str
    times: Mapping[str, float]

    def rank(self) -> tuple[int, float, str, str]:
        """The lower one wins a merge: more candidates measured, then faster, then by name."""
        return (
            -len(self.times),
            self.times[self.choice],
            self.choice,
            json.dumps(self.times, sort_keys=True),
        )


Records = dict[Key, Choice]


def merge(*parts: Mapping[Key, Choice]) -> Records:
    """Join records from any number of machines; neither their order nor their grouping matters."""
    merged: Records = {}
    for part in parts:
        for key, choice in part.items():
            if key not in merged or choice.rank() < merged[key].rank():
                merged[key] = choice
    return merged


def require_database(path: Path) -> None:
    """Raise CompileError if the file holds something, but not one record: saving would push it aside."""
    if path.is_file() and (lines := path.read_bytes().splitlines()) and not any(map(_parse, lines)):
        raise CompileError(f"{path} is not a tuning database; give another file")


def default_paths() -> tuple[Path, ...]:
    """The files shipped with the project, then the user's own in `$XDG_CACHE_HOME` (else `~/.cache`)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (*sorted(_SHIPPED.glob("*.jsonl")), cache / "sanderling" / "tuning.jsonl")


@dataclass
class Database:
    """Layered records; `record` and `save` go to the last file of `open`."""

    path: Path
    version: str
    shipped: Records = field(default_factory=dict)
    own: Records = field(default_factory=dict)
    fresh: Records = field(default_factory=dict)

    @classmethod
    def open(cls, *paths: Path, version: str = KERNELS_VERSION) -> Database:
        """Read the files (default: `default_paths()`), missing ones as empty.

        Damaged lines are left out with a warning that names the file; the last file, if damaged, is set aside
        as `<name>.corrupt`, so that the next `save` cannot destroy it.
        """
        *shipped, own = paths or default_paths()
        return cls(own, version, merge(*map(_read, shipped)), _read(own, set_aside=True))

    def lookup(self, workload: str, target: str) -> Choice | None:
        """What was chosen for the workload on the target by these kernels, or None."""
        key = Key(workload, target, self.version)
        return self.fresh.get(key) or self.own.get(key) or self.shipped.get(key)

    def record(self, workload: str, target: str, choice: str, times: Mapping[str, float]) -> None:
        """Remember a measurement (seconds per candidate); it replaces an older one.

        Raises CompileError unless the choice is among the times and all of them are positive numbers.
        """
        self.fresh[Key(workload, target, self.version)] = _choice(choice, times)

    def save(self) -> None:
        """Add new records to the user's file, beside what other processes wrote. Raises OSError."""
        if not self.fresh:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.parent), replacing(self.path) as file:
            self.own = self.own | _read(self.path, set_aside=True) | self.fresh
            file.writelines(_lines(self.own))
        self.fresh = {}


def _choice(choice: str, times: Mapping[str, float]) -> Choice:
    if choice not in times:
        raise CompileError(f"choice {choice!r} is not among the measured candidates: {', '.join(times)}")
    if not all(math.isfinite(time) and time > 0 for time in times.values()):
        raise CompileError(f"times must be positive seconds: {dict(times)}")
    return Choice(choice, {name: float(times[name]) for name in sorted(times)})


def _lines(records: Mapping[Key, Choice]) -> Iterator[bytes]:
    for key, choice in sorted(records.items()):
        row = {**key._asdict(), "choice": choice.choice, "times": choice.times}
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _read(path: Path, *, set_aside: bool = False) -> Records:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    parsed = [(number, _parse(line)) for number, line in enumerate(lines, start=1)]
    bad = [number for number, record in parsed if record is None]
    if bad:
        _warn(path, bad, set_aside)
    return merge(*({record[0]: record[1]} for _, record in parsed if record is not None))


def _parse(line: bytes) -> tuple[Key, Choice] | None:
    try:
        row = json.loads(line)
        key = Key(row["workload"], row["target"], row["version"])
        if not all(isinstance(part, str) for part in (*key, row["choice"])):
            return None
        return key, _choice(row["choice"], row["times"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CompileError):
        return None


def _warn(path: Path, bad: list[int], set_aside: bool) -> None:
    where = f"tuning database {path}: {len(bad)} damaged line(s), the first is line {bad[0]}"
    if not set_aside:
        warnings.warn(f"{where}; they are left out", stacklevel=4)
        return
    corrupt = path.with_name(path.name + ".corrupt")
    try:
        path.rename(corrupt)
    except OSError as error:
        warnings.warn(f"{where}; they are left out ({error})", stacklevel=4)
    else:
        warnings.warn(f"{where}; set aside as {corrupt}, the rest is kept in use", stacklevel=4)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from saving into the folder at the same time."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
