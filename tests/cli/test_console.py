"""A bar for people at a terminal, plain lines for logs."""

from __future__ import annotations

import io

import pytest

from sanderling.cli import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_per_stage() -> None:
    log = io.StringIO()
    with console.Progress(log) as progress:
        for done in range(5):
            progress("tuning", done, 5)
        progress("linking")
    assert log.getvalue() == "tuning\nlinking\n"


def test_a_terminal_gets_a_bar_that_is_gone_afterwards() -> None:
    terminal = Terminal()
    with console.Progress(terminal) as progress:
        progress("tuning", 5, 10)
        progress("tuning", 10, 10)
    shown = terminal.getvalue()
    assert "[############............] 5/10 tuning" in shown
    assert "[########################] 10/10 tuning" in shown
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("done", "total", "expected"), [(0, 0, ""), (0, 4, "." * 24), (9, 4, "#" * 24), (-3, 4, "." * 24)]
)
def test_bar_stays_in_its_bounds(done: int, total: int, expected: str) -> None:
    assert expected in console.bar(done, total)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_456_789, "3.5 MB"), (2.5e9, "2.50 GB")],
)
def test_sizes(count: float, expected: str) -> None:
    assert console.size(count) == expected


def test_table_aligns_numbers_to_the_right() -> None:
    assert console.table(["name", "ms"], [["a", "1.5"], ["longer", "10.25"]]).splitlines() == [
        "name       ms",
        "a         1.5",
        "longer  10.25",
    ]
