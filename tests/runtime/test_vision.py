"""Frames to inputs, outputs to boxes: native and numpy code against plain references and OpenCV."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sanderling import Detection, InputError, Model, load
from tests.support.tiny_package import write_constant

Array = npt.NDArray[Any]
BACKENDS = ("native", "onnxruntime")
MEAN, STD, PAD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), 114.0

# --- frames to inputs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One kind of model input."""

    shape: tuple[int, int, int, int]
    color: str
    resize: str

    @property
    def size(self) -> tuple[int, int]:
        return self.shape[1:3] if self.channels_last else self.shape[2:]

    @property
    def channels_last(self) -> bool:
        return self.shape[1] not in (1, 3)

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3


CASES = [
    Case(shape(height, width, 1 if color == "gray" else 3), color, resize)
    for (shape, (height, width)), color, resize in itertools.product(
        (
            (lambda h, w, c: (1, c, h, w), (24, 32)),
            (lambda h, w, c: (1, h, w, c), (17, 9)),
        ),
        ("rgb", "bgr", "gray"),
        ("letterbox", "stretch"),
    )
]


def preprocessing(case: Case) -> dict[str, Any]:
    return {
        "task": "classify",
        "input": {
            "name": "image",
            "color": case.color,
            "resize": case.resize,
            "pad_value": PAD,
            "mean": MEAN[: case.channels],
            "std": STD[: case.channels],
        },
        "output": {"decode": "none", "score": "none"},
    }


@pytest.fixture(scope="module", params=CASES, ids=str)
def prepared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, list[Model]]]:
    case: Case = request.param
    path = tmp_path_factory.mktemp("pre") / "image.sand"
    write_constant(path, preprocessing(case), case.shape, {"y": np.zeros((1, 2), np.float32)})
    models = [load(path, backend=name, threads=1) for name in BACKENDS]
    yield case, models
    for model in models:
        model.close()


def weights(target: int, source: int) -> Array:
    """Row i holds the weight of every source pixel in target pixel i: a hat around its centre, clamped."""
    centre = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0, 1 - abs(centre[:, None] - np.arange(source)))


def in_color(case: Case, image: Array) -> Array:
    """From RGB to the model's channels."""
    if case.color == "gray":
        return image @ np.array([[0.299], [0.587], [0.114]])
    return image[..., ::-1] if case.color == "bgr" else image


def reference_input(case: Case, frame: Array) -> Array:
    """In double precision, by matrix products."""
    image = in_color(case, frame.astype(np.float64))
    height, width = case.size
    placed = case.size
    if case.resize == "letterbox":
        fit = min(height / frame.shape[0], width / frame.shape[1])
        placed = tuple(max(1, math.floor(side * fit + 0.5)) for side in frame.shape[:2])
    columns = np.einsum("xw,hwc->hxc", weights(placed[1], frame.shape[1]), image, optimize=True)
    image = np.einsum("yh,hxc->yxc", weights(placed[0], frame.shape[0]), columns, optimize=True)
    top, left = (height - placed[0]) // 2, (width - placed[1]) // 2
    canvas = np.full((height, width, case.channels), PAD)
    canvas[top : top + placed[0], left : left + placed[1]] = image
    canvas = (canvas - MEAN[: case.channels]) / STD[: case.channels]
    return (canvas if case.channels_last else canvas.transpose(2, 0, 1))[np.newaxis]


def assert_inputs_agree(case: Case, models: Sequence[Model], frame: Array) -> None:
    expected = reference_input(case, frame)
    for model in models:
        result = model.preprocess(frame)
        assert result.dtype == np.float32
        assert result.shape == case.shape
        steps = abs(result - expected) * max(STD)
        assert steps.max() <= 1e-3, model.backend


@settings(deadline=None)
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    seed=st.integers(0, 2**32 - 1),
    margin=st.integers(0, 7),
    flat=st.booleans(),
)
def test_inputs_are_those_of_a_plain_reference(
    prepared: tuple[Case, list[Model]], height: int, width: int, seed: int, margin: int, flat: bool
) -> None:
    """Any size; rows with a margin between them, as cameras deliver them."""
    memory = np.random.default_rng(seed).integers(0, 256, (height, width + margin, 3), np.uint8)
    if flat:
        memory[...] = memory[0, 0]
    assert_inputs_agree(*prepared, memory[:, :width])


