"""From the detector's outputs to detections, in numpy: the reference for any faster way to do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """boxes: float32 [n,4], x1 y1 x2 y2 in pixels. scores: float32 [n], falling. labels: int64 [n]."""

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Thresholds:
    """Least score that counts, IoU above which the weaker of two of a class goes, most detections kept."""

    score: float = 0.35
    overlap: float = 0.5
    most: int = 100


def decode(outputs: Mapping[str, Floats], strides: Sequence[int], thresholds: Thresholds) -> Detections:
    """Detections in the pixels of the network's input.

    outputs: `cls_<stride>` [1,K,H,W], logits, and `box_<stride>` [1,4,H,W], log of the distances left, top,
    right, bottom from a cell's centre, in strides. A cell counts once for each class that reaches the score.
    """
    found = [_level(outputs[f"cls_{s}"][0], outputs[f"box_{s}"][0], s, thresholds.score) for s in strides]
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-scores, kind="stable")
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    keep = suppress(boxes, labels, thresholds.overlap, thresholds.most)
    return Detections(boxes[keep], scores[keep], labels[keep])


def _level(cls: Floats, box: Floats, stride: int, least: float) -> tuple[Floats, Floats, NDArray[np.int64]]:
    scores = 1.0 / (1.0 + np.exp(-cls.astype(np.float32)))
    labels, rows, columns = np.nonzero(scores >= least)
    left, top, right, bottom = np.exp(box[:, rows, columns]) * stride
    x, y = (columns + 0.5) * stride, (rows + 0.5) * stride
    boxes = np.stack([x - left, y - top, x + right, y + bottom], 1).astype(np.float32)
    return boxes, scores[labels, rows, columns].astype(np.float32), labels.astype(np.int64)


def suppress(boxes: Floats, labels: NDArray[np.int64], overlap: float, most: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression within each class: indices kept of boxes with falling scores."""
    kept: list[int] = []
    alive = np.ones(len(boxes), bool)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == most:
            break
        sides = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:]) - np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        inner = np.prod(np.maximum(sides, 0), axis=1)
        shared = inner / np.maximum(areas[i] + areas[i + 1 :] - inner, 1e-9)
        alive[i + 1 :] &= (shared <= overlap) | (labels[i + 1 :] != labels[i])
    return np.array(kept, np.int64)
