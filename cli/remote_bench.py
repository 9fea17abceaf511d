"""The benchmark of one model on another machine: our variant only, timed by `sanderling-run` itself over ssh.

The protocol's own clock is on the device, so neither ssh nor Python is in the times. Outputs are fetched and
checked against ONNX Runtime here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sanderling.cli.agreement import Arrays
from sanderling.cli.bench_document import OURS
from sanderling.cli.contest import INCOMPLETE, Entry, Limits, Result, Start, judge, reference_outputs
from sanderling.cli.layers import describe, profile, read_plan
from sanderling.cli.study import Part, StudyInterrupted, make_row
from sanderling.cli.subject import Progress, Subject, is_model
from sanderling.compiler.errors import CompileError
from sanderling.compiler.package import raw_bytes
from sanderling.compiler.remote import Device
from sanderling.compiler.serve import Server
from sanderling.compiler.target import host_target
from sanderling.runtime.package import Package

_TURN_SECONDS = 0.25
_MOST_RUNS = 2000  # between two looks at the clock
_PACKAGE = "model.sand"


def remote_study(
    device: Device,
    subject: Subject,
    *,
    threads: Sequence[int],
    limits: Limits,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[Part]:
    """Measure every variant of the subject on the device, for each number of threads.

    Raises CompileError if the device is lost; StudyInterrupted, with what there is, on Ctrl-C.
    """
    note = progress or (lambda *_: None)
    feeds = subject.feeds(seed)
    reference = reference_outputs(subject.onnx, feeds)
    if subject.package is not None:
        note(f"copying the package to {device.address}", 0, 0)
        device.copy(_PACKAGE, subject.package.read_bytes())
        for index, array in enumerate(feeds.values()):
            device.copy(f"input{index}.bin", raw_bytes(array))
    for count in threads:
        results: list[Result] = []
        layers: list[dict[str, Any]] = []
        for target in subject.targets:
            times: list[float] = []
            try:
                found = _measure(device, subject, target, count, limits, reference, times, layers, note)
            except KeyboardInterrupt:
                if times:
                    entry, ms = Entry(OURS, (), target), tuple(times)
                    results.append(Result(entry, count, "unchecked", INCOMPLETE, milliseconds=ms))
                raise StudyInterrupted(Part(_rows(device, subject, results))) from None
            results.append(found)
        yield Part(_rows(device, subject, results), tuple(layers))


def best_target(device: Device, model: Path) -> str:
    """The variant of a package that the device would take, or the target to compile a model for.

    Raises CompileError if there is none.
    """
    if is_model(model):
        return host_target(device.facts.cpuinfo, device.facts.arch).name
    with device.serve(threads=1) as server:
        server.put("package", model.read_bytes())
        return server.load("package").variant


def _rows(device: Device, subject: Subject, results: Sequence[Result]) -> tuple[dict[str, Any], ...]:
    return tuple(make_row(subject, result, device.facts.cpu) for result in results)


def _measure(
    device: Device,
    subject: Subject,
    target: str,
    threads: int,
    limits: Limits,
    reference: Arrays | str,
    times: list[float],
    layers: list[dict[str, Any]],
    note: Progress,
) -> Result:
    """One variant. `times` fills up while it is measured."""
    entry = Entry(OURS, (), target, note=subject.reasons.get(target))
    if entry.note is not None or subject.package is None:
        return Result(entry, threads, entry.outcome, entry.note)
    note(f"starting {entry.name} on {device.address}", 0, 0)
    with device.serve(threads=threads) as server:
        try:
            server.load(f"{device.folder}/{_PACKAGE}", target)
        except CompileError as error:
            if not server.alive:
                raise
            return Result(entry, threads, "unsupported", str(error))
        start, outputs, version = _start(device, subject, target, threads, limits)
        outcome, problem, error_ = judge(outputs, reference)
        _turns(server, limits, times, note)
        plan = read_plan(subject.package, target)
        layers += [
            {"model": subject.name, "target": target, "threads": threads, **row}
            for row in describe(plan, profile(server))
        ]
    settings = {"measured_by": "sanderling-run --serve", "pinned": False}
    return Result(entry, threads, outcome, problem, version, settings, error_, start, tuple(times))


def _turns(server: Server, limits: Limits, times: list[float], note: Progress) -> None:
    """Warm up, then measure until either limit is reached. `times`: milliseconds."""
    once = max(min(server.times(3)), 1e-7)
    runs = min(max(1, int(_TURN_SECONDS / once)), _MOST_RUNS)
    server.run(min(runs, limits.runs))
    while len(times) < limits.runs and sum(times) / 1000 < limits.seconds:
        times += [1000 * seconds for seconds in server.times(min(runs, limits.runs - len(times)))]
        share = max(sum(times) / 1000 / limits.seconds, len(times) / limits.runs)
        note("measuring", min(100, int(100 * share)), 100)


def _start(
    device: Device, subject: Subject, target: str, threads: int, limits: Limits
) -> tuple[Start, Arrays, str]:
    """Fresh processes on the device: start-up, memory, and outputs for the inputs that everybody gets."""
    inputs = [word for index in range(len(subject.inputs)) for word in ("--input", f"input{index}.bin")]
    device.run("mkdir", "-p", "outputs")
    command = [
        *("./sanderling-run", _PACKAGE, "--variant", target, "--threads", str(threads)),
        *("--runs", "3", "--json", "--output", "outputs", *inputs),
    ]
    figures = [json.loads(device.run(*command)) for _ in range(limits.starts)]
    start = Start(
        import_ms=median(row["before_main_ms"] for row in figures),
        load_ms=median(row["load_ms"] for row in figures),
        first_ms=median(row["first_ms"] for row in figures),
        base_bytes=0,  # there is no Python
        peak_bytes=max(row["peak_rss_bytes"] for row in figures),
    )
    return start, _outputs(device, subject, figures[-1]["outputs"]), figures[-1]["version"]


def _outputs(device: Device, subject: Subject, specs: Sequence[Mapping[str, Any]]) -> Arrays:
    assert subject.package is not None
    with Package(Path(subject.package)) as package:
        types = {spec.name: spec.dtype for spec in package.manifest.outputs}
    single = len(specs) == 1
    arrays = {}
    for index, spec in enumerate(specs):
        data = device.read("outputs/output0.bin" if single else f"outputs/output{index}.bin")
        arrays[spec["name"]] = np.frombuffer(data, types[spec["name"]]).reshape(spec["shape"])
    return arrays
