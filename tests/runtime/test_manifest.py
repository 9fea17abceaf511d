"""manifest.json: what it means, and that any bytes in its place are an error that names the field."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import PackageError
from sanderling.runtime.manifest import MAX_BYTES, Entry, parse_manifest

VALID: dict[str, Any] = {
    "format": 1,
    "name": "birds",
    "version": "1.2.3",
    "created_by": "sanderling 0.1.0",
    "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 3, 32, 48]}],
    "outputs": [{"name": "c", "dtype": "bfloat16", "shape": []}],
    "pipeline": {
        "task": "detect",
        "input": {
            "name": "image",
            "color": "rgb",
            "resize": "letterbox",
            "pad_value": 114,
            "mean": [1, 2, 3.5],
            "std": [1, 1, 1],
        },
        "output": {
            "decode": "grid_ltrb_exp",
            "score": "sigmoid",
            "score_threshold": 0.35,
            "nms_iou": 0.5,
            "max_detections": 100,
            "levels": [
                {"stride": 8, "cls": "c", "box": "b", "obj": None},
                {"stride": 16, "cls": "d", "box": "e"},
            ],
        },
        "labels": ["dunlin"],
    },
    "labels": ["dunlin"],
    "variants": {"x86-64-v3": {"arch": "x86_64", "native": True}},
    "lineage": {"opset": 17},
    "report": {},
    "unsupported": [{"node": "n", "op": "NonZero", "reason": "its output has no fixed shape"}],
    "entries": {"model.onnx": {"sha256": "ab" * 32, "size": 12}},
    "a key of a later version": {"is": "ignored"},
}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(VALID)
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    return document


def without(*path: str | int) -> dict[str, Any]:
    document = copy.deepcopy(VALID)
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    del target[path[-1]]
    return document


def test_every_field_is_read() -> None:
    manifest = parse_manifest(encoded(VALID))
    assert (manifest.name, manifest.version, manifest.created_by) == ("birds", "1.2.3", "sanderling 0.1.0")
    assert [(s.name, s.shape, s.dtype) for s in manifest.inputs] == [
        ("image", (1, 3, 32, 48), np.dtype("float32"))
    ]
    assert [(s.shape, s.dtype) for s in manifest.outputs] == [((), np.dtype("uint16"))]  # bits of bfloat16
    assert manifest.pipeline is not None
    assert manifest.pipeline.input.mean == (1, 2, 3.5)
    assert [(level.stride, level.box, level.obj) for level in manifest.pipeline.output.levels] == [
        (8, "b", None),
        (16, "e", None),
    ]
    assert manifest.labels == ("dunlin",)
    assert manifest.entries == {"model.onnx": Entry("ab" * 32, 12)}
    assert manifest.unsupported[0]["op"] == "NonZero"


@pytest.mark.parametrize(
    "document", [changed("pipeline", to=None), changed("variants", to={}), without("pipeline", "labels")]
)
def test_what_may_be_missing(document: dict[str, Any]) -> None:
    parse_manifest(encoded(document))


def test_a_classifier_has_no_boxes() -> None:
    document = changed("pipeline", "output", to={"decode": "none", "score": "softmax"})
    document["pipeline"]["task"] = "classify"
    pipeline = parse_manifest(encoded(document)).pipeline
    assert pipeline is not None
    assert (pipeline.output.score, pipeline.output.levels) == ("softmax", ())


@pytest.mark.parametrize("field", [key for key in VALID if key != "a key of a later version"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(PackageError, match=f"'{field}' is missing"):
        parse_manifest(encoded(without(field)))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], ["manifest.json", "object"]),
        (changed("format", to=2), ["format 2"]),
        (changed("format", to=True), ["format", "integer"]),
        (changed("name", to="../etc"), ["name", "'../etc'"]),
        (changed("name", to=""), ["name"]),
        (changed("name", to=7), ["name", "7"]),
        (changed("inputs", to={}), ["inputs", "list"]),
        (changed("inputs", to=[1]), ["inputs[0]", "object"]),
        (changed("inputs", 0, "dtype", to="complex64"), ["inputs[0].dtype", "complex64", "float32"]),
        (changed("inputs", 0, "dtype", to=["float32"]), ["inputs[0].dtype"]),
        (changed("inputs", 0, "shape", to=[1, 0]), ["inputs[0].shape[1]", "at least 1"]),
        (changed("inputs", 0, "shape", to=[-1]), ["inputs[0].shape[0]"]),
        (changed("inputs", 0, "shape", to=[1.0]), ["inputs[0].shape[0]"]),
        (changed("inputs", 0, "shape", to=["N"]), ["inputs[0].shape[0]", "'N'"]),
        (changed("inputs", 0, "shape", to=[1] * 9), ["inputs[0].shape", "8 dimensions"]),
        (changed("inputs", 0, "shape", to=[2**63]), ["inputs[0].shape[0]"]),
        (changed("labels", to=["a", 1]), ["labels[1]"]),
        (changed("variants", to=[]), ["variants", "object"]),
        (changed("variants", "x86-64-v3", to=1), ["variants.x86-64-v3", "object"]),
        (changed("lineage", to=None), ["lineage"]),
        (changed("unsupported", to=["n"]), ["unsupported[0]"]),
        (changed("entries", "model.onnx", "sha256", to="AB" * 32), ["entries.model.onnx.sha256"]),
        (changed("entries", "model.onnx", "sha256", to="ab"), ["entries.model.onnx.sha256"]),
        (changed("entries", "model.onnx", "size", to=-1), ["entries.model.onnx.size"]),
        (changed("entries", "model.onnx", "size", to=1e3), ["entries.model.onnx.size"]),
        (without("entries", "model.onnx", "size"), ["entries.model.onnx", "'size' is missing"]),
        (changed("pipeline", "task", to="segment"), ["pipeline.task", "segment", "classify"]),
        (changed("pipeline", "input", "color", to="cmyk"), ["pipeline.input.color", "gray"]),
        (changed("pipeline", "input", "resize", to="crop"), ["pipeline.input.resize"]),
        (changed("pipeline", "input", "mean", to=[1, 2]), ["pipeline.input.mean", "3 numbers"]),
        (changed("pipeline", "input", "mean", to=[1, 2, "3"]), ["pipeline.input.mean[2]"]),
        (changed("pipeline", "input", "mean", to=[1, 2, 1e300]), ["pipeline.input.mean[2]"]),
        (changed("pipeline", "input", "std", to=[1, 2, 0]), ["pipeline.input.std", "positive"]),
        (changed("pipeline", "output", "levels", to=None), ["pipeline.output.levels"]),
        (changed("pipeline", "output", "levels", 0, "stride", to=0), ["levels[0].stride"]),
        (without("pipeline", "output", "nms_iou"), ["pipeline.output", "'nms_iou' is missing"]),
        (changed("pipeline", "output", "max_detections", to=0), ["max_detections"]),
    ],
)
def test_wrong_values_are_named(document: Any, words: list[str]) -> None:
    with pytest.raises(PackageError) as caught:
        parse_manifest(encoded(document))
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["not valid"]),
        (b"\xff\xfe{}", ["not valid"]),
        (b"{", ["not valid"]),
        (b"[" * 100_000, ["not valid"]),
        (b'{"format": 1, "format": 1}', ["same key twice"]),
        (b'{"format": NaN}', ["NaN"]),
        (b'{"format": Infinity}', ["Infinity"]),
        (b'{"format": ' + b"9" * 5000 + b"}", ["not valid"]),
        (b'{"format": 1}' + b" " * MAX_BYTES, ["limit"]),
        (encoded(VALID).replace(b"0.35", b"1e999"), ["score_threshold", "finite"]),
    ],
)
def test_other_bytes_are_refused(data: bytes, words: list[str]) -> None:
    with pytest.raises(PackageError) as caught:
        parse_manifest(data)
    assert [word for word in words if word not in str(caught.value)] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@given(place=st.sampled_from(places(VALID)[1:]), value=json_values)
def test_any_value_anywhere_is_read_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    read(lambda: parse_manifest(encoded(changed(*place, to=value))))


@given(cut=st.integers(0, len(encoded(VALID)) - 1))
def test_every_truncation_is_refused(cut: int) -> None:
    with pytest.raises(PackageError):
        parse_manifest(encoded(VALID)[:cut])


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read(lambda: parse_manifest(data))


def read(parse: Callable[[], object]) -> None:
    """Nothing but PackageError may come out."""
    with contextlib.suppress(PackageError):
        parse()
