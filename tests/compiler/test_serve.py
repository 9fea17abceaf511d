"""The serve client against the real `sanderling-run`, and against children that misbehave."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sanderling.compiler.errors import CompileError
from sanderling.compiler.package import Package, make_variant, write_package
from sanderling.compiler.program import Program
from sanderling.compiler.serve import Server, find_runner
from sanderling.compiler.target import Target


@pytest.fixture(scope="module")
def package(affine: Program, host: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "affine.sand"
    write_affine(path, affine, host)
    return path


def write_affine(path: Path, program: Program, target: Target) -> None:
    variants = (make_variant(program, target),)
    write_package(path, Package("affine", "1.0.0", program.inputs, program.outputs, b"onnx", variants))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_a_package_that_was_sent_is_loaded_run_and_profiled(
    server: Server, package: Path, host: Target
) -> None:
    server.put("affine", package.read_bytes())
    loaded = server.load("affine", host.name)
    assert (loaded.variant, loaded.calls, loaded.arena_bytes) == (host.name, 2, 256)
    times = server.run(20)
    assert times.runs == 20
    assert 0 < times.least <= times.median < 1
    calls = server.profile(10)
    assert len(calls) == 2
    assert all(0 <= call.least <= call.median < 1 for call in calls)
    server.unload()


def test_a_package_is_loaded_from_its_path(server: Server, package: Path, host: Target) -> None:
    assert server.load(str(package)).variant == host.name


def test_the_features_of_the_cpu_are_told(server: Server, host: Target) -> None:
    assert server.features.issuperset(host.features)


def test_several_threads_serve_too(package: Path) -> None:
    with Server(threads=2) as server:
        server.load(str(package))
        assert server.run(3).runs == 3


@pytest.mark.parametrize(
    ("ask", "cause"),
    [
        (lambda s: s.run(1), "no package is loaded"),
        (lambda s: s.load("/no/such/file"), "/no/such/file"),
        (lambda s: s.load("a b"), "no spaces in names"),
        (lambda s: s.load("x\nquit"), "no spaces in names"),
        (lambda s: s.put("a/b", b"x"), "'/'"),
        (lambda s: (s.put("p", b"no package"), s.load("p")), "load: "),
    ],
)
def test_a_refusal_is_an_error_and_the_server_goes_on(
    server: Server, package: Path, ask: Callable[[Server], object], cause: str
) -> None:
    with pytest.raises(CompileError, match=cause):
        ask(server)
    assert server.load(str(package)).calls == 2


def test_a_crash_names_the_signal(
    affine: Program, host: Target, compile_c: Callable[..., bytes], tmp_path: Path
) -> None:
    code = compile_c("void scale(void) { *(volatile int*)0 = 1; } void shift(void) {}")
    write_affine(tmp_path / "crash.sand", replace(affine, code=code), host)
    with Server() as server:
        server.load(str(tmp_path / "crash.sand"))
        with pytest.raises(CompileError, match="run: it was killed by SIGSEGV"):
            server.run(1)


def child(body: str) -> list[str]:
    """A command that says hello as a server does, and then goes its own way."""
    hello = "import sys, time\nsys.stdin.readline()\nprint('ok sanderling-serve 1 0.1.0 fpu', flush=True)\n"
    return [sys.executable, "-c", hello + body]


def test_silence_ends_after_the_time_allowed() -> None:
    start = time.monotonic()
    with (
        pytest.raises(CompileError, match=r"run: no answer within 0.5 s"),
        Server(child("time.sleep(60)"), timeout=0.5) as server,
    ):
        server.run(1)
    assert time.monotonic() - start < 20


def test_a_child_that_takes_no_data_is_given_up() -> None:
    with (
        pytest.raises(CompileError, match=r"put: takes no data for 0.5 s"),
        Server(child("time.sleep(60)"), timeout=0.5) as server,
    ):
        server.put("p", bytes(1 << 20))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("sys.exit('out of luck')", "it ended with status 1: out of luck"),
        ("sys.stdin.readline(); sys.exit(3)", "it ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed by SIGKILL"),
        ("sys.stdin.readline(); print('error no', flush=True); time.sleep(9)", "load: no"),
        ("sys.stdin.readline(); print('what', flush=True); time.sleep(9)", "load: what"),
        ("sys.stdin.readline(); print('ok x', flush=True); time.sleep(9)", "load: '' is no answer"),
        ("sys.stdin.readline(); print('ok x y z', flush=True); time.sleep(9)", "load: 'y z' is no answer"),
        ("sys.stdin.readline(); print('x' * (2 << 20), flush=True); time.sleep(9)", "does not end"),
    ],
)
def test_a_child_that_misbehaves_is_an_error(body: str, cause: str) -> None:
    with pytest.raises(CompileError, match=cause), Server(child(body), timeout=10) as server:
        server.load("x")


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (["/no/such/program"], "cannot start /no/such/program: No such file"),
        (
            [sys.executable, "-c", "input(); print('ok sanderling-serve 2')"],
            "does not speak the serve protocol",
        ),
        ([sys.executable, "-c", "print('hi')"], "does not speak the serve protocol"),
        ([sys.executable, "-c", ""], "hello: it ended with status 0"),
    ],
)
def test_what_is_no_server_is_told_apart(command: list[str], cause: str) -> None:
    with pytest.raises(CompileError, match=cause):
        Server(command)


def test_the_child_is_gone_after_the_block(package: Path) -> None:
    with Server() as server:
        process = server._child
    assert process.returncode == 0
    server = Server()
    server.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert server._child.returncode is not None


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanderling.compiler.serve.os.access", lambda *_: False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CompileError, match="sanderling-run is not installed"):
        find_runner()
