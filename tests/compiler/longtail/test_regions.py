"""RoiAlign against ONNX Runtime: fixed and adaptive sampling, half pixels or not, regions outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, run_graph


@pytest.mark.parametrize(
    "attributes",
    [
        {"sampling_ratio": 2},
        {"sampling_ratio": 0, "coordinate_transformation_mode": "output_half_pixel"},
        {"sampling_ratio": 0, "mode": "max"},
    ],
    ids=str,
)
def test_agrees_with_onnxruntime(attributes: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((2, 3, 17, 20)).astype(np.float32),
        "regions": np.sort(rng.random((6, 4)).astype(np.float32) * 44 - 4, axis=1),
        "images": np.array([0, 1, 1, 0, 0, 1]),
    }
    node = helper.make_node(
        "RoiAlign", list(feeds), ["y"], output_height=4, output_width=3, spatial_scale=0.5, **attributes
    )
    kinds = {"x": TensorProto.FLOAT, "regions": TensorProto.FLOAT, "images": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in feeds.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 16)],
        ir_version=8,
    )  # fmt: skip
    found = run_graph(run_passes(to_graph(load_onnx(model))), feeds, find_target(TARGETS[-1]), tmp_path)
    np.testing.assert_allclose(found["y"], run_onnxruntime(model, feeds)["y"], rtol=1e-4, atol=1e-5)
