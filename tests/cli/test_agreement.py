"""Outputs are compared by value, whatever a runtime calls them and whichever dimensions of 1 it drops."""

from __future__ import annotations

import numpy as np
import pytest

from sanderling.cli.agreement import DisagreementError, relative_error


def test_relative_error_is_of_the_largest_value() -> None:
    reference = {"a": np.array([1.0, -4.0]), "b": np.array([0.5])}
    found = {"a": np.array([1.0, -4.2]), "b": np.array([0.5])}
    assert relative_error(found, reference) == pytest.approx(0.05)


def test_outputs_of_the_same_names_may_come_in_any_order() -> None:
    reference = {"a": np.array([1.0]), "b": np.array([2.0])}
    assert relative_error(dict(reversed(reference.items())), reference) == 0


def test_outputs_of_other_names_are_taken_in_order() -> None:
    reference = {"a": np.array([1.0]), "b": np.array([2.0])}
    assert relative_error({"out0": np.array([1.0]), "out1": np.array([2.0])}, reference) == 0
    assert relative_error({"out0": np.array([2.0]), "out1": np.array([1.0])}, reference) == 1


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (3, 1, 4)])
def test_dimensions_of_extent_one_do_not_count(shape: tuple[int, ...]) -> None:
    values = np.arange(12.0)
    assert relative_error({"out0": values.reshape(shape)}, {"a": values.reshape(1, 1, 3, 4)}) == 0


@pytest.mark.parametrize("shape", [(4, 3), (12,), (2, 6)])
def test_other_shapes_disagree(shape: tuple[int, ...]) -> None:
    with pytest.raises(DisagreementError, match=r"output 'a': shape .* not \(3, 4\)"):
        relative_error({"a": np.zeros(shape)}, {"a": np.zeros((3, 4))})


def test_another_number_of_outputs_disagrees() -> None:
    with pytest.raises(DisagreementError, match="1 outputs, not 2"):
        relative_error({"a": np.zeros(1)}, {"a": np.zeros(1), "b": np.zeros(1)})


@pytest.mark.parametrize(("found", "reference"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf)])
def test_nan_is_no_small_error(found: float, reference: float) -> None:
    with pytest.raises(DisagreementError, match="NaN or infinity"):
        relative_error({"a": np.array([found, 1.0])}, {"a": np.array([reference, 1.0])})


def test_nan_in_both_is_passed_over() -> None:
    found, reference = np.array([np.nan, 2.2]), np.array([np.nan, 2.0])
    assert relative_error({"a": found}, {"a": reference}) == pytest.approx(0.1)
