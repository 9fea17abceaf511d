"""From `sys.argv` to a command's exit code.

A command is a module of this package with a docstring, `EXAMPLES`, `add_arguments(parser)` and
`execute(args) -> int`. Only the one that was asked for is imported, so `--help` is quick and needs no extra.

Exit codes: 0 success, 1 the command failed (one line on stderr says why), 2 wrong usage, 3 `bench --compare`
found a regression, 130 interrupted, 143 ended by SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from sanderling.cli.errors import CommandError, explain

COMMANDS = {
    "compile": "compile a model into one .sand package",
    "inspect": "show what a package holds",
    "verify": "check a package's structure and digests",
    "run": "run a package on images or arrays",
    "bench": "measure a model beside other runtimes, in turns; or on a device",
    "demo": "compile the bird detector, run it on a clip, write a video and a report",
}

_USAGE = """usage: sanderling COMMAND …        sanderling COMMAND --help        sanderling --version

Compile a trained model once, run it at the edge.

{commands}

Environment: SANDERLING_DEBUG=1 shows the whole traceback of an error.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (without the program's name) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings(), _interrupted_by_sigterm():
            warnings.showwarning = _show_warning
            return _dispatch(arguments)
    except KeyboardInterrupt as stop:
        print("sanderling: interrupted", file=sys.stderr)
        return 143 if isinstance(stop, _TerminatedError) else 130
    except BrokenPipeError:
        # Our reader has gone (`sanderling inspect … | head`); Python must not flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        message = explain(error)
        if message is None or os.environ.get("SANDERLING_DEBUG") == "1":
            traceback.print_exc()
        print(f"sanderling: {message or f'internal error: {error!r}; please report it'}", file=sys.stderr)
        return 1


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM has come."""


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end a command as Ctrl-C does: temporary files and processes go."""

    def stop(*_: object) -> None:
        raise _TerminatedError

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, which handles all signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One line, without the place in our code that Python would show."""
    print(f"sanderling: warning: {message}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        table = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
        print(_USAGE.format(commands=table), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"sanderling {_version()}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"sanderling: no command {name!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    command = importlib.import_module(f"sanderling.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"sanderling {name}",
        description=command.__doc__,
        epilog=f"examples:\n{command.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    try:
        parsed = parser.parse_args(arguments[1:])
    except SystemExit as stop:  # argparse has already printed help or the usage error
        return stop.code if isinstance(stop.code, int) else 2
    code: int = command.execute(parsed)
    return code


def _version() -> str:
    try:
        return version("sanderling")
    except PackageNotFoundError as error:
        raise CommandError("sanderling is not installed; run `make setup` or `pip install .`") from error
