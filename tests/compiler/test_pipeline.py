"""The pipeline document: what fits the model passes with its defaults, anything else names the key."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from sanderling.compiler.errors import CompileError
from sanderling.compiler.graph import TensorType
from sanderling.compiler.pipeline import check_pipeline
from sanderling.runtime.manifest import parse_manifest
from sanderling.runtime.plan import Level

INPUTS = {"image": TensorType("float32", (1, 3, 320, 256))}
OUTPUTS = {
    "cls_8": TensorType("float32", (1, 2, 40, 32)),
    "box_8": TensorType("float32", (1, 4, 40, 32)),
    "cls_32": TensorType("float32", (1, 2, 10, 8)),
    "box_32": TensorType("float32", (1, 4, 10, 8)),
    "obj_32": TensorType("float32", (1, 1, 10, 8)),
    "yolo": TensorType("float32", (1, 6, 100)),
    "scores": TensorType("float32", (1, 100, 2)),
    "boxes": TensorType("float32", (1, 100, 4)),
    "ints": TensorType("int64", (1, 2, 40, 32)),
}
SOURCE = {"name": "image", "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}
DETECT: dict[str, Any] = {
    "task": "detect",
    "input": SOURCE,
    "output": {
        "decode": "grid_ltrb_exp",
        "levels": [
            {"stride": 8, "cls": "cls_8", "box": "box_8"},
            {"stride": 32, "cls": "cls_32", "box": "box_32", "obj": "obj_32"},
        ],
    },
    "labels": ["dunlin", "sanderling"],
}


def test_defaults_are_filled_in_and_tensors_become_positions() -> None:
    document, record, labels = check_pipeline(DETECT, INPUTS, OUTPUTS)
    assert labels == ("dunlin", "sanderling")
    assert document["input"] == {**SOURCE, "color": "rgb", "resize": "letterbox", "pad_value": 114.0}
    assert document["output"]["score_threshold"] == 0.35
    assert document["output"]["levels"][0] == {"stride": 8, "cls": "cls_8", "box": "box_8", "obj": None}
    assert record.input == 0
    assert record.levels == (Level(8, 1, 2, None), Level(32, 3, 4, 5))
    assert record.mean[0] == pytest.approx(123.7, rel=1e-7)
    assert record.max_detections == 100


@pytest.mark.parametrize(
    "output",
    [
        DETECT["output"],
        {"decode": "yolo", "levels": [{"cls": "yolo"}]},
        {"decode": "boxes_scores", "levels": [{"cls": "scores", "box": "boxes"}]},
    ],
)
def test_the_runtime_reads_what_comes_out(output: dict[str, Any]) -> None:
    document, record, _ = check_pipeline({**DETECT, "output": output}, INPUTS, OUTPUTS)
    objects: dict[str, Any] = {key: {} for key in ("variants", "lineage", "report", "entries")}
    lists: dict[str, Any] = {key: [] for key in ("inputs", "outputs", "labels", "unsupported")}
    texts = dict.fromkeys(("name", "version", "created_by"), "x")
    manifest = {"format": 1, **texts, **objects, **lists, "pipeline": document}
    stage = parse_manifest(json.dumps(manifest).encode()).pipeline
    assert stage is not None
    assert stage.output.decode == record.decode
    assert [level.stride for level in stage.output.levels] == [level.stride for level in record.levels]


def test_a_checked_document_checks_to_itself() -> None:
    document, record, _ = check_pipeline(DETECT, INPUTS, OUTPUTS)
    assert check_pipeline(document, INPUTS, OUTPUTS)[:2] == (document, record)
    assert DETECT["output"].keys() == {"decode", "levels"}, "the caller's document is not changed"


@pytest.mark.parametrize(
    ("output", "level"),
    [
        ({"decode": "yolo", "levels": [{"cls": "yolo"}]}, Level(1, 6, None, None)),
        ({"decode": "boxes_scores", "levels": [{"cls": "scores", "box": "boxes"}]}, Level(1, 7, 8, None)),
    ],
)
def test_the_other_decoders_have_one_level(output: dict, level: Level) -> None:
    assert check_pipeline({**DETECT, "output": output}, INPUTS, OUTPUTS)[1].levels == (level,)


def test_a_classifier_needs_no_levels() -> None:
    outputs = {"logits": TensorType("float32", (1, 2))}
    document, record, _ = check_pipeline(
        {"task": "classify", "input": SOURCE, "output": {}}, INPUTS, outputs, ["a", "b"]
    )
    assert document["output"] == {"decode": "none", "score": "softmax"}
    assert document["labels"] == ["a", "b"]
    assert (record.decode, record.score, record.levels) == ("none", "softmax", ())


def test_a_gray_image_may_have_its_channel_last_and_one_mean() -> None:
    inputs = {"image": TensorType("float32", (1, 320, 256, 1))}
    source = {"name": "image", "color": "gray", "mean": 127.5, "std": [128]}
    document, record, _ = check_pipeline({**DETECT, "input": source}, inputs, OUTPUTS)
    assert (record.color, record.mean, record.std) == ("gray", (127.5,) * 3, (128.0,) * 3)
    assert document["input"]["mean"] == [127.5]


Edit = Callable[[dict[str, Any]], object]
FAULTS: list[tuple[Edit, str]] = [
    (lambda d: d.pop("task"), "pipeline: task is missing"),
    (lambda d: d.update(task="segment"), "pipeline.task: 'segment'; allowed: detect, classify"),
    (lambda d: d.update(tasks=1), "pipeline: unknown key tasks"),
    (lambda d: d.update(input=[]), "pipeline.input: \\[\\]; an object"),
    (
        lambda d: d["input"].update(name="img"),
        "pipeline.input.name: the model has no 'img'; it has image",
    ),
    (lambda d: d["input"].update(name=["image"]), "pipeline.input.name"),
    (lambda d: d["input"].update(color="gray"), "a gray image needs \\[1, 1, H, W\\]"),
    (lambda d: d["input"].update(color=[]), "pipeline.input.color"),
    (lambda d: d["input"].update(resize="crop"), "pipeline.input.resize: 'crop'"),
    (lambda d: d["input"].update(mean=[1, 2]), "pipeline.input.mean: .*3 numbers"),
    (lambda d: d["input"].update(mean="123"), "pipeline.input.mean: .*3 numbers"),
    (lambda d: d["input"].update(mean=[1, 2, float("nan")]), "pipeline.input.mean: nan is not a number"),
    (lambda d: d["input"].update(std=[1, 0, 1]), "pipeline.input.std: .*positive"),
    (lambda d: d["input"].update(std=[1, 1e-40, 1]), "pipeline.input.std: .*positive"),
    (lambda d: d["input"].update(pad_value=300), "pipeline.input.pad_value: 300; allowed are 0 to 255"),
    (lambda d: d["output"].update(decode="none"), "pipeline.output.decode: 'none'; allowed: grid_ltrb_exp"),
    (lambda d: d["output"].update(score="relu"), "pipeline.output.score"),
    (
        lambda d: d["output"].update(score_threshold=1.5),
        "pipeline.output.score_threshold: 1.5; allowed are 0 to 1",
    ),
    (lambda d: d["output"].update(nms_iou="0.5"), "pipeline.output.nms_iou: '0.5' is not a number"),
    (lambda d: d["output"].update(max_detections=0), "pipeline.output.max_detections: 0"),
    (lambda d: d["output"].update(max_detections=True), "pipeline.output.max_detections: True"),
    (lambda d: d["output"].update(levels=[]), "a list of at least one level"),
    (lambda d: d["output"].update(levels="cls"), "a list of at least one level"),
    (lambda d: d["output"].update(decode="yolo"), "yolo has at most 1, not 2"),
    (lambda d: d["output"]["levels"][0].pop("box"), "levels\\[0\\]: box is missing"),
    (lambda d: d["output"]["levels"][1].update(stride=0), "levels\\[1\\].stride: 0"),
    (
        lambda d: d["output"]["levels"][0].update(stride=16),
        "levels\\[0\\].cls.*\\[1, K, H, W\\], H = 20, W = 16",
    ),
    (lambda d: d["output"]["levels"][0].update(cls="image"), "levels\\[0\\].cls: the model has no 'image'"),
    (lambda d: d["output"]["levels"][0].update(cls="ints"), "'ints' is int64; only float32"),
    (lambda d: d["output"]["levels"][0].update(cls="box_8"), "levels\\[1\\].cls .*K = 4"),
    (lambda d: d["output"]["levels"][0].update(box="cls_8"), "levels\\[0\\].box \\(cls_8\\) has shape"),
    (lambda d: d.update(labels=["one"]), "1 labels for a model with 2 classes"),
    (lambda d: d.update(labels="ab"), "a list of class names"),
    (lambda d: d.update(labels=[1, 2]), "a list of class names"),
]


@pytest.mark.parametrize(("edit", "cause"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_names_its_key(edit: Edit, cause: str) -> None:
    document = copy.deepcopy(DETECT)
    edit(document)
    with pytest.raises(CompileError, match=cause):
        check_pipeline(document, INPUTS, OUTPUTS)


def test_labels_given_twice_must_agree() -> None:
    with pytest.raises(CompileError, match="give one of them"):
        check_pipeline(DETECT, INPUTS, OUTPUTS, labels=["a", "b"])


def test_a_yolo_output_needs_room_for_a_class() -> None:
    outputs = {"yolo": TensorType("float32", (1, 4, 100))}
    output = {"decode": "yolo", "levels": [{"cls": "yolo"}]}
    with pytest.raises(CompileError, match="4\\+K"):
        check_pipeline({"task": "detect", "input": SOURCE, "output": output}, INPUTS, outputs)


@pytest.mark.parametrize(
    ("inputs", "cause"),
    [
        (
            {"image": TensorType("float32", (1, 2))},
            r"'image' has shape \[1, 2\]; a rgb image needs \[1, 3, H, W\]",
        ),
        ({"image": TensorType("float32", (2, 3, 8, 8))}, "a rgb image needs"),
        ({"image": TensorType("uint8", (1, 3, 320, 256))}, "'image' is uint8; only float32"),
        ({**INPUTS, "more": TensorType("float32", (1,))}, "only a model with one input .* has image, more"),
    ],
)
def test_an_input_that_is_no_image_is_refused(inputs: dict[str, TensorType], cause: str) -> None:
    with pytest.raises(CompileError, match=cause):
        check_pipeline(DETECT, inputs, OUTPUTS)
