"""Other people's programs, with a time limit, and what they say when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sanderling.cli.errors import CommandError

# Some programs install what they miss while they run: not here.
INSTALL_NOTHING = {"PIP_NO_INDEX": "1"}
_LAST_LINES = 3
_LAST_CHARACTERS = 300


class ToolError(CommandError):
    """The program failed; the text is the end of what it said. `crashed`: by a signal, or out of time."""

    def __init__(self, text: str, *, crashed: bool) -> None:
        super().__init__(text)
        self.crashed = crashed


def run_tool(
    command: Sequence[object],
    *,
    cwd: Path | None = None,
    timeout: float,
    environment: Mapping[str, str] = INSTALL_NOTHING,
) -> str:
    """Run a program to its end and return what it printed. Raises ToolError.

    `environment` is what is added to its environment variables.

    It has a session of its own, so that whatever it starts ends with it: after the time limit, on Ctrl-C, or
    when it ends itself.
    """
    line = [str(part) for part in command]
    try:
        process = subprocess.Popen(
            line,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"cannot start {line[0]}: {error.strerror}", crashed=True) from None
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ToolError(f"not finished within {timeout:g} s", crashed=True) from None
    finally:
        _end(process)
    text = output.decode(errors="replace")
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise ToolError(f"killed by {name}: {last_words(text)}", crashed=True)
    if process.returncode > 0:
        raise ToolError(f"exit {process.returncode}: {last_words(text)}", crashed=False)
    return text


def last_words(text: str) -> str:
    """The end of what a program said, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-_LAST_LINES:])[-_LAST_CHARACTERS:] or "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