@pytest.mark.parametrize(
    "size", [(1, 1), (480, 640), (3, 5000), (2500, 2), (1080, 1920), (31, 1023), (31, 1025)]
)
def test_large_and_thin_frames(prepared: tuple[Case, list[Model]], size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert_inputs_agree(*prepared, frame)


@pytest.mark.parametrize(
    "view",
    [
        lambda frame: frame[::-1],
        lambda frame: frame[:, ::-1],
        lambda frame: frame[..., ::-1],
        lambda frame: frame[::2, ::3],
        lambda frame: frame.transpose(1, 0, 2),
        lambda frame: np.broadcast_to(frame[:1], frame.shape),
        lambda frame: np.broadcast_to(frame[:, :1], frame.shape),
    ],
    ids=["upside-down", "mirrored", "bgr", "stepped", "turned", "one-row", "one-column"],
)
def test_frames_of_any_layout(prepared: tuple[Case, list[Model]], view: Callable[[Array], Array]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert_inputs_agree(*prepared, view(frame))


@settings(deadline=None, max_examples=25)
@given(height=st.integers(2, 90), width=st.integers(2, 90), seed=st.integers(0, 2**32 - 1))
def test_resizing_agrees_with_opencv(
    prepared: tuple[Case, list[Model]], height: int, width: int, seed: int
) -> None:
    cv2 = pytest.importorskip("cv2")
    case, models = prepared
    if case.resize == "letterbox":  # only without a margin is it what OpenCV does
        height, width = (side * (1 + height % 4) for side in case.size)
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    resized = cv2.resize(frame, case.size[::-1], interpolation=cv2.INTER_LINEAR)
    expected = in_color(case, resized.astype(np.float64))
    for model in models:
        result = model.preprocess(frame)[0]
        image = result if case.channels_last else result.transpose(1, 2, 0)
        assert abs(image * STD[: case.channels] + MEAN[: case.channels] - expected).max() <= 2


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), ["frame", "uint8", "float32"]),
        (np.zeros((4, 4), np.uint8), ["frame", "(height, width, 3)", "(4, 4)"]),
        (np.zeros((4, 4, 4), np.uint8), ["frame", "(4, 4, 4)"]),
        (np.zeros((3, 4, 4), np.uint8), ["frame", "(3, 4, 4)"]),
        (np.zeros((1, 4, 4, 3), np.uint8), ["frame", "(1, 4, 4, 3)"]),
        (np.zeros((0, 4, 3), np.uint8), ["frame", "no pixels"]),
        (np.zeros((4, 0, 3), np.uint8), ["frame", "no pixels"]),
        ("birds.jpg", ["frame", "str"]),
        (None, ["frame", "NoneType"]),
    ],
)
def test_wrong_frames_are_named(prepared: tuple[Case, list[Model]], frame: Any, words: list[str]) -> None:
    for model in prepared[1]:
        with pytest.raises(InputError) as caught:
            model.preprocess(frame)
        assert [word for word in words if word not in str(caught.value)] == []


# --- outputs to boxes -------------------------------------------------------------------------------------

IMAGE = (1, 3, 32, 48)
CLASSES = 3
NMS_IOU = 0.5
MOST = 20


@dataclass(frozen=True)
class Detector:
    """One way to decode: the pipeline's output stage and the shapes of its tensors."""

    decode: str
    levels: tuple[dict[str, Any], ...]
    shapes: dict[str, tuple[int, ...]]


