"""Damaged model files end in a clear error or in a right package: no crash, no hang, no flood of memory."""

from __future__ import annotations

import multiprocessing
import random
import resource
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sanderling.runtime.errors import SanderlingError
from tests.support.damage import DAMAGES
from tests.support.random_graphs import random_graph

SECONDS = 60.0  # for one file, which is small
MEMORY = 8 << 30  # of address space: TVM's and LLVM's libraries take some already


def _compile_all(pipe: Connection, folder: Path) -> None:
    """A process of its own: damaged files in, what became of each out."""
    from sanderling.compiler import compile as compile_model

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            compile_model(data, output=folder / "out.sand", target="x86-64-v3", tune="none", verify=False)
            outcome = "package"
        except SanderlingError as error:
            outcome = "error" if str(error).strip() else "an error without a text"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {str(error)[-300:]}"
        pipe.send(outcome)


class Patient:
    """Compiles in a child process, which is replaced when it dies or hangs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_compile_all, args=(theirs, self._folder), daemon=True)
        self._child.start()
        theirs.close()

    def outcome(self, data: bytes) -> str:
        self._pipe.send_bytes(data)
        try:
            if self._pipe.poll(SECONDS):
                return str(self._pipe.recv())
            outcome = "hung"
            self._child.kill()
            self._child.join()
        except (EOFError, ConnectionResetError):
            self._child.join()
            outcome = f"died with exit code {self._child.exitcode}"
        self._start()
        return outcome

    def close(self) -> None:
        self._pipe.close()
        self._child.join(10)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    patient = Patient(tmp_path)
    yield patient
    patient.close()


def damaged(count: int) -> Iterator[tuple[str, bytes]]:
    """Files and what was done to them, the same ones every time."""
    for index in range(count):
        chance = random.Random(index)
        model = random_graph(2000 + index % 40)
        while len(model.graph.node) > 12:  # the front end is what is tested
            model = random_graph(chance.randrange(2000, 4000))
        damage = DAMAGES[index % len(DAMAGES)]
        data = damage(model.SerializeToString(), lambda n, chance=chance: int(chance.random() * n))
        yield f"{index} {damage.__name__}", data


@pytest.mark.parametrize("count", [30, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_files_end_in_an_error_or_a_package(patient: Patient, tmp_path: Path, count: int) -> None:
    outcomes: Counter[str] = Counter()
    wrong = []
    for name, data in damaged(count):
        outcome = patient.outcome(data)
        outcomes[outcome] += 1
        if outcome not in ("package", "error"):
            wrong.append((name, outcome))
            (tmp_path / f"{name.replace(' ', '_')}.onnx").write_bytes(data)
    print(f"{count} damaged files: {outcomes['error']} errors, {outcomes['package']} packages")  # noqa: T201
    assert wrong == []
    assert min(outcomes["error"], outcomes["package"]) > count // 10
