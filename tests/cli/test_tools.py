"""Other people's programs end in time, with everything that they started, and say why they failed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sanderling.cli.tools import ToolError, last_words, run_tool

FAILURES = {
    "exit code": ("echo hello; echo 'no such layer' >&2; exit 3", False, "exit 3: hello; no such layer"),
    "silence": ("exit 1", False, "exit 1: it said nothing"),
    "signal": ("echo working; kill -ABRT $$", True, "killed by SIGABRT: working"),
    "time limit": ("sleep 60", True, "not finished within 0.5 s"),
}


def test_what_it_printed_is_returned(tmp_path: Path) -> None:
    assert run_tool(["sh", "-c", "pwd; echo err >&2"], cwd=tmp_path, timeout=10) == f"{tmp_path}\nerr\n"


@pytest.mark.parametrize("name", FAILURES)
def test_failure_has_its_reason(name: str) -> None:
    script, crashed, reason = FAILURES[name]
    with pytest.raises(ToolError) as caught:
        run_tool(["sh", "-c", script], timeout=0.5 if name == "time limit" else 10)
    assert (str(caught.value), caught.value.crashed) == (reason, crashed)


def test_missing_program_has_its_reason() -> None:
    with pytest.raises(ToolError, match="cannot start /nonexistent/tool: No such file"):
        run_tool(["/nonexistent/tool"], timeout=1)


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    """A grandchild that holds our pipe open would keep us waiting for a minute."""
    began = time.monotonic()
    with pytest.raises(ToolError, match="not finished"):
        run_tool(["sh", "-c", "sleep 60 & sleep 60"], timeout=0.3)
    assert time.monotonic() - began < 10


def test_last_words_are_short() -> None:
    assert last_words("a\n\n  b  \nc\nd\n") == "b; c; d"
    assert len(last_words("x" * 5000)) == 300
