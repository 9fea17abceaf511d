"""Whether a package is well-formed, computes what the reference computes, and is fast enough."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import CompileError
from .graph import Array
from .measure import check_file, race, run_once, runs_here
from .package import Package, write_package
from .reference import Reference, largest_error
from .report import TargetReport
from .request import Request
from .stages import Stages
from .target import Target

_ELSEWHERE = "neither verified nor measured: this machine cannot run it"


@dataclass(frozen=True)
class Truth:
    """Inputs, and what the reference makes of them."""

    reference: Reference
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def accept(
    package: Package,
    targets: Sequence[Target],
    reports: Mapping[str, TargetReport],
    truth: Truth,
    request: Request,
    stages: Stages,
) -> dict[str, TargetReport]:
    """The reports of the package's targets, with errors and times where this machine can run them.

    All variants are checked before any is timed. Raises CompileError for the first that is wrong.
    """
    done = {
        target.name: reports[target.name]
        if runs_here(target)
        else replace(
            reports[target.name], note="; ".join(filter(None, (_ELSEWHERE, reports[target.name].note)))
        )
        for target in targets
    }
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        path = Path(folder) / "package.sand"
        write_package(path, package)
        with stages("check the package"):
            check_file(path)
        here = [target for target in targets if runs_here(target)]
        for target in here:
            with stages(f"verify {target.name}"):
                done[target.name] = _verified(done[target.name], path, target, package, truth, request)
        for target in here:
            with stages(f"measure {target.name}"):
                done[target.name] = _measured(done[target.name], path, target, truth, request.threads)
    return done


def _verified(
    report: TargetReport, path: Path, target: Target, package: Package, truth: Truth, request: Request
) -> TargetReport:
    run = run_once(path, target, inputs=truth.inputs, outputs=package.outputs, threads=request.threads)
    errors = {name: largest_error(run.outputs[name], wanted) for name, wanted in truth.outputs.items()}
    if max(errors.values(), default=0.0) > request.max_error:
        figures = ", ".join(f"{name} {error:.2e}" for name, error in errors.items())
        raise CompileError(
            f"{target.name}: outputs differ from {truth.reference.title}'s by more than "
            f"{request.max_error:g} of its largest value: {figures}; nothing was written. "
            "--max-error allows more"
        )
    return replace(report, errors=errors, first_ms=run.first_ms, peak_bytes=run.peak_bytes)


def _measured(done: TargetReport, path: Path, target: Target, truth: Truth, threads: int) -> TargetReport:
    latency, times = race(path, target, truth.reference, truth.inputs, threads=threads)
    nodes = (replace(node, ms=1e3 * time) for node, time in zip(done.nodes, times, strict=True))
    return replace(done, latency=latency, nodes=tuple(nodes))


def check_budget(budget_ms: float | None, reports: Mapping[str, TargetReport]) -> None:
    """Raise CompileError if the median run of any target takes longer, or is not known."""
    if budget_ms is None:
        return
    for name, report in reports.items():
        if report.latency is None:
            raise CompileError(f"the budget cannot be checked for {name}: {report.note}; nothing was written")
        found = report.latency.native_median
        if found > budget_ms:
            raise CompileError(
                f"{name}: the median run takes {found:.3f} ms and misses the budget of {budget_ms:g} ms by "
                f"{found - budget_ms:.3f} ms ({found / budget_ms - 1:.0%}); nothing was written"
            )
