"""The table of operators says what ONNX's own tests show."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import operators, results

ROWS = {row["operator"]: row for row in results.read(results.RESULTS / "operators.json")["rows"]}

SAMPLE = [
    "test_argmax_keepdims_random",
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
    "test_batchnorm_example",
    "test_conv_with_strides_and_asymmetric_padding",
    "test_convtranspose_output_shape",
    "test_gridsample_bicubic",
    "test_group_normalization_example",
    "test_gathernd_example_int32_batch_dim1",
    "test_einsum_batch_matmul",
    "test_eyelike_with_dtype",
    "test_hardmax_axis_1",
    "test_onehot_negative_indices",
    "test_qlinearmatmul_2D_uint8_float32",
    "test_reduce_max_bool_inputs",
    "test_resize_tf_crop_and_resize",
    "test_resize_downsample_sizes_cubic_antialias",
    "test_scatternd_add",
    "test_top_k_smallest",
    "test_dynamicquantizelinear_min_adjusted",
    "test_roialign_aligned_true",
    "test_lstm_with_peepholes",
    "test_gru_batchwise",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", list(operators.cases(SAMPLE)), ids=lambda case: case.name)
def test_case_is_native_and_right(case: Any) -> None:
    assert operators.check(case) == operators.Result(case.name, case.model.graph.node[-1].op_type, "right")


def test_the_sample_exists() -> None:
    assert sorted(case.name for case in operators.cases(SAMPLE)) == sorted(SAMPLE)


def test_what_is_not_native_names_its_reason() -> None:
    (case,) = operators.cases(["test_det_2d"])
    found = operators.check(case)
    assert (found.outcome, found.reason) == ("refused", "there is no kernel for this operator")


def test_the_page_is_made_from_the_results() -> None:
    document = results.read(results.RESULTS / "operators.json")
    assert operators.PAGE.read_text(encoding="utf-8") == operators.render(document)


def test_the_results_have_every_operator_and_none_is_wrong() -> None:
    assert ROWS.keys() == operators.operators().keys()
    assert [name for name, row in ROWS.items() if row["wrong"]] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_the_results_are_those_of_today() -> None:
    found = operators.summarize(operators.check(case) for case in operators.cases())
    assert {row["operator"]: row["right"] for row in found} == {
        name: row["right"] for name, row in ROWS.items()
    }
    assert [row["operator"] for row in found if row["wrong"]] == []
