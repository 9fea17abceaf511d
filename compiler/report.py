"""What the compiler measured: JSON for the manifest and for machines, a table for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

_SLOWEST = 10  # nodes that the table shows
_NAMED = 20  # nodes without a native kernel that the table shows
_WIDTH = 60  # characters of a node's name there


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One call: what the compiler chose for a node and, if measured, the median time of it."""

    node: str
    kind: str
    flops: int
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of a run of the package and of the reference, `runs` of each in every one of `turns`."""

    native_min: float
    native_median: float
    reference_min: float
    reference_median: float
    turns: int
    runs: int

    @property
    def ratio(self) -> float:
        """Median of the package ÷ median of the reference: below one is faster."""
        return self.native_median / self.reference_median

    def to_json(self) -> dict[str, Any]:
        return {
            "native": {"min": _digits(self.native_min), "median": _digits(self.native_median)},
            "reference": {"min": _digits(self.reference_min), "median": _digits(self.reference_median)},
            "ratio": _digits(self.ratio),
            "turns": self.turns,
            "runs_per_turn": self.runs,
        }


@dataclass(frozen=True)
class TargetReport:
    """One target. `errors` by output, relative to the reference's largest value; None if it was not verified.

    `note` says why there is no native variant, or why it was not verified or measured.
    """

    native: bool
    note: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    nodes: tuple[NodeTime, ...] = ()
    errors: Mapping[str, float] | None = None
    latency: Latency | None = None
    first_ms: float | None = None
    peak_bytes: int | None = None

    @property
    def largest_error(self) -> float | None:
        return max(self.errors.values(), default=0.0) if self.errors is not None else None

    def to_json(self) -> dict[str, Any]:
        return {
            "native": self.native,
            "note": self.note,
            "sizes": dict(self.sizes),
            "errors": None if self.errors is None else {name: _digits(e) for name, e in self.errors.items()},
            "latency_ms": None if self.latency is None else self.latency.to_json(),
            "first_ms": _digits(self.first_ms),
            "peak_bytes": self.peak_bytes,
            "nodes": [
                {"node": n.node, "kind": n.kind, "flops": n.flops, "ms": _digits(n.ms)} for n in self.nodes
            ],
        }


@dataclass(frozen=True)
class Report:
    """The outcome of one compilation.

    `sizes` (bytes) has `source` and, once it is written, `package`; `stages` are seconds, in order.
    """

    name: str
    version: str
    package: str
    threads: int
    reference: str | None
    sizes: Mapping[str, int]
    targets: Mapping[str, TargetReport]
    unsupported: tuple[Mapping[str, str], ...]
    stages: Mapping[str, float]
    machine: str = ""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types; an infinite error is null."""
        return {
            "name": self.name,
            "version": self.version,
            "package": self.package,
            **self.for_manifest(),
            "sizes": dict(self.sizes),
            "unsupported": [dict(row) for row in self.unsupported],
            "warnings": list(self.warnings),
        }

    def for_manifest(self) -> dict[str, Any]:
        """What a package keeps of it."""
        return {
            "machine": self.machine,
            "threads": self.threads,
            "reference": self.reference,
            "source_bytes": self.sizes.get("source"),
            "targets": {name: target.to_json() for name, target in self.targets.items()},
            "stages": {stage: _digits(seconds) for stage, seconds in self.stages.items()},
        }

    def with_package_size(self, size: int, seconds: Mapping[str, float]) -> Report:
        """After the package has been written."""
        return replace(self, sizes={**self.sizes, "package": size}, stages=dict(seconds))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        sizes = ", ".join(f"{what} {_size(count)}" for what, count in self.sizes.items())
        yield f"{self.name} {self.version} → {self.package}  ({sizes})"
        for name, target in self.targets.items():
            yield ""
            yield from _target_lines(name, target, self)
        if self.unsupported:
            yield ""
            yield "no native kernel; the package carries the ONNX form for ONNX Runtime:"
            yield from _columns(
                [
                    ["node", "operator", "reason"],
                    *([r["node"], r["op"], r["reason"]] for r in self.unsupported[:_NAMED]),
                ]
            )
            if len(self.unsupported) > _NAMED:
                yield f"and {len(self.unsupported) - _NAMED} more"
        for warning in self.warnings:
            yield f"warning: {warning}"
        yield ""
        stages = ", ".join(
            f"{stage} {seconds:.1f} s" for stage, seconds in self.stages.items() if seconds >= 0.05
        )
        yield f"compiled in {sum(self.stages.values()):.1f} s" + (f" ({stages})" if stages else "")


def _target_lines(name: str, target: TargetReport, report: Report) -> Iterator[str]:
    if not target.native:
        yield f"{name}: not native; {target.note}"
        return
    facts = [[what.replace("_", " "), _size(count)] for what, count in target.sizes.items()]
    if target.errors is not None:
        facts.append(["largest error", f"{target.largest_error:.1e} of {report.reference}'s largest output"])
    if target.latency is not None:
        facts.append(["latency", _latency_line(target.latency, report)])
    if target.first_ms is not None:
        facts.append(["process start to first result", f"{target.first_ms:.1f} ms"])
    if target.peak_bytes is not None:
        facts.append(["peak memory of that process", _size(target.peak_bytes)])
    yield f"{name}: native, {len(target.nodes)} calls" + (f"; {target.note}" if target.note else "")
    yield from (f"  {line}" for line in _columns(facts))
    timed = sorted((node for node in target.nodes if node.ms is not None), key=lambda node: -(node.ms or 0))
    total = sum(node.ms or 0 for node in timed)
    if total:
        rows = [
            [f"{node.ms:.3f}", f"{100 * (node.ms or 0) / total:.0f} %", _short(node.node), node.kind]
            for node in timed[:_SLOWEST]
        ]
        yield from (f"  {line}" for line in _columns([["ms", "share", "slowest nodes", "kernel"], *rows]))


def _latency_line(latency: Latency, report: Report) -> str:
    return (
        f"median (lowest): {latency.native_median:.3f} ms ({latency.native_min:.3f}); {report.reference}: "
        f"{latency.reference_median:.3f} ms ({latency.reference_min:.3f}); "
        f"ratio {latency.ratio:.2f}, threads {report.threads}"
    )


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _digits(value: float | None) -> float | None:
    """Four significant digits; JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
