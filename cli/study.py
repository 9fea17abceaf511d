"""The benchmark of one model: who takes part, and rows and layers of the document (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanderling.cli import contest, peers
from sanderling.cli.bench_document import OURS
from sanderling.cli.contest import Entry, Limits, Result
from sanderling.cli.layers import layer_rows
from sanderling.cli.machine import describe_machine
from sanderling.cli.subject import Progress, Subject


@dataclass(frozen=True)
class Part:
    """What a piece of a benchmark adds to the document."""

    rows: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, Any], ...] = ()


def study(
    subject: Subject,
    folder: Path,
    *,
    wanted: Sequence[str],
    threads: Sequence[int],
    limits: Limits,
    seed: int = 0,
    hold: bool = False,
    progress: Progress | None = None,
) -> Iterator[Part]:
    """Measure our variants and the `wanted` peers in turns, once for each number of threads.

    `hold`: measure peers held to each of our targets, too. Raises contest.Interrupted on Ctrl-C.
    """
    feeds = subject.feeds(seed)
    reference = contest.reference_outputs(subject.onnx, feeds)
    others = peers.entries(
        wanted, subject.onnx, feeds, folder, held_to=subject.targets if hold else (), progress=progress
    )
    entries = [*own_entries(subject), *others]
    for count in threads:
        try:
            results = contest.measure(entries, count, limits, feeds, reference=reference, progress=progress)
        except contest.Interrupted as stop:
            raise StudyInterrupted(Part(_rows(subject, stop.results))) from None
        yield Part(_rows(subject, results), tuple(_layers(subject, results, count)))


class StudyInterrupted(KeyboardInterrupt):
    """Ctrl-C; `part` is what the piece in progress had until then."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part


def own_entries(subject: Subject) -> Iterator[Entry]:
    for target in subject.targets:
        files = (subject.package,) if subject.package else ()
        yield Entry(OURS, files, target, variant=target, note=subject.reasons.get(target))


def _rows(subject: Subject, results: Sequence[Result]) -> tuple[dict[str, Any], ...]:
    device = str(describe_machine()["cpu"])
    return tuple(make_row(subject, result, device) for result in results)


def make_row(subject: Subject, result: Result, device: str) -> dict[str, Any]:
    """A row of the document."""
    entry = result.entry
    size = (
        subject.package_bytes(entry.target)
        if entry.runtime == OURS
        else sum(file.stat().st_size for file in entry.files) or None
    )
    row: dict[str, Any] = {
        "model": subject.name,
        "runtime": entry.runtime,
        "version": result.version or None,
        "device": device,
        "target": entry.target,
        "precision": "fp32",
        "threads": result.threads,
        "settings": {**result.settings, **entry.environment},
        "outcome": result.outcome,
        "note": result.note,
        "error": result.error,
        "model_bytes": size,
    }
    if result.measured:
        row |= result.latency.rounded()
    if result.start is not None:
        row |= result.start.row()
    return row


def _layers(subject: Subject, results: Sequence[Result], threads: int) -> Iterator[dict[str, Any]]:
    for result in results:
        if result.entry.runtime == OURS and result.measured and subject.package is not None:
            for row in layer_rows(subject.package, result.entry.target, threads):
                yield {"model": subject.name, "target": result.entry.target, "threads": threads, **row}
