"""A sample of ONNX's own test suite, through the interface that it defines."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from sanderling.compiler import onnx_backend as backend

NATIVE = [
    "test_relu",
    "test_add_bcast",
    "test_basic_conv_with_padding",
    "test_conv_with_strides_padding",
    "test_matmul_3d",
    "test_gemm_all_attributes",
    "test_maxpool_2d_pads",
    "test_averagepool_2d_strides",
    "test_globalaveragepool",
    "test_clip_example",
    "test_concat_2d_axis_1",
    "test_sigmoid",
    "test_softmax_axis_1",
    "test_conv_with_autopad_same",
    "test_hardswish",
]
IMPOSSIBLE = ["test_det_2d"]


@cache
def cases() -> dict[str, TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite computes with infinities on purpose
        return {case.name: case for case in load_model_tests(kind="node")}


@pytest.mark.parametrize("name", NATIVE)
def test_case_of_the_onnx_suite(name: str) -> None:
    case = cases()[name]
    rep = backend.prepare(case.model)
    for inputs, outputs in case.data_sets:
        for result, expected in zip(rep.run(inputs), outputs, strict=True):
            np.testing.assert_allclose(result, expected, rtol=case.rtol, atol=1e-6)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_has_no_kernel_says_that_it_is_not_implemented(name: str) -> None:
    model = cases()[name].model
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="Det"):
        backend.prepare(model)
    assert not backend.is_compatible(model)


def test_inputs_go_by_order_or_name_and_outputs_have_names() -> None:
    graph = helper.make_graph(
        [helper.make_node("Sub", ["a", "b"], ["difference"], name="sub")],
        "g",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "ab"],
        [helper.make_tensor_value_info("difference", onnx.TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    a, b = np.float32([3, 4]), np.float32([1, 1])
    rep = backend.prepare(model, "CPU")
    for inputs in ([a, b], {"b": b, "a": a}):
        np.testing.assert_array_equal(rep.run(inputs).difference, [2, 3])
    np.testing.assert_array_equal(backend.run_model(model, [a, b])[0], [2, 3])


def test_only_the_cpu_is_a_device() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="CUDA"):
        backend.prepare(cases()["test_relu"].model, "CUDA")
