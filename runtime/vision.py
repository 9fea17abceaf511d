"""Pre- and post-processing in numpy, for backends other than the native one.

The same arithmetic as `cpp/src/vision/`, which is the fast one; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .backends import Row
from .errors import PackageError
from .manifest import InputStage, LevelNames, OutputStage
from .tensors import Array

Floats = npt.NDArray[np.float32]

MAX_CANDIDATES = 1024  # the best by score; only they enter non-maximum suppression
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class FramePlacement(NamedTuple):
    """Where the frame lies in the input: input = frame · scale + offset. Pairs are (vertical, horizontal)."""

    size: tuple[int, int]
    offset: tuple[int, int]
    scale: tuple[float, float]


def image_size(stage: InputStage, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the input tensor. Raises PackageError if it is no single image of that colour."""
    channels = len(stage.mean)
    if len(shape) != 4 or shape[0] != 1 or channels not in (shape[1], shape[3]):
        raise PackageError(f"an input of shape {shape} is no [1, {channels}, H, W] or [1, H, W, {channels}]")
    return shape[2:4] if _channels_first(stage, shape) else shape[1:3]


def _channels_first(stage: InputStage, shape: tuple[int, ...]) -> bool:
    return shape[1] == len(stage.mean)


def place(resize: str, size: tuple[int, int], frame: tuple[int, int]) -> FramePlacement:
    """Where a frame of size `frame` (height, width) lies in an input of size `size`."""
    placed = size
    if resize == "letterbox":
        fit = min(size[0] / frame[0], size[1] / frame[1])
        placed = _fitted(size[0], frame[0], fit), _fitted(size[1], frame[1], fit)
    return FramePlacement(
        placed,
        ((size[0] - placed[0]) // 2, (size[1] - placed[1]) // 2),
        (placed[0] / frame[0], placed[1] / frame[1]),
    )


def _fitted(size: int, frame: int, fit: float) -> int:
    return min(max(int(frame * fit + 0.5), 1), size)


def preprocess(stage: InputStage, shape: tuple[int, ...], frame: Array) -> Floats:
    """Input tensor of the given shape for a frame (height × width × 3 bytes, RGB)."""
    size = image_size(stage, shape)
    placement = place(stage.resize, size, (frame.shape[0], frame.shape[1]))
    image = _resample(frame, placement.size)
    if stage.color == "gray":
        image = (image @ _LUMA)[..., np.newaxis]
    elif stage.color == "bgr":
        image = image[..., ::-1]
    canvas = np.full((*size, image.shape[2]), stage.pad_value, np.float32)
    (top, left), (height, width) = placement.offset, placement.size
    canvas[top : top + height, left : left + width] = image
    for channel, (mean, std) in enumerate(zip(stage.mean, stage.std, strict=True)):
        canvas[..., channel] = (canvas[..., channel] - np.float32(mean)) / np.float32(std)
    result = canvas.transpose(2, 0, 1) if _channels_first(stage, shape) else canvas
    return np.ascontiguousarray(result[np.newaxis])


def _resample(frame: Array, size: tuple[int, int]) -> Floats:
    """Bilinear with half-pixel centres, edges clamped; height × width × 3 in 0…255."""
    y0, y1, wy = _samples(size[0], frame.shape[0])
    x0, x1, wx = _samples(size[1], frame.shape[1])
    top, bottom = frame[y0].astype(np.float32), frame[y1].astype(np.float32)
    rows = top + (bottom - top) * wy[:, np.newaxis, np.newaxis]
    left, right = rows[:, x0], rows[:, x1]
    result: Floats = left + (right - left) * wx[:, np.newaxis]
    return result


def _samples(target: int, source: int) -> tuple[Array, Array, Floats]:
    """The two source positions of every target position, and the weight of the second."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    first = position.astype(np.int64)
    return first, np.minimum(first + 1, source - 1), (position - first).astype(np.float32)


def decode(
    stage: OutputStage,
    outputs: Mapping[str, Array],
    placement: FramePlacement,
    frame: tuple[int, int],
    threshold: float | None,
) -> list[Row]:
    """Detections in a frame of size `frame`, best first (`docs/package-format.md`, section 5)."""
    least = np.float32(stage.score_threshold if threshold is None else threshold)
    boxes, scores = zip(*(_level(stage, outputs, level) for level in stage.levels), strict=True)
    return _select(stage, _to_frame(np.concatenate(boxes), placement), np.concatenate(scores), frame, least)


def _level(stage: OutputStage, outputs: Mapping[str, Array], level: LevelNames) -> tuple[Floats, Floats]:
    """Boxes [N, 4] in input pixels, and scores [N, K]."""
    cls = outputs[level.cls][0]
    box = outputs[level.box][0] if level.box is not None else cls[:4]
    with np.errstate(over="ignore", invalid="ignore"):
        if stage.decode == "grid_ltrb_exp":
            boxes = _grid_boxes(box, level.stride)
            raw = cls.reshape(cls.shape[0], -1).T
        elif stage.decode == "yolo":
            cx, cy, w, h = box
            boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
            raw = cls[4:].T
        else:
            boxes, raw = box, cls
        scores = _scores(stage.score, raw)
        if level.obj is not None:
            scores = scores * _sigmoid(outputs[level.obj].reshape(-1, 1))
    return boxes, scores


def _grid_boxes(box: Floats, stride: int) -> Floats:
    _, height, width = box.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
    x, y = (x + 0.5) * stride, (y + 0.5) * stride
    left, top, right, bottom = np.exp(box.reshape(4, -1)) * stride
    return np.stack([x - left, y - top, x + right, y + bottom], axis=1)


def _scores(kind: str, raw: Floats) -> Floats:
    if kind == "sigmoid":
        return _sigmoid(raw)
    if kind == "softmax":
        exponentials = np.exp(raw - raw.max(axis=1, keepdims=True))
        shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
        return shares
    return raw


def _sigmoid(x: Floats) -> Floats:
    result: Floats = np.float32(1) / (np.float32(1) + np.exp(-x))
    return result


def _to_frame(boxes: Floats, placement: FramePlacement) -> Floats:
    offset = np.asarray(placement.offset[::-1] * 2, np.float32)
    scale = np.asarray(placement.scale[::-1] * 2, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        result: Floats = (boxes - offset) / scale
    return result


def _select(
    stage: OutputStage, boxes: Floats, scores: Floats, frame: tuple[int, int], least: np.float32
) -> list[Row]:
    limits = np.asarray((frame[1], frame[0]) * 2, np.float32)
    clipped = np.clip(boxes, 0, limits)
    visible = _have_area(boxes) & _have_area(clipped)
    where, labels = np.nonzero((scores >= least) & visible[:, np.newaxis])
    values = scores[where, labels]
    order = np.argsort(-values, kind="stable")[:MAX_CANDIDATES]
    kept: list[int] = []
    for index in order:
        if len(kept) == stage.max_detections:
            break
        rivals = [other for other in kept if labels[other] == labels[index]]
        if not (_iou(boxes[where[index]], boxes[where[rivals]]) > stage.nms_iou).any():
            kept.append(index)
    return [_row(clipped[where[i]], values[i], labels[i]) for i in kept]


def _row(box: Floats, score: np.float32, label: np.int64) -> Row:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2, float(score), int(label)


def _have_area(boxes: Floats) -> npt.NDArray[np.bool_]:
    """False for boxes with NaN, too."""
    return np.logical_and(boxes[:, 0] < boxes[:, 2], boxes[:, 1] < boxes[:, 3])


def _iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box with each of the others [N, 4]."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        common = np.prod(np.maximum(size, 0), axis=1)
        areas = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
        result: Floats = common / (areas - common)
    return result
