"""Two benchmark documents compared row by row: what got slower, larger, wrong. Pure; the command prints it.

A single time says little on a machine that does other things, too. So a latency counts as worse only if the
median *and* the fastest run are beyond the threshold, and start-up and memory must also change by more than
such figures vary by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from sanderling.cli.bench_document import OUTCOMES, Document, Key, Row, describe
from sanderling.cli.bench_figures import display_name, unique
from sanderling.cli.bench_text import shortened, three
from sanderling.cli.console import size, table
from sanderling.cli.errors import CommandError

WORSE, BETTER, SAME, UNCLEAR = "worse", "better", "same", "unclear"
MARKS = {WORSE: "▼", BETTER: "▲", SAME: " ", UNCLEAR: "~"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a row, less is better. `floor`: changes up to this are never more than noise."""

    name: str
    of: Callable[[Row], float | None]
    text: Callable[[float], str]
    floor: float = 0.0


MEASURES = (
    Measure("p50", lambda row: row.latency.p50_ms if row.latency else None, lambda ms: f"{three(ms)} ms"),
    Measure("min", lambda row: row.latency.min_ms if row.latency else None, lambda ms: f"{three(ms)} ms"),
    Measure("start-up", lambda row: row.start_ms, lambda ms: f"{three(ms)} ms", floor=20.0),
    Measure("memory", lambda row: row.memory_bytes, size, floor=1e6),
    Measure("size", lambda row: row.model_bytes, size),
)
_LATENCY = ("p50", "min")  # judged together


@dataclass(frozen=True, slots=True)
class Change:
    """One measure of one row, before and after."""

    measure: Measure
    old: float
    new: float
    verdict: str

    @property
    def ratio(self) -> float | None:
        """New ÷ old, so above 1 is worse; None where the old figure is zero."""
        return self.new / self.old if self.old else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same measurement in both documents. `outcome` is the verdict on the answers themselves."""

    old: Row
    new: Row
    outcome: str
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        verdicts = [self.outcome, *(change.verdict for change in self.changes)]
        return next((kind for kind in (WORSE, UNCLEAR, BETTER) if kind in verdicts), SAME)


@dataclass(frozen=True)
class Report:
    """Everything that two documents say about each other."""

    threshold: float
    rows: tuple[Comparison, ...]
    only_old: tuple[Row, ...]
    only_new: tuple[Row, ...]
    warnings: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Comparison, ...]:
        return tuple(row for row in self.rows if row.verdict == WORSE)

    def means(self) -> dict[str, float]:
        """Runtime → geometric mean of its medians' ratios. Where all moved alike, the machine did."""
        ratios: dict[str, list[float]] = {}
        for row in self.rows:
            for change in row.changes:
                if change.measure.name == "p50" and change.ratio:
                    ratios.setdefault(row.new.runtime, []).append(change.ratio)
        return {runtime: geometric_mean(values) for runtime, values in ratios.items()}


def compare(old: Document, new: Document, threshold: float, *, force: bool = False) -> Report:
    """Align the rows by key and judge each; `threshold` is a share, 0.05 for 5 %.

    Raises CommandError if they come from different machines or devices, unless `force` is given: then the
    devices are passed over where each document has only one.
    """
    warnings = _differences(old, new)
    if warnings and not force:
        raise CommandError(f"not comparable: {'; '.join(warnings)}. --force compares them nevertheless")
    warnings += _changed_settings(old, new)
    warnings += [
        f"{which} file: {document.note}" for which, document in (("old", old), ("new", new)) if document.note
    ]
    before, after = (_by_key(document, strip=force) for document in (old, new))
    return Report(
        threshold,
        tuple(_judged(before[key], row, threshold) for key, row in after.items() if key in before),
        tuple(row for key, row in before.items() if key not in after),
        tuple(row for key, row in after.items() if key not in before),
        tuple(warnings),
    )


def _differences(old: Document, new: Document) -> list[str]:
    """What makes times of one document say nothing about the other's."""
    names = ("cpu", "arch", "cpus")
    found = [
        f"{name}: {old.machine.get(name, 'unknown')} before, {new.machine.get(name, 'unknown')} now"
        for name in names
        if old.machine.get(name) != new.machine.get(name)
    ]
    before, after = (unique(row.device for row in document.rows) for document in (old, new))
    if before and after and not set(before) & set(after):
        found.append(f"device: {', '.join(before)} before, {', '.join(after)} now")
    return found


def _changed_settings(old: Document, new: Document) -> list[str]:
    names = unique([*old.settings, *new.settings])
    return [
        f"measured differently: {name} {old.settings.get(name)} before, {new.settings.get(name)} now"
        for name in names
        if old.settings.get(name) != new.settings.get(name)
    ]


def _by_key(document: Document, strip: bool) -> dict[Key, Row]:
    alike = strip and len({row.device for row in document.rows}) == 1
    return {(*row.key[:2], "", *row.key[3:]) if alike else row.key: row for row in document.rows}


