"""Arguments mean what they say, and anything else is refused with an example of what is meant."""

from __future__ import annotations

import argparse

import pytest

from sanderling.cli import arguments


@pytest.mark.parametrize(("text", "expected"), [("1", (1,)), ("1,2,4", (1, 2, 4))])
def test_thread_counts(text: str, expected: tuple[int, ...]) -> None:
    assert arguments.thread_counts(text) == expected


@pytest.mark.parametrize("text", ["", "0", "1,", "-1", "1.5", "two", "1,0", "9999999999"])
def test_thread_counts_refuse(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        arguments.thread_counts(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "one", "9999999999"])
def test_seed_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 0"):
        arguments.seed(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "fast"])
def test_positive_float_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        arguments.positive_float(text)


@pytest.mark.parametrize("text", ["-0.1", "1.1", "nan", "", "half"])
def test_probability_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
        arguments.probability(text)


def test_numbers_are_taken() -> None:
    assert arguments.positive_float("2.5") == 2.5
    assert arguments.probability("0") == 0.0
    assert arguments.positive_int("12") == 12
    assert arguments.seed("0") == 0


@pytest.mark.parametrize(("text", "expected"), [("5%", 0.05), ("0.5 %", 0.005), ("100%", 1.0), ("0%", 0.0)])
def test_percentage(text: str, expected: float) -> None:
    assert arguments.percentage(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "0.05", "-5%", "%", "five%", "nan%", "1e3%", "5%%"])
def test_percentage_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a percentage such as 5%"):
        arguments.percentage(text)
