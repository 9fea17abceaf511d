"""A model small enough to compile in every test run, and a way to call commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanderling import compiler
from sanderling.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]

_PICTURE = {
    "name": "image",
    "color": "rgb",
    "resize": "stretch",
    "pad_value": 0,
    "mean": [0.0, 0.0, 0.0],
    "std": [255.0, 255.0, 255.0],
}
CLASSIFY = {"task": "classify", "input": _PICTURE, "output": {"decode": "none", "score": "softmax"}}
DETECT = {
    "task": "detect",
    "input": _PICTURE,
    "output": {
        "decode": "grid_ltrb_exp",
        "score": "sigmoid",
        "score_threshold": 0.5,
        "nms_iou": 0.5,
        "max_detections": 10,
        "levels": [{"stride": 8, "cls": "cls_8", "box": "box_8"}],
    },
    "labels": ["red", "never"],
}


@pytest.fixture
def sanderling(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command line in this process: `sanderling("inspect", path)`."""

    def call(*arguments: object) -> Outcome:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def tiny_model() -> onnx.ModelProto:
    """Two convolutions, a pooling and a dense layer: 8×8 pictures in, three classes out."""
    rng = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name)

    nodes = [
        helper.make_node(
            "Conv", ["image", "w1", "b1"], ["c1"], name="first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["c1"], ["r1"], name="first_relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", kernel_shape=[1, 1]),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], name="dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [
            weights("w1", 16, 3, 3, 3),
            weights("b1", 16),
            weights("w2", 16, 16, 1, 1),
            weights("w3", 3, 16),
            weights("b3", 3),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model` as a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    onnx.save(tiny_model(), path)
    return path


@pytest.fixture(scope="session")
def tiny_package(tiny_onnx: Path) -> Path:
    """`tiny_model`, compiled for this machine as a classifier of three classes."""
    path = tiny_onnx.with_suffix(".sand")
    compiler.compile(
        tiny_onnx, output=path, tune="none", pipeline=CLASSIFY, labels=["ant", "bee", "cicada"], verify=False
    )
    return path


def red_detector() -> onnx.ModelProto:
    """Finds red in 32×32 pictures: a box of 16×16 around each cell of 8×8 whose mean is red."""
    red_minus_green = np.zeros((1, 3, 8, 8), np.float32)
    red_minus_green[:, 0], red_minus_green[:, 1] = 20 / 64, -20 / 64
    weights = {
        "wc": np.concatenate([red_minus_green, np.zeros_like(red_minus_green)]),
        "bc": np.array([-10, -30], np.float32),
        "wb": np.zeros((4, 3, 8, 8), np.float32),
        "bb": np.zeros(4, np.float32),
    }
    stride = {"kernel_shape": [8, 8], "strides": [8, 8]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "wc", "bc"], ["cls_8"], name="classes", **stride),
            helper.make_node("Conv", ["image", "wb", "bb"], ["box_8"], name="boxes", **stride),
        ],
        "red",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [
            helper.make_tensor_value_info("cls_8", TensorProto.FLOAT, [1, 2, 4, 4]),
            helper.make_tensor_value_info("box_8", TensorProto.FLOAT, [1, 4, 4, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="session")
def red_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`red_detector`, compiled for this machine."""
    path = tmp_path_factory.mktemp("red") / "red.sand"
    compiler.compile(red_detector(), output=path, tune="none", pipeline=DETECT, name="red", verify=False)
    return path
