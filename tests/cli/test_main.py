"""The way in: which command, which exit code, and never a traceback for what is the user's to mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sanderling.cli import errors
from sanderling.cli.main import COMMANDS

from .conftest import Command


def test_help_names_every_command(sanderling: Command) -> None:
    outcome = sanderling("--help")
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_examples(sanderling: Command, name: str) -> None:
    outcome = sanderling(name, "--help")
    assert outcome.code == 0
    assert "examples:\n" in outcome.out
    assert f"sanderling {name}" in outcome.out.split("examples:\n")[1]


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("inspect",), ("verify", "a.sand", "--fast"), ("bench", "--runs")]
)
def test_wrong_usage_is_exit_code_2(sanderling: Command, arguments: tuple[str, ...]) -> None:
    outcome = sanderling(*arguments)
    assert outcome.code == 2
    assert "sanderling" in outcome.out + outcome.err


def test_unknown_command_is_told_the_known_ones(sanderling: Command) -> None:
    assert "no command 'fly'; there are: compile, inspect" in sanderling("fly").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "missing.sand"),
        ("verify", "missing.sand"),
        ("run", "missing.sand", "--input", "a.jpg"),
        ("bench", "missing.sand"),
        ("compile", "missing.onnx", "-o", "out.sand"),
    ],
)
def test_missing_file_is_one_line(sanderling: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    outcome = sanderling(*(tmp_path / part if part.startswith("missing") else part for part in arguments))
    assert outcome.code == 1
    assert outcome.out == ""
    last = outcome.err.splitlines()[-1]
    assert last.startswith("sanderling: ")
    assert "missing." in last
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.CommandError("two\n  lines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "a.sand"), "a.sand: No such file or directory"),
        (
            ModuleNotFoundError("No module named 'tvm'", name="tvm.relax"),
            "this needs tvm: pip install 'sanderling[compile]'",
        ),
        (ModuleNotFoundError("No module named 'sanderling.x'", name="sanderling.x"), None),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_what_is_said_of_an_error(error: Exception, expected: str | None) -> None:
    assert errors.explain(error) == expected


def test_traceback_on_request(sanderling: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDERLING_DEBUG", "1")
    assert "Traceback" in sanderling("inspect", "missing.sand").err


def test_interrupt_is_130(sanderling: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sanderling.cli.inspect.execute", interrupt)
    outcome = sanderling("inspect", "a.sand")
    assert (outcome.code, outcome.err) == (130, "sanderling: interrupted\n")


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    command = f"set -o pipefail; {sys.executable} -m sanderling.cli --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_help_imports_no_extra() -> None:
    code = (
        "import sys; from sanderling.cli import main; main(['bench', '--help']); "
        "extras = {'numpy', 'onnx', 'onnxruntime', 'tvm', 'cv2', 'torch'}; "
        "print(sorted(extras & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
