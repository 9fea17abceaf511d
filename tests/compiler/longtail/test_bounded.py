"""Kernels that find as much as the data has, against ONNX Runtime: the same rows in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanderling.compiler.evaluate import evaluate, run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.graph import Graph
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, Machine

Array = npt.NDArray[Any]
Feeds = dict[str, Array]


def suppression(
    batch: int = 2,
    classes: int = 3,
    count: int = 60,
    *,
    most: int | None = 5,
    iou: float | None = 0.5,
    score: float | None = 0.3,
    center: int = 0,
) -> onnx.ModelProto:
    """One NonMaxSuppression; optional inputs that are None are left out."""
    given = {"most": (most, np.int64), "iou": (iou, np.float32), "score": (score, np.float32)}
    constants = [
        numpy_helper.from_array(np.array([value], dtype), name)
        for name, (value, dtype) in given.items()
        if value is not None
    ]
    names = ["boxes", "scores", *(name if value is not None else "" for name, (value, _) in given.items())]
    while not names[-1]:
        names.pop()
    node = helper.make_node("NonMaxSuppression", names, ["found"], center_point_box=center)
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [batch, count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes, count]),
    ]
    output = helper.make_tensor_value_info("found", TensorProto.INT64, ["n", 3])
    graph = helper.make_graph([node], "g", inputs, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def boxes(rng: np.random.Generator, batch: int, count: int, kind: str) -> Array:
    """Corners in any order; `grid`: so few places that boxes coincide and overlap by exactly a half."""
    if kind == "grid":
        first, size = rng.integers(0, 6, (batch, count, 2)), rng.integers(0, 4, (batch, count, 2))
    else:
        first, size = rng.uniform(0, 50, (batch, count, 2)), rng.uniform(-20, 20, (batch, count, 2))
    return np.concatenate([first, first + size], -1).astype(np.float32)


def random_feeds(seed: int, batch: int, classes: int, count: int, kind: str) -> Feeds:
    """`grid`: few different scores, so that most are ties."""
    rng = np.random.default_rng(seed)
    shape = (batch, classes, count)
    scores = rng.integers(0, 5, shape) / 4 if kind == "grid" else rng.uniform(0, 1, shape)
    return {"boxes": boxes(rng, batch, count, kind), "scores": scores.astype(np.float32)}


def compiled(model: onnx.ModelProto, target: str, folder: Path) -> tuple[Graph, Machine]:
    graph = run_passes(to_graph(load_onnx(model)))
    return graph, Machine(graph, find_target(target), folder)


CASES: dict[str, dict[str, Any]] = {
    "as exporters write it": {},
    "corners": {"iou": 0.45, "most": 60},
    "centers": {"center": 1},
    "centers, all": {"center": 1, "most": 1000, "score": None},
    "one image, one class": {"batch": 1, "classes": 1, "count": 300, "most": 100},
    "no score threshold": {"score": None},
    "no thresholds": {"score": None, "iou": None},
    "no IoU threshold, but one for scores": {"iou": None},
    "threshold that is one of the scores": {"score": 0.5},
    "threshold above all scores": {"score": 1.0},
    "negative threshold": {"score": -1.0},
    "IoU 0: whatever touches goes": {"iou": 0.0},
    "IoU 1: nothing goes": {"iou": 1.0},
    "a third, which no float is": {"iou": 1 / 3},
    "one box": {"count": 1, "most": 3},
    "one of each class": {"most": 1},
    "most 0": {"most": 0},
    "most below 0": {"most": -3},
    "most left out": {"most": None, "iou": None, "score": None},
    "most far above what there is": {"most": 2**62},
}


@pytest.mark.parametrize("name", CASES)
def test_suppression_selects_what_onnxruntime_selects(name: str, tmp_path: Path) -> None:
    sizes = {"batch": 2, "classes": 3, "count": 60} | CASES[name]
    model = suppression(**sizes)
    graph, machine = compiled(model, TARGETS[len(name) % len(TARGETS)], tmp_path)
    rows = set()
    for seed in range(12):
        kind = "grid" if seed % 2 else "free"
        feeds = random_feeds(seed, sizes["batch"], sizes["classes"], sizes["count"], kind)
        wanted = run_onnxruntime(model, feeds)["found"]
        whole = machine.run(feeds, seed)
        np.testing.assert_array_equal(graph.real(whole)["found"], wanted)
        padding = whole["found"][len(wanted) :]
        assert not padding.any()  # a row of zeros is a box that exists
        np.testing.assert_array_equal(evaluate(graph, feeds)["found"], wanted)
        rows.add(len(wanted))
    impossible = name in ("most 0", "most below 0", "most left out", "threshold above all scores")
    assert rows == {0} if impossible else max(rows) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_boxes_that_overlap_by_just_the_threshold_are_judged_as_onnxruntime_does(
    target: str, tmp_path: Path
) -> None:
    """A fused multiply-add in the union would round differently, and lose or keep some of these."""
    count = 200
    model = suppression(1, 1, count, most=count, score=None)
    del model.graph.initializer[1]  # the threshold becomes an input
    model.graph.input.append(helper.make_tensor_value_info("iou", TensorProto.FLOAT, [1]))
    graph, machine = compiled(model, target, tmp_path)
    rng = np.random.default_rng(7)
    near = boxes(rng, 1, count, "free")
    near[0, 1::2] = near[0, ::2] + rng.uniform(-3, 3, (count // 2, 4)).astype(np.float32)
    feeds = {"boxes": near, "scores": rng.uniform(0, 1, (1, 1, count)).astype(np.float32)}
    kept = set()
    for number in range(0, count, 2):
        overlap = intersection_over_union(near[0, number], near[0, number + 1])
        for threshold in (overlap, np.nextafter(overlap, np.float32(0))):
            feeds["iou"] = np.array([np.clip(threshold, 0, 1)], np.float32)
            wanted = run_onnxruntime(model, feeds)["found"]
            np.testing.assert_array_equal(graph.real(machine.run(feeds))["found"], wanted)
            kept.add(len(wanted))
    assert len(kept) > 10


def intersection_over_union(one: Array, other: Array) -> np.float32:
    """Of boxes with corners in any order, every step rounded to single precision."""
    a, b = (np.sort(box.reshape(2, 2), axis=0) for box in (one, other))
    inter = np.prod(np.maximum(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), np.float32(0)))
    areas = [np.prod(box[1] - box[0], dtype=np.float32) for box in (a, b)]
    return np.float32(inter / np.float32(np.float32(areas[0] + areas[1]) - inter))


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(1,), (70,), (5, 7), (2, 3, 4, 5)])
def test_non_zero_finds_what_onnxruntime_finds(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["found"])],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("found", TensorProto.INT64, [len(shape), "n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    simple, machine = compiled(model, TARGETS[len(shape) % len(TARGETS)], tmp_path)
    rng = np.random.default_rng(len(shape))
    for share in (0.0, 0.3, 1.0):
        feeds = {"x": (rng.uniform(0, 1, shape) < share).astype(dtype)}
        whole = machine.run(feeds)
        wanted = run_onnxruntime(model, feeds)["found"]
        np.testing.assert_array_equal(simple.real(whole)["found"], wanted)
        assert not whole["found"][:, wanted.shape[1] :].any()