DETECTORS = [
    Detector(
        "grid_ltrb_exp",
        ({"stride": 8, "cls": "c8", "box": "b8"}, {"stride": 16, "cls": "c16", "box": "b16"}),
        {"c8": (1, CLASSES, 4, 6), "b8": (1, 4, 4, 6), "c16": (1, CLASSES, 2, 3), "b16": (1, 4, 2, 3)},
    ),
    Detector(
        "grid_ltrb_exp",
        ({"stride": 8, "cls": "c", "box": "b", "obj": "o"},),
        {"o": (1, 1, 4, 6), "c": (1, CLASSES, 4, 6), "b": (1, 4, 4, 6)},
    ),
    Detector("yolo", ({"cls": "y"},), {"y": (1, 4 + CLASSES, 40)}),
    Detector("boxes_scores", ({"cls": "s", "box": "b"},), {"b": (1, 40, 4), "s": (1, 40, CLASSES)}),
]
KINDS = list(itertools.product(DETECTORS, ("none", "sigmoid", "softmax"), ("letterbox", "stretch")))


@pytest.fixture(
    scope="module",
    params=KINDS,
    ids=lambda kind: f"{kind[0].decode}{len(kind[0].shapes)}-{kind[1]}-{kind[2]}",
)
def detector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Detector, str, str, list[Model]]]:
    kind, score, resize = request.param
    path = tmp_path_factory.mktemp("detector") / "detector.sand"
    write_detector(path, kind, score, resize, random_outputs(kind, score, 0))
    models = [load(path, backend=name, threads=1) for name in BACKENDS]
    yield kind, score, resize, models
    for model in models:
        model.close()


def write_detector(path: Path, kind: Detector, score: str, resize: str, outputs: dict[str, Array]) -> Path:
    pipeline = {
        "task": "detect",
        "input": {"name": "image", "resize": resize, "mean": [0, 0, 0], "std": [255, 255, 255]},
        "output": {
            "decode": kind.decode,
            "score": score,
            "score_threshold": 0.3,
            "nms_iou": NMS_IOU,
            "max_detections": MOST,
            "levels": [dict(level) for level in kind.levels],
        },
    }
    return write_constant(path, pipeline, IMAGE, outputs, labels=("dunlin", "knot", "sanderling"))


