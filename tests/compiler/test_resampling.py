"""The tables of Resize against ONNX Runtime, for every mode, coordinate transformation and scale."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.resampling import taps

Array = npt.NDArray[Any]

TRANSFORMATIONS = (
    "align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
    "tf_crop_and_resize",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
MODES = [
    *({"mode": "nearest", "nearest_mode": rounding} for rounding in ROUNDINGS),
    {"mode": "linear"},
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic"},
    {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
    {"mode": "cubic", "antialias": 1},
]
DEFAULTS = {
    "antialias": 0, "exclude_outside": 0, "cubic_coeff_a": -0.75, "nearest_mode": "round_prefer_floor",
}  # fmt: skip


def by_onnxruntime(x: Array, scales: tuple[float, ...], attributes: dict[str, Any]) -> Array:
    roi: Any = attributes.get("roi", ())
    given_ = {key: value for key, value in attributes.items() if key not in ("roi", "scales")}
    node = helper.make_node("Resize", ["x", "roi", "scales"], ["y"], **given_)
    constants = [
        numpy_helper.from_array(np.array(roi, np.float32), "roi"),
        numpy_helper.from_array(np.array(scales, np.float32), "scales"),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    out = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph([node], "resize", [value], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    return run_onnxruntime(model, {"x": x})["y"]


def by_tables(
    x: Array, shape: tuple[int, ...], scales: tuple[float, ...], attributes: dict[str, Any]
) -> Array:
    full = {**DEFAULTS, "roi": (), **attributes, "scales": scales}
    for axis, (before, after) in enumerate(zip(x.shape, shape, strict=True)):
        table = taps(full, axis, before, after)
        parts = np.moveaxis(np.take(x, table.indices, axis), (axis, axis + 1), (-2, -1))
        x = np.moveaxis((parts * table.weights).sum(-1), -1, axis)
        if table.outside is not None:
            x[(slice(None),) * axis + (table.outside,)] = attributes.get("extrapolation_value", 0.0)
    return x


def is_comparable(mode: dict[str, Any], transformation: str) -> bool:
    """ONNX Runtime cannot crop with antialias; symmetric coordinates meet halves but for rounding."""
    return not (
        (mode.get("antialias") and transformation == "tf_crop_and_resize")
        or (mode["mode"] == "nearest" and transformation == "half_pixel_symmetric")
    )


@pytest.mark.parametrize(
    ("mode", "transformation"),
    [pair for pair in itertools.product(MODES, TRANSFORMATIONS) if is_comparable(*pair)],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    factors=st.tuples(*[st.sampled_from([0.3, 0.5, 0.6, 1.0, 1.5, 2.0, 2.6, 3.0])] * 2),
    seed=st.integers(0, 99),
)
@settings(max_examples=15)
def test_tables_mix_what_onnxruntime_mixes(
    mode: dict[str, Any], transformation: str, size: tuple[int, int], factors: tuple[float, float], seed: int
) -> None:
    x = np.random.default_rng(seed).random((1, 2, *size), np.float32)
    scales = (1.0, 1.0, *(max(factor, 1.01 / length) for factor, length in zip(factors, size, strict=True)))
    attributes = {**mode, "coordinate_transformation_mode": transformation}
    if transformation == "tf_crop_and_resize":
        attributes |= {"roi": (0.0, 0.0, 0.25, -0.125, 1.0, 1.0, 0.875, 1.25), "extrapolation_value": 7.0}
    expected = by_onnxruntime(x, scales, attributes)
    found = by_tables(x, expected.shape, scales, attributes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS[:-1])
def test_halves_that_are_not_quite_halves_choose_the_pixel_of_onnxruntime(
    transformation: str, rounding: str
) -> None:
    attributes = {
        "mode": "nearest",
        "nearest_mode": rounding,
        "coordinate_transformation_mode": transformation,
    }
    for before, after in itertools.product((3, 7, 14, 18, 20, 22, 23), range(1, 24)):
        scales = (float(np.float32(after) / np.float32(before)),)
        x = np.arange(before, dtype=np.float32)
        expected = by_onnxruntime(x, scales, attributes)
        if expected.shape != x.shape:
            np.testing.assert_array_equal(by_tables(x, expected.shape, scales, attributes), expected)


def test_unknown_modes_are_named() -> None:
    attributes = {"mode": "area", "scales": (2.0,), "roi": (), "coordinate_transformation_mode": "half_pixel"}
    with pytest.raises(ValueError, match="area"):
        taps(attributes, 0, 4, 8)
