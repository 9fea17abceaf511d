"""DLRModel has DLR's face: code written for Neo runs after changing one import."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sanderling
from sanderling import SanderlingError
from sanderling.runtime.dlr import DLRModel

X = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)


def test_the_constructor_takes_what_dlr_takes(affine_path: Path) -> None:
    parameters = list(inspect.signature(DLRModel).parameters)
    assert parameters[:4] == ["model_path", "dev_type", "dev_id", "error_log_file"]
    DLRModel(str(affine_path), "cpu", 0)
    DLRModel(str(affine_path.parent))  # a folder that holds the package, as Neo's artefacts do


@pytest.mark.parametrize(
    "values",
    [X, {"x": X}, {"x": X.astype(np.float64)}, {"x": X.tolist()}, X[:, ::-1, :, :].copy()[:, ::-1]],
    ids=["array", "dict", "cast", "list", "non-contiguous"],
)
def test_run_gives_a_list_of_arrays(affine_path: Path, values: Any) -> None:
    twice, thrice = DLRModel(affine_path).run(values)
    np.testing.assert_array_equal(twice, 2 * X + 1)
    np.testing.assert_array_equal(thrice, 3 * X + 1)


def test_the_model_describes_itself(affine_path: Path, copies_path: Path) -> None:
    model = DLRModel(affine_path)
    assert model.get_input_names() == ["x"]
    assert model.get_output_names() == ["twice", "thrice"]
    assert model.get_input_dtypes() == ["float32"]
    assert model.get_output_dtypes() == ["float32", "float32"]
    assert (model.get_input_name(0), model.get_output_name(1)) == ("x", "thrice")
    assert (model.get_input_dtype(0), model.get_output_dtype(1)) == ("float32", "float32")
    assert model.has_metadata() is True
    assert model.get_version() == sanderling.__version__
    assert DLRModel(copies_path).get_input_dtypes() == ["int64", "bool", "float32"]


def test_get_input_gives_back_what_the_last_run_got(affine_path: Path) -> None:
    model = DLRModel(affine_path)
    assert not model.get_input("x").any()
    model.run(X)
    np.testing.assert_array_equal(model.get_input("x"), X)
    assert model.get_input("x", (3, 64)).shape == (3, 64)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"y": X}, ["'y'", "'x'"]),
        ({}, ["'x'"]),
        (X[0], ["'x'", "dimensions"]),
        ([X], ["input_values"]),
        (None, ["input_values"]),
    ],
)
def test_wrong_input_is_an_error_and_a_line_in_the_log(
    affine_path: Path, tmp_path: Path, values: Any, words: list[str]
) -> None:
    log = tmp_path / "errors.log"
    model = DLRModel(affine_path, error_log_file=str(log))
    with pytest.raises(SanderlingError) as caught:
        model.run(values)
    assert [word for word in words if word not in str(caught.value)] == []
    assert str(caught.value) in log.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"dev_type": "gpu"}, ["gpu", "cpu"]), ({"dev_id": 1}, ["dev_id 1"])],
)
def test_other_devices_are_refused(affine_path: Path, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SanderlingError) as caught:
        DLRModel(affine_path, **options)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_folder_needs_exactly_one_package(tmp_path: Path, affine_path: Path) -> None:
    with pytest.raises(SanderlingError, match=r"0 \.sand files"):
        DLRModel(tmp_path)
    for name in ("a.sand", "b.sand"):
        (tmp_path / name).write_bytes(affine_path.read_bytes())
    with pytest.raises(SanderlingError, match=r"2 \.sand files"):
        DLRModel(tmp_path)


@pytest.mark.parametrize("call", ["get_input_name", "get_output_name", "get_input_dtype", "get_output_dtype"])
@pytest.mark.parametrize("index", [-1, 9])
def test_wrong_indices_and_names_are_errors(affine_path: Path, call: str, index: int) -> None:
    model = DLRModel(affine_path)
    with pytest.raises(SanderlingError, match=str(index)):
        getattr(model, call)(index)
    with pytest.raises(SanderlingError, match="'y'"):
        model.get_input("y")