def _judged(old: Row, new: Row, threshold: float) -> Comparison:
    before, after = OUTCOMES.index(old.outcome), OUTCOMES.index(new.outcome)
    outcome = WORSE if after > before else BETTER if after < before else SAME
    # Times of a wrong answer are no times to compare with.
    changes = _changes(old, new, threshold) if old.right and new.right else ()
    return Comparison(old, new, outcome, changes)


def _changes(old: Row, new: Row, threshold: float) -> tuple[Change, ...]:
    pairs = [
        (measure, before, after)
        for measure in MEASURES
        if (before := measure.of(old)) is not None and (after := measure.of(new)) is not None
    ]
    verdicts = {
        measure.name: judge(before, after, threshold, measure.floor) for measure, before, after in pairs
    }
    latency = [verdicts[name] for name in _LATENCY if name in verdicts]
    if len(set(latency)) > 1:  # one moved, the other did not: noise, as far as anybody can tell
        verdicts |= dict.fromkeys(_LATENCY, UNCLEAR)
    return tuple(Change(measure, before, after, verdicts[measure.name]) for measure, before, after in pairs)


def judge(old: float, new: float, threshold: float, floor: float = 0.0) -> str:
    """Whether `new` is worse (larger) or better than `old` by more than `threshold` and by more than `floor`.

    Better is the mirror of worse: what is worse one way is better the other way.
    """
    if abs(new - old) <= floor:
        return SAME
    if new > old * (1 + threshold):
        return WORSE
    return BETTER if old > new * (1 + threshold) else SAME


def text(report: Report) -> str:
    """A table of ratios with marks, then what changed in words."""
    header = ["new ÷ old", "", *(measure.name for measure in MEASURES), "outcome"]
    lines = [table(header, [_cells(row) for row in report.rows])] if report.rows else []
    lines += [""] if report.rows else []
    lines += [
        f"{display_name(runtime)}: geometric mean of the medians' ratios {ratio:.3f}"
        for runtime, ratio in report.means().items()
    ]
    lines += [f"only in the old file: {describe(row.key)}" for row in report.only_old]
    lines += [f"only in the new file: {describe(row.key)}" for row in report.only_new]
    for kind, word in ((WORSE, "regression"), (BETTER, "improvement")):
        lines += [
            f"{word}: {describe(row.new.key)}: {what}" for row in report.rows for what in _words(row, kind)
        ]
    lines.append(
        f"{_count(len(report.regressions), 'regression')} in {_count(len(report.rows), 'row')}. More than "
        f"{100 * report.threshold:g} % counts; of a latency if median and fastest run agree (~: they do not)."
    )
    return "\n".join(lines)


def _cells(row: Comparison) -> list[str]:
    ratios = {
        change.measure.name: f"{MARKS[change.verdict]} {change.ratio:.3f}"
        for change in row.changes
        if change.ratio
    }
    outcome = row.new.outcome if row.outcome == SAME else f"{row.old.outcome} → {row.new.outcome}"
    mark = MARKS[row.verdict]
    return [describe(row.new.key), mark, *(ratios.get(measure.name, "–") for measure in MEASURES), outcome]


def _words(row: Comparison, kind: str) -> Iterable[str]:
    if row.outcome == kind:
        note = f" ({shortened(row.new.note, 120)})" if row.new.note else ""
        yield f"{row.old.outcome} before, {row.new.outcome} now{note}"
    for change in row.changes:
        if change.verdict == kind:
            before, after = change.measure.text(change.old), change.measure.text(change.new)
            share = f" ({change.ratio - 1:+.1%})" if change.ratio else ""
            yield f"{change.measure.name} {before} → {after}{share}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def as_json(report: Report) -> dict[str, Any]:
    """The same for machines."""
    return {
        "threshold": report.threshold,
        "regressions": len(report.regressions),
        "geometric_means": {runtime: round(ratio, 5) for runtime, ratio in report.means().items()},
        "warnings": list(report.warnings),
        "rows": [
            {
                **_named(row.new),
                "verdict": row.verdict,
                "outcome": {"old": row.old.outcome, "new": row.new.outcome, "verdict": row.outcome},
                "changes": {
                    change.measure.name: {
                        "old": change.old,
                        "new": change.new,
                        "ratio": round(change.ratio, 5) if change.ratio else None,
                        "verdict": change.verdict,
                    }
                    for change in row.changes
                },
            }
            for row in report.rows
        ],
        "only_old": [_named(row) for row in report.only_old],
        "only_new": [_named(row) for row in report.only_new],
    }


def _named(row: Row) -> dict[str, Any]:
    names: Sequence[str] = ("model", "runtime", "device", "target", "precision", "threads")
    return dict(zip(names, row.key, strict=True))