def random_outputs(kind: Detector, score: str, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)

    def scores(shape: tuple[int, ...]) -> Array:
        return random.uniform(0, 1, shape) if score == "none" else random.normal(0, 2, shape)

    def corners(*shape: int) -> Array:
        centre, size = random.uniform(-5, 50, (*shape, 2)), random.uniform(1, 30, (*shape, 2))
        return np.concatenate([centre, size], axis=-1)

    outputs: dict[str, Array] = {}
    for name, shape in kind.shapes.items():
        if kind.decode == "yolo":
            value = np.concatenate([corners(shape[2]).T, scores((CLASSES, shape[2]))])[np.newaxis]
        elif kind.decode == "boxes_scores" and name == "b":
            boxes = corners(*shape[:2])
            value = np.concatenate(
                [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1
            )
        elif name.startswith("b"):
            value = random.normal(0, 0.8, shape)
        elif name == "o":
            value = random.normal(2, 2, shape)
        else:
            value = scores(shape)
        outputs[name] = value.astype(np.float32)
    return outputs


def reference_boxes(
    kind: Detector, outputs: dict[str, Array]
) -> Iterator[tuple[list[float], list[float], float]]:
    """Box in input pixels, raw class values, and objectness of every location, in order."""
    for level in kind.levels:
        cls = outputs[level["cls"]][0]
        if kind.decode == "yolo":
            for cx, cy, w, h, *raw in cls.T.tolist():
                yield [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], raw, 1.0
        elif kind.decode == "boxes_scores":
            yield from (
                (box, raw, 1.0)
                for box, raw in zip(outputs[level["box"]][0].tolist(), cls.tolist(), strict=True)
            )
        else:
            stride, box = level["stride"], outputs[level["box"]][0]
            for y, x in np.ndindex(*cls.shape[1:]):
                left, top, right, bottom = (math.exp(value) * stride for value in box[:, y, x])
                cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                sure = sigmoid(float(outputs[level["obj"]][0, 0, y, x])) if "obj" in level else 1.0
                yield [cx - left, cy - top, cx + right, cy + bottom], cls[:, y, x].tolist(), sure


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def scored(kind: str, raw: list[float]) -> list[float]:
    if kind == "none":
        return raw
    if kind == "sigmoid":
        return [sigmoid(value) for value in raw]
    total = sum(map(math.exp, raw))
    return [math.exp(value) / total for value in raw]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def reference_detections(
    kind: Detector,
    score: str,
    resize: str,
    outputs: dict[str, Array],
    frame: tuple[int, int],
    threshold: float,
) -> list[tuple[list[float], float, int]]:
    """As the text of the package format says, step by step, in double precision."""
    height, width = frame
    scale, offset = [IMAGE[3] / width, IMAGE[2] / height], [0, 0]
    if resize == "letterbox":
        placed = [max(1, math.floor(side * min(scale) + 0.5)) for side in (width, height)]
        offset = [(IMAGE[3] - placed[0]) // 2, (IMAGE[2] - placed[1]) // 2]
        scale = [placed[0] / width, placed[1] / height]
    found = []
    for box, raw, sure in reference_boxes(kind, outputs):
        mapped = [(value - offset[i % 2]) / scale[i % 2] for i, value in enumerate(box)]
        clipped = [min(max(value, 0), frame[1 - i % 2]) for i, value in enumerate(mapped)]
        for label, value in enumerate(scored(score, raw)):
            assume(abs(value * sure - threshold) > 1e-5)
            if value * sure >= threshold and clipped[0] < clipped[2] and clipped[1] < clipped[3]:
                found.append((mapped, clipped, value * sure, label))
    found.sort(key=lambda row: -row[2])
    kept: list[tuple[list[float], list[float], float, int]] = []
    for row in found:
        overlaps = [iou(row[0], other[0]) for other in kept if other[3] == row[3]]
        assume(all(abs(value - NMS_IOU) > 1e-4 for value in overlaps))
        if all(value <= NMS_IOU for value in overlaps) and len(kept) < MOST:
            kept.append(row)
    return [row[1:] for row in kept]


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(8, 200),
    width=st.integers(8, 200),
    threshold=st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.999]),
)
def test_detections_are_those_of_a_plain_reference(
    detector: tuple[Detector, str, str, list[Model]], seed: int, height: int, width: int, threshold: float
) -> None:
    kind, score, resize, models = detector
    outputs = random_outputs(kind, score, seed)
    expected = reference_detections(kind, score, resize, outputs, (height, width), threshold)
    for model in models:
        arrays = [outputs[spec.name] for spec in model.outputs]
        found = model.decode(arrays, (height, width), threshold=threshold)
        assert [(d.label, d.name) for d in found] == [
            (label, ("dunlin", "knot", "sanderling")[label]) for *_, label in expected
        ], model.backend
        np.testing.assert_allclose([d.score for d in found], [row[1] for row in expected], rtol=1e-5)
        for one, (box, _, _) in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.box, box, rtol=1e-4, atol=1e-3 * max(height, width) / 32)


