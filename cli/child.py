"""A contender's process, from outside: questions with a deadline, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sanderling.cli.errors import CommandError
from sanderling.cli.tools import INSTALL_NOTHING

OWN_PYTHON = (sys.executable, "-P")
_FOLDER = Path(__file__).resolve().parent
# The folder goes to the end of the path: our `inspect` must not stand in for Python's.
_START = "import sys; sys.path.append(sys.argv[1]); from contenders.main import main; main()"
_MAX_ANSWER = 1 << 26
_ENDING_SECONDS = 2.0
_LAST_WORDS = 500


class ContenderError(CommandError):
    """The runtime failed; `refused` if it said itself that it cannot run the model."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class Child:
    """`contenders/` in an interpreter of its own, in a session of its own: Ctrl-C reaches only us.

    `python` is how that interpreter is called, `environment` what is added to its environment variables.
    """

    def __init__(
        self, python: Sequence[str | Path] = OWN_PYTHON, environment: Mapping[str, str] | None = None
    ) -> None:
        self._buffer = b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        try:
            self._process = subprocess.Popen(
                [*map(str, python), "-c", _START, str(_FOLDER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **INSTALL_NOTHING, **(environment or {})},
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise ContenderError(f"cannot start {python[0]}: {error.strerror}") from None

    def ask(self, do: str, *, timeout: float, **request: Any) -> dict[str, Any]:
        """The answer. Raises ContenderError if there is none in time, if it is an error, or garbage."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
        except BrokenPipeError:
            raise self._died() from None
        line = self._line(time.monotonic() + timeout, timeout)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ContenderError(f"the measuring process answers {line[:60]!r}")
        if "error" in answer:
            said = self._last_words()
            text = f"{answer['error']}{f' ({said})' if said else ''}"
            raise ContenderError(text, refused=bool(answer.get("refused")))
        return answer

    def end(self) -> None:
        """Kill it and whatever it started: nothing of it is needed any more."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _line(self, deadline: float, timeout: float) -> bytes:
        assert self._process.stdout
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_ANSWER:
                raise ContenderError("the measuring process's answer does not end")
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ContenderError(f"the measuring process gave no answer within {timeout:g} s")
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise self._died()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> ContenderError:
        try:
            status = self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return ContenderError("the measuring process closed its output")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit {status}"
        said = self._last_words()
        return ContenderError(f"the measuring process died ({how}{f': {said}' if said else ''})")

    def _last_words(self) -> str:
        """The last line that the runtime printed."""
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _LAST_WORDS))
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
