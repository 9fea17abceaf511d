"""Client of `sanderling-run --serve` (`docs/serve-protocol.md`): runs and times packages in a child process.

The child is the runtime itself, so that what is measured is what will run. It may be on another machine: the
command is free, and `ssh device sanderling-run` works as `sanderling-run` does.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Self

from .errors import CompileError

_PROTOCOL = ["ok", "sanderling-serve", "1"]
_MAX_LINE = 1 << 20
_PIECE = 1 << 20
_BATCH = 200  # commands on their way; their replies fit into a pipe
_PATIENCE = 2.0  # seconds that a child may take to leave


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: its variant, number of calls and arena."""

    variant: str
    calls: int
    arena_bytes: int


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds of one run, over `runs` of them."""

    runs: int
    least: float
    median: float


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Seconds of one call."""

    least: float
    median: float


def find_runner() -> Path:
    """`sanderling-run`, installed beside the native module or on the path; CompileError if there is none."""
    folders = [Path(__file__).resolve().parent.parent / "runtime"]
    core = importlib.util.find_spec("sanderling.runtime._core")
    if core is not None and core.origin:
        folders.insert(0, Path(core.origin).parent)
    for folder in folders:
        if os.access(folder / "sanderling-run", os.X_OK):
            return folder / "sanderling-run"
    found = shutil.which("sanderling-run")
    if found is None:
        raise CompileError(
            "sanderling-run is not installed, and nothing can be measured or verified without it"
        )
    return Path(found)


class Server:
    """A running `sanderling-run --serve`; leave the `with` block to end it.

    `command` starts the tool (default: `find_runner`); errors call it `name`. Every method raises
    CompileError if the child refuses, dies, or is silent for more than `timeout` seconds.
    """

    def __init__(
        self,
        command: Sequence[str | Path] | None = None,
        *,
        threads: int = 1,
        timeout: float = 120.0,
        name: str | None = None,
    ) -> None:
        self._timeout = timeout
        self._buffer = b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        line = [str(part) for part in command or (find_runner(),)]
        self._name = name or " ".join(line)
        try:
            self._child = subprocess.Popen(
                [*line, "--serve", "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise CompileError(f"cannot start {self._name}: {error.strerror}") from None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        os.set_blocking(self._stdin.fileno(), False)
        try:
            self.features = self._hello()
        except BaseException:
            self.close(patience=0)
            raise

    def put(self, name: str, package: bytes) -> None:
        """Send a package, to be loaded under this name (no spaces, no slashes)."""
        self._write(f"put {len(package)} {name}\n".encode(), "put")
        self._write(package, "put")
        self._answer("put")

    def load(self, name: str, variant: str | None = None) -> Loaded:
        """Load a package that was sent, or that lies at a path (without spaces) over there."""
        found, *numbers = self._ask("load", name, *([variant] if variant else []))
        calls, arena = self._numbers("load", 2, numbers)
        return Loaded(found, calls, arena)

    def run(self, runs: int) -> RunTimes:
        """Run what is loaded on its own inputs; the server stops early after a minute."""
        done, least, median, *_ = self._numbers("run", 5, self._ask("run", str(runs)))
        return RunTimes(done, least * 1e-9, median * 1e-9)

    def times(self, runs: int) -> list[float]:
        """Seconds of each of so many runs, one right after the other.

        The commands are sent in advance, so that the way there and back lies between none of them.
        """
        seconds: list[float] = []
        while len(seconds) < runs:
            batch = min(_BATCH, runs - len(seconds))
            self._write(b"run 1\n" * batch, "run")
            seconds += [self._numbers("run", 5, self._answer("run"))[1] * 1e-9 for _ in range(batch)]
        return seconds

    def profile(self, runs: int) -> list[CallTimes]:
        """Times of every call, in order."""
        _, size = self._numbers("profile", 2, self._ask("profile", str(runs)))
        lines = self._read(size, "profile").decode(errors="replace").splitlines()
        rows = (self._numbers("profile", 2, line.split()) for line in lines)
        return [CallTimes(least * 1e-9, median * 1e-9) for least, median in rows]

    def unload(self) -> None:
        self._ask("unload")

    def close(self, patience: float = _PATIENCE) -> None:
        """Close the pipes, which ends the child; kill it if it is still there after so many seconds."""
        self._stdin.close()
        deadline = monotonic() + patience
        try:
            self._child.wait(max(deadline - monotonic(), 0))
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._stdout.close()
        if not self._errors.closed:
            self._errors.seek(0)
            self._said = self._errors.read(4096).decode(errors="replace").strip()
            self._errors.close()

    @property
    def alive(self) -> bool:
        """Whether the child is still there: then it was only a request that failed."""
        return self._child.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error nobody knows where in a reply the child is, so it is not asked to leave.
        self.close(patience=_PATIENCE if kind is None else 0)

    def _hello(self) -> frozenset[str]:
        self._write(b"hello\n", "hello")
        words = self._line("hello").split()
        if words[:3] != _PROTOCOL:
            raise CompileError(
                f"{self._name} does not speak the serve protocol, version 1: it says {words[:5]}"
            )
        return frozenset(words[4:])

    def _ask(self, *words: str) -> list[str]:
        if any(not word or len(word.split()) != 1 for word in words):
            raise CompileError(f"the serve protocol has no spaces in names: {words}")
        self._write(" ".join(words).encode() + b"\n", words[0])
        return self._answer(words[0])

    def _answer(self, command: str) -> list[str]:
        status, _, text = self._line(command).partition(" ")
        if status != "ok":
            raise CompileError(f"{self._name}: {command}: {text or status}")
        return text.split()

    def _numbers(self, command: str, count: int, words: Sequence[str]) -> list[int]:
        if len(words) != count or not all(word.isascii() and word.isdigit() for word in words):
            raise CompileError(
                f"{self._name}: {command}: {' '.join(words)[:60]!r} is no answer of this protocol"
            )
        return [int(word) for word in words]

    def _line(self, command: str) -> str:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE:
                raise CompileError(f"{self._name}: {command}: the reply does not end")
            self._receive(command)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace")

    def _read(self, size: int, command: str) -> bytes:
        while len(self._buffer) < size:
            self._receive(command)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _receive(self, command: str) -> None:
        """Wait for more bytes, for as long as silence is allowed."""
        data = receive(self._stdout, self._timeout)
        if data is None:
            raise CompileError(f"{self._name}: {command}: no answer within {self._timeout:g} s")
        if not data:
            raise self._died(command)
        self._buffer += data

    def _write(self, data: bytes, command: str) -> None:
        rest = memoryview(data)
        try:
            while rest:
                if not select.select([], [self._stdin], [], self._timeout)[1]:
                    raise CompileError(f"{self._name}: {command}: takes no data for {self._timeout:g} s")
                rest = rest[os.write(self._stdin.fileno(), rest[:_PIECE]) :]
        except BrokenPipeError:
            raise self._died(command) from None

    def _died(self, command: str) -> CompileError:
        self.close(patience=_PATIENCE)
        return CompileError(f"{self._name}: {command}: {describe_exit(self._child.returncode, self._said)}")


def receive(pipe: IO[bytes], timeout: float) -> bytes | None:
    """What has come, as soon as anything has; empty at the end, None if nothing came in so many seconds."""
    if not select.select([pipe], [], [], max(timeout, 0))[0]:
        return None
    return os.read(pipe.fileno(), _PIECE)


def describe_exit(code: int, said: str) -> str:
    """Why a process ended, for people."""
    how = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
    return how + (f": {said}" if said else "")