def test_the_whole_pass_gives_what_its_parts_give(detector: tuple[Detector, str, str, list[Model]]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    native, other = detector[3]
    whole = native.detect(frame)
    assert whole == native.decode(native.run(native.preprocess(frame)), frame.shape[:2])
    assert len(whole) > 0
    compare(whole, other.detect(frame))


def compare(one: Sequence[Detection], other: Sequence[Detection]) -> None:
    assert [(d.label, d.name) for d in one] == [(d.label, d.name) for d in other]
    for a, b in zip(one, other, strict=True):
        assert a.score == pytest.approx(b.score, rel=1e-5)
        assert a.box == pytest.approx(b.box, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_values_that_are_no_numbers_do_no_harm(
    detector: tuple[Detector, str, str, list[Model]], poison: float
) -> None:
    """In every tensor alone and in all: boxes stay in the frame, NaN is never a detection."""
    kind, score, _, models = detector
    for names in [[name] for name in kind.shapes] + [list(kind.shapes)]:
        outputs = random_outputs(kind, score, 1)
        for name in names:
            outputs[name].flat[:: 2 if name != "y" else 3] = poison
        for model in models:
            found = model.decode([outputs[spec.name] for spec in model.outputs], (50, 70), threshold=0.3)
            for one in found:
                x1, y1, x2, y2 = one.box
                assert 0 <= x1 < x2 <= 70
                assert 0 <= y1 < y2 <= 50
                assert one.score >= 0.3
            assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


def test_all_nan_is_no_detection(detector: tuple[Detector, str, str, list[Model]]) -> None:
    for model in detector[3]:
        outputs = [np.full(spec.shape, np.nan, np.float32) for spec in model.outputs]
        assert model.decode(outputs, (50, 70), threshold=0) == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_wrong_thresholds_are_named(
    detector: tuple[Detector, str, str, list[Model]], threshold: float
) -> None:
    for model in detector[3]:
        with pytest.raises(InputError, match="threshold"):
            model.detect(np.zeros((4, 4, 3), np.uint8), threshold=threshold)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_wrong_frame_sizes_are_named(
    detector: tuple[Detector, str, str, list[Model]], size: tuple[int, int]
) -> None:
    for model in detector[3]:
        outputs = model.run(np.zeros(IMAGE, np.float32))
        with pytest.raises(InputError, match="frame size"):
            model.decode(outputs, size)
        with pytest.raises(InputError, match="outputs"):
            model.decode(outputs[1:], (5, 5))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Model]]:
    """boxes_scores with more locations than may enter suppression."""
    n = 5000
    pipeline = {
        "task": "detect",
        "input": {"name": "image", "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "output": {
            "decode": "boxes_scores",
            "score": "none",
            "score_threshold": 0.0,
            "max_detections": 65536,
            "levels": [{"cls": "s", "box": "b"}],
        },
    }
    path = tmp_path_factory.mktemp("crowd") / "crowd.sand"
    outputs = {"b": np.zeros((1, n, 4), np.float32), "s": np.zeros((1, n, 1), np.float32)}
    write_constant(path, pipeline, (1, 3, 8, 8), outputs)
    models = [load(path, backend=name, threads=1) for name in BACKENDS]
    yield models
    for model in models:
        model.close()


def grid_of_boxes(n: int) -> Array:
    """Boxes of one pixel that do not touch."""
    x, y = np.divmod(np.arange(n), 80)
    return np.stack([x, y, x + 0.9, y + 0.9], axis=1).astype(np.float32)[np.newaxis] / 10


def test_the_best_candidates_of_a_crowd_are_kept(crowd: list[Model]) -> None:
    scores = np.random.default_rng(0).permutation(5000).astype(np.float32).reshape(1, 5000, 1) / 5000
    for model in crowd:
        found = model.decode([grid_of_boxes(5000), scores], (8, 8), threshold=0)
        best = np.sort(scores.ravel())[::-1][:1024]
        np.testing.assert_array_equal(np.float32([d.score for d in found]), best)


def test_equal_scores_are_ordered_by_index(crowd: list[Model]) -> None:
    boxes = grid_of_boxes(5000)
    for model in crowd:
        found = model.decode([boxes, np.full((1, 5000, 1), 0.5, np.float32)], (8, 8))
        np.testing.assert_array_equal(np.float32([d.box for d in found]), boxes[0, :1024])


def test_of_equal_boxes_the_first_stays(crowd: list[Model]) -> None:
    boxes = np.tile(np.float32([1, 1, 3, 3]), (1, 5000, 1))
    boxes[0, 1:] += 0.01
    for model in crowd:
        (one,) = model.decode([boxes, np.full((1, 5000, 1), 0.5, np.float32)], (8, 8))
        assert one.box == (1, 1, 3, 3)
        assert one.name == "0"  # without labels, the number


def test_boxes_outside_the_frame_are_no_detections(crowd: list[Model]) -> None:
    boxes = np.tile(np.float32([-5, 1, -1, 3]), (1, 5000, 1))  # left of it
    boxes[0, 1] = [1, 9, 3, 12]  # below
    boxes[0, 2] = [3, 3, 1, 1]  # inside out
    boxes[0, 3] = [2, 2, 2, 5]  # without area
    boxes[0, 4] = [-5, -5, 99, 99]  # all around it
    for model in crowd:
        (one,) = model.decode([boxes, np.full((1, 5000, 1), 0.5, np.float32)], (8, 8))
        assert one.box == (0, 0, 8, 8)
