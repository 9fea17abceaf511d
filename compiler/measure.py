"""Runs and times compiled code with `sanderling-run`: never in this process, which a bad kernel would end."""

from __future__ import annotations

import json
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CompileError
from .graph import Array, TensorType
from .package import Package, make_variant, raw_bytes, write_package
from .program import Program
from .reference import Reference
from .report import Latency
from .serve import CallTimes, Server, describe_exit, find_runner
from .target import Target, cpu_flags

if TYPE_CHECKING:
    from .remote import Device

_RUN_TIMEOUT = 600.0  # seconds for one run of a model, loading included
_RACE_SECONDS = 3.0  # for the package and the reference together
_TURNS = range(3, 16)
_PROFILE_SECONDS = 1.0
_TUNING_SECONDS = 4.0
_PROFILE_RUNS = range(5, 201)


def runs_here(target: Target) -> bool:
    """Whether this machine has all that the target's code needs."""
    present = cpu_flags(Path("/proc/cpuinfo").read_text())
    return platform.machine() == target.arch and present.issuperset(target.features)


@dataclass(frozen=True)
class Run:
    """One run in a process of its own: outputs, time from start to first result, peak memory."""

    outputs: Mapping[str, Array]
    first_ms: float
    peak_bytes: int


def check_file(package: Path) -> None:
    """Have the runtime check the file and every plan in it, of whatever target. Raises CompileError."""
    _run_tool([find_runner(), package, "--info", "--json"], "the package is refused")


def run_once(
    package: Path,
    target: Target,
    *,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, TensorType],
    threads: int,
    command: Sequence[str | Path] | None = None,
) -> Run:
    """Run the package on `inputs` with the tool that `command` starts (default: `find_runner`). Raises
    CompileError if that fails.
    """
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        files = [Path(folder) / f"input{index}.bin" for index in range(len(inputs))]
        for file, array in zip(files, inputs.values(), strict=True):
            file.write_bytes(raw_bytes(array))
        results = Path(folder) / "outputs"
        results.mkdir()
        figures = _run_tool(
            [*(command or (find_runner(),)), package, "--variant", target.name, "--threads", threads,
             "--runs", 0, "--json", "--output", results,
             *(part for file in files for part in ("--input", file))],
            f"the code for {target.name} does not run",
        )  # fmt: skip
        arrays = {
            name: np.frombuffer((results / f"output{index}.bin").read_bytes(), type_.dtype).reshape(
                figures["outputs"][index]["shape"]
            )
            for index, (name, type_) in enumerate(outputs.items())
        }
    return Run(arrays, figures["before_main_ms"] + figures["first_ms"], figures["first_peak_rss_bytes"])


def _run_tool(command: Sequence[object], problem: str) -> dict[str, Any]:
    line = [str(part) for part in command]
    try:
        done = subprocess.run(line, capture_output=True, timeout=_RUN_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{problem}: it did not finish within {_RUN_TIMEOUT:g} s") from None
    if done.returncode:
        why = describe_exit(done.returncode, done.stderr.decode(errors="replace").strip())
        raise CompileError(f"{problem}: {why}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def time_calls(
    program: Program, target: Target, *, threads: int, device: Device | None = None
) -> list[float]:
    """Least seconds of each call of a Program, which need not be a model, here or on a device."""
    package = Package(
        "calls",
        "1.0.0",
        program.inputs,
        program.outputs,
        model_onnx=b"",
        variants=(make_variant(program, target),),
    )
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        path = Path(folder) / "calls.sand"
        write_package(path, package)
        with _serving(path, target, threads, device) as server:
            return [call.least for call in _profile(server, _TUNING_SECONDS)]


def race(
    package: Path, target: Target, reference: Reference, inputs: Mapping[str, Array], *, threads: int
) -> tuple[Latency, list[float]]:
    """Time package and reference in turns, so that a slow moment of the machine hits both.

    Returns the latency of both, and the median seconds of each call of the package.
    """
    with _serving(package, target, threads) as server:
        once = server.run(2).least + min(reference.time(inputs, 2))
        turns = _clip(int(_RACE_SECONDS / once), _TURNS)
        runs = max(1, int(_RACE_SECONDS / once / turns))
        native, other = [], []
        for _ in range(turns):
            native.append(server.run(runs))
            other.append(reference.time(inputs, runs))
        calls = [call.median for call in _profile(server, _PROFILE_SECONDS)]
    latency = Latency(
        native_min=1e3 * min(turn.least for turn in native),
        native_median=1e3 * median(turn.median for turn in native),
        reference_min=1e3 * min(map(min, other)),
        reference_median=1e3 * median(map(median, other)),
        turns=turns,
        runs=runs,
    )
    return latency, calls


def _serving(package: Path, target: Target, threads: int, device: Device | None = None) -> Server:
    """A server that has loaded the package, which is sent: a path may have spaces, a device another disk."""
    server = Server(threads=threads) if device is None else device.serve(threads=threads)
    try:
        server.put("package", package.read_bytes())
        server.load("package", target.name)
    except BaseException:
        server.close(patience=0)
        raise
    return server


def _profile(server: Server, seconds: float) -> list[CallTimes]:
    """Times of every call, from as many runs as fill the time."""
    once = sum(call.least for call in server.profile(2))
    return server.profile(_clip(int(seconds / max(once, 1e-9)), _PROFILE_RUNS))


def _clip(value: int, limits: range) -> int:
    return min(max(value, limits.start), limits.stop - 1)
