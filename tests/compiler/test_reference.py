"""The reference: seeded inputs, ONNX Runtime's outputs, and the measure of error."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from sanderling.compiler.errors import CompileError
from sanderling.compiler.graph import TensorType
from sanderling.compiler.reference import Reference, largest_error, make_inputs

TYPES = {
    "x": TensorType("float32", (2, 3)),
    "h": TensorType("float16", (50,)),
    "bytes": TensorType("uint8", (4, 500)),
    "ids": TensorType("int64", (1, 100)),
    "mask": TensorType("bool", (100,)),
    "scalar": TensorType("float64", ()),
}


def test_inputs_have_their_types_and_depend_on_the_seed_alone() -> None:
    first, second, other = make_inputs(TYPES), make_inputs(TYPES), make_inputs(TYPES, seed=1)
    for name, type_ in TYPES.items():
        assert (first[name].dtype, first[name].shape) == (np.dtype(type_.dtype), type_.shape)
        assert np.array_equal(first[name], second[name])
    assert not np.array_equal(first["x"], other["x"])
    assert first["bytes"].max() > 250
    assert set(first["ids"].flat) == {0, 1}


@pytest.mark.parametrize("shape", [(1, 3, 40, 24), (1, 40, 24, 3)])
def test_a_pipelines_input_gets_an_image(shape: tuple[int, ...]) -> None:
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    pipeline = {"input": {"name": "image", "mean": mean, "std": std}}
    image = make_inputs({"image": TensorType("float32", shape)}, pipeline=pipeline)["image"]
    assert (image.shape, image.dtype) == (shape, np.float32)
    axis = (-1, 1, 1) if shape[1] == 3 else (-1,)
    pixels = image[0] * np.reshape(std, axis) + np.reshape(mean, axis)
    assert np.allclose(pixels, np.rint(pixels), atol=1e-4)
    assert -1e-4 <= pixels.min() < 50
    assert 200 < pixels.max() <= 255.0001


def model(op: str = "Relu") -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return data


def test_onnx_runtime_gives_outputs_by_name_and_times() -> None:
    x = np.array([[-1, 2, 0], [3, -4, 5]], np.float32)
    reference = Reference(model())
    assert np.array_equal(reference.run({"x": x})["y"], np.maximum(x, 0))
    assert all(seconds > 0 for seconds in reference.time({"x": x}, 3))


def test_what_onnx_runtime_refuses_is_an_error_of_ours() -> None:
    with pytest.raises(CompileError, match="cannot load the model"):
        Reference(model("NoSuchOperator"))
    with pytest.raises(CompileError, match="cannot run the model"):
        Reference(model()).run({"x": np.zeros((9, 9), np.float32)})


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([1.0, -3.0], [1.0, -4.0], 0.25),
        ([0.5, 0.0], [0.0, 0.0], 0.5),
        ([], [], 0.0),
        ([nan, 1.0], [nan, 1.0], 0.0),
        ([nan, 1.0], [0.0, 1.0], inf),
        ([0.0, 1.0], [nan, 1.0], inf),
        ([inf, 1.0], [inf, 1.0], 0.0),
        ([inf, 1.0], [-inf, 1.0], inf),
        ([inf, 1.0], [3.0, 1.0], inf),
        ([1.0], [1.0, 1.0], inf),
    ],
)
def test_error_is_relative_to_the_largest_reference_value(
    found: list[float], wanted: list[float], error: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert largest_error(np.array(found), np.array(wanted)) == error


def test_unsigned_differences_do_not_wrap_around() -> None:
    assert largest_error(np.array([1], np.uint8), np.array([2], np.uint8)) == 0.5


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)), st.floats(1e-3, 1))
def test_error_grows_with_a_disturbance(wanted: np.ndarray, size: float) -> None:
    found = wanted.astype(np.float64)
    found[0, 0] += size * max(np.abs(wanted).max(), 1e-30)
    assert largest_error(found, wanted) >= 0.99 * (size if wanted.any() else size * 1e-30)
