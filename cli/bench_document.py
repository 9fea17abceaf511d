"""Benchmark documents (`sanderling bench --json`, `python -m benchmarks.latency`), read and checked.

Everything that shows or compares results starts here; docs/benchmarks.md explains every field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from sanderling.cli.errors import CommandError
from sanderling.cli.statistics import Latency

SCHEMA = 2
OURS = "sanderling"
OUTCOMES = ("right", "unchecked", "unsupported", "failed", "wrong")  # from best to worst
MEASURED = ("right", "unchecked", "wrong")  # outcomes that come with times

_LARGEST_FILE = 64_000_000  # bytes; a document of thousands of rows and layers has a tenth of it
_LARGEST = 1e18  # of any number: more is nonsense, and some of it would overflow

Key = tuple[str, str, str, str, str, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One runtime on one model with one setting. Times in milliseconds; what was not measured is None."""

    model: str
    runtime: str
    version: str | None
    device: str
    target: str
    precision: str
    threads: int
    outcome: str
    latency: Latency | None
    note: str | None = None
    error: float | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    start_ms: float | None = None
    peak_memory_bytes: int | None = None
    base_memory_bytes: int | None = None
    model_bytes: int | None = None

    @property
    def key(self) -> Key:
        """What makes two rows of different documents the same measurement."""
        return (self.model, self.runtime, self.device, self.target, self.precision, self.threads)

    @property
    def ours(self) -> bool:
        return self.runtime == OURS

    @property
    def right(self) -> bool:
        return self.outcome == "right"

    @property
    def p50_ms(self) -> float:
        """The median. Only for rows with times."""
        assert self.latency is not None
        return self.latency.p50_ms

    @property
    def memory_bytes(self) -> int | None:
        """Peak memory above that of Python with numpy alone."""
        if self.peak_memory_bytes is None or self.base_memory_bytes is None:
            return None
        return max(0, self.peak_memory_bytes - self.base_memory_bytes)


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of one of our kernels: its arithmetic, the bytes that it reads and writes, and its time."""

    model: str
    target: str
    threads: int
    node: str
    kind: str
    flops: float
    bytes: float
    us: float

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.us / 1000 if self.us else 0.0

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class Document:
    """Results and where they come from.

    `fma_gflops` are the limits of one core by target; `note` says what is missing.
    """

    command: str
    date: str
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    fma_gflops: Mapping[str, float]
    memory_gbps: float | None
    rows: tuple[Row, ...]
    layers: tuple[Layer, ...]
    note: str | None = None

    @property
    def machine_text(self) -> str:
        """`AMD EPYC, 2 CPUs, Debian GNU/Linux 12 (bookworm)`."""
        cpus = self.machine.get("cpus")
        parts = [self.machine.get("cpu"), f"{cpus} CPUs" if cpus else None, self.machine.get("system")]
        return ", ".join(str(part) for part in parts if part)


def read(path: Path) -> Document:
    """The document in a file. Raises OSError, and CommandError if it is none of ours or broken."""
    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise CommandError(f"{path}: larger than {_LARGEST_FILE // 1_000_000} MB, so no benchmark document")
    try:
        value = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path}: not JSON ({error})") from error
    try:
        return parse(value)
    except CommandError as error:
        raise CommandError(f"{path}: {error}") from error


def parse(value: Any) -> Document:
    """A document from parsed JSON. Raises CommandError, which names row and field at fault."""
    if not isinstance(value, dict) or "rows" not in value:
        raise CommandError("not a benchmark document; `sanderling bench --json` writes them")
    if value.get("schema") != SCHEMA:
        found = value.get("schema", "an older one")
        raise CommandError(f"schema {found!r}, but this version reads {SCHEMA}: measure again")
    if value.get("benchmark", "latency") != "latency":
        raise CommandError(f"a benchmark of {value['benchmark']!r}, not of latency")
    limits = _object(value, "limits")
    rows = tuple(_row(number, entry) for number, entry in enumerate(_list(value, "rows"), 1))
    seen: set[Key] = set()
    for row in rows:
        if row.key in seen:
            raise CommandError(f"two rows for {describe(row.key)}")
        seen.add(row.key)
    return Document(
        command=str(value.get("command", "")),
        date=str(value.get("date", "")),
        machine=_object(value, "machine"),
        settings=_object(value, "settings"),
        fma_gflops={
            str(target): _checked(limit, "float", f"limits: fma_gflops: {target}")
            for target, limit in _object(limits, "fma_gflops").items()
        },
        memory_gbps=_checked(limits.get("memory_gbps"), "float | None", "limits: memory_gbps"),
        rows=rows,
        layers=tuple(
            _read(Layer, entry, f"layer {number}") for number, entry in enumerate(_list(value, "layers"), 1)
        ),
        note=_checked(value.get("note"), "str | None", "note"),
    )


def describe(key: Key) -> str:
    """`resnet18, onnxruntime native fp32, 2 threads`: a key for people, the device left out."""
    model, runtime, _, target, precision, threads = key
    return f"{model}, {runtime} {target} {precision}, {thread_text(threads)}"


def thread_text(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _row(number: int, entry: Any) -> Row:
    where = f"row {number}"
    if not isinstance(entry, dict):
        raise CommandError(f"{where}: not an object")
    outcome = entry.get("outcome")
    if outcome not in OUTCOMES:
        raise CommandError(f"{where}: outcome {outcome!r} is none of {', '.join(OUTCOMES)}")
    latency = _read(Latency, entry, where) if outcome in MEASURED else None
    if latency and not 0 < latency.min_ms <= latency.p50_ms <= latency.p90_ms <= latency.p99_ms:
        raise CommandError(f"{where}: min, p50, p90 and p99 must be above 0 and in this order")
    return _read(Row, {**entry, "latency": latency}, where)


def _read(kind: type[T], entry: Any, where: str) -> T:
    """An object of a dataclass from the members of the same names; others are passed over."""
    if not isinstance(entry, dict):
        raise CommandError(f"{where}: not an object")
    values = {
        field.name: _checked(entry.get(field.name), str(field.type), f"{where}: {field.name}")
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return kind(**values)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST


# As the fields of the dataclasses are annotated: what is accepted, and what to say otherwise.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str) and bool(value), "a text"),
    "int": (lambda value: _number(value) and value == int(value) > 0, "a whole number above 0"),
    "float": (_number, "a number of at least 0"),
    "str | None": (lambda value: value is None or isinstance(value, str), "a text or null"),
    "int | None": (lambda value: value is None or (_number(value) and value == int(value)), "a whole number"),
    "float | None": (lambda value: value is None or _number(value), "a number of at least 0 or null"),
    "Latency | None": (lambda value: value is None or isinstance(value, Latency), "times"),
}


def _checked(value: Any, kind: str, where: str) -> Any:
    accepts, wanted = _KINDS[kind]
    if not accepts(value):
        raise CommandError(f"{where}: {'missing' if value is None else repr(value)[:80]}, not {wanted}")
    return value


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    member = value.get(name, {})
    if not isinstance(member, dict):
        raise CommandError(f"{name}: not an object")
    return member


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    member = value.get(name, [])
    if not isinstance(member, list):
        raise CommandError(f"{name}: not a list")
    return member


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
