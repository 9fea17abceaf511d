"""One model against ONNX Runtime: compiled for every target that runs here, run with one thread and with two.

`judge` does it in this process, `Court` in a child, where a crash or a hang is a verdict like any other.
"""

from __future__ import annotations

import multiprocessing
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx

import sanderling
from sanderling.compiler import compile as compile_model
from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.measure import runs_here
from sanderling.compiler.reference import largest_error
from sanderling.compiler.target import find_target

from .random_graphs import feeds

Array = npt.NDArray[Any]

TARGETS = ("x86-64-v3", "x86-64-v4")
THREADS = (1, 2)
TOLERANCE = 1e-4  # of an output's largest value, as `sanderling compile` demands
_TIMEOUT = 300.0  # seconds for one graph; the usual one takes three


@dataclass(frozen=True)
class Verdict:
    """How a model fared.

    Attributes:
        native: every target has compiled kernels for all of it.
        wrong: what is not as ONNX Runtime has it, or "" if everything is.
        missing: node, operator and reason of what has no native kernel.
        runs: how often it was run and compared.
        error: the largest error of a float output, relative to its largest value.
    """

    native: bool
    wrong: str
    missing: tuple[Mapping[str, str], ...] = ()
    runs: int = 0
    error: float = 0.0

    @property
    def right(self) -> bool:
        return not self.wrong


def judge(model: onnx.ModelProto, folder: Path) -> Verdict:
    """Compile, run and compare. Files go into `folder`."""
    inputs = feeds(model)
    wanted = run_onnxruntime(model, inputs)
    path = folder / "model.sand"
    targets = [name for name in TARGETS if runs_here(find_target(name))]
    try:
        report = compile_model(
            model, output=path, target=targets, tune="none", verify=False, database=folder / "tuning.jsonl"
        )
    except Exception as error:  # whatever it is, it is not what the user should see
        return Verdict(False, _described(error))
    missing = tuple(report.unsupported)
    if missing:
        ways: list[dict[str, Any]] = [{"backend": "auto"}, {"backend": "onnxruntime"}]
        unnamed = [row for row in missing if not (row["node"] and row["op"] and row["reason"])]
        if unnamed:
            return Verdict(False, f"a node without a kernel is not named: {unnamed}", missing)
    else:
        ways = [{"backend": "native", "variant": name} for name in targets]
    worst = 0.0
    for way in ways:
        for threads in THREADS:
            where = " ".join([*way.values(), f"{threads} thread(s)"])
            try:
                found = _run(path, inputs, threads, way)
            except Exception as error:
                return Verdict(not missing, f"{where}: {_described(error)}", missing)
            for name, array in wanted.items():
                fault, error = difference(found[name], array)
                worst = max(worst, error)
                if fault:
                    return Verdict(not missing, f"{where}: {name}: {fault}", missing, error=error)
    return Verdict(not missing, "", missing, len(ways) * len(THREADS), worst)


def _run(path: Path, inputs: dict[str, Array], threads: int, way: dict[str, Any]) -> dict[str, Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ONNX Runtime runs it
        with sanderling.load(path, threads=threads, **way) as model:
            names = [output.name for output in model.outputs]
            return dict(zip(names, model.run(inputs), strict=True))


def difference(found: Array, wanted: Array) -> tuple[str, float]:
    """What is wrong with an output ("" if nothing), and its error.

    Floats are compared with the output's largest value, for sums of many terms are no more exact than that;
    where everything is small, with 1e-3. All others must be equal.
    """
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return f"{found.dtype}{list(found.shape)}, not {wanted.dtype}{list(wanted.shape)}", 0.0
    if wanted.dtype.kind != "f":
        differing = int(np.count_nonzero(found != wanted))
        return (f"{differing} of {wanted.size} elements differ" if differing else ""), 0.0
    error = largest_error(found, wanted)
    scale = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)))
    if 0 < scale < 1e-3:
        error *= scale / 1e-3
    return (f"error {error:.1e} of the largest value" if not error <= TOLERANCE else ""), error


def _described(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "sanderling" in frame.filename]
    where = f" in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{where}: {str(error).strip().splitlines()[-1] if str(error) else ''}"


class Court:
    """A child process that judges models one after the other."""

    def __init__(self, folder: Path, timeout: float = _TIMEOUT) -> None:
        self._folder, self._timeout = folder, timeout
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._child = self._context.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        self._child.start()
        theirs.close()

    def judge(self, model: onnx.ModelProto) -> Verdict:
        """The verdict; a child that died or hung is replaced by a new one."""
        try:
            self._pipe.send_bytes(model.SerializeToString())
            if self._pipe.poll(self._timeout):
                verdict: Verdict = self._pipe.recv()
                return verdict
            cause = f"no result within {self._timeout:g} s"
            self._child.kill()
            self._child.join()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._child.join()
            cause = f"the process died with exit code {self._child.exitcode}"
        self._start()
        return Verdict(False, cause)

    def end_child(self) -> None:
        """Kill it, as a crash would."""
        self._child.kill()
        self._child.join()

    def close(self) -> None:
        self._pipe.close()
        self._child.join(10)
        if self._child.is_alive():
            self._child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, folder: Path) -> None:
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            verdict = judge(onnx.ModelProto.FromString(data), folder)
        except Exception as error:  # ONNX Runtime, or we, cannot judge it
            verdict = Verdict(False, f"no verdict: {_described(error)}")
        pipe.send(verdict)
