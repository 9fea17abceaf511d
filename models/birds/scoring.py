"""COCO-style accuracy by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sanderling.models.birds.decode import Detections
from sanderling.models.birds.scenes import Scene


@dataclass(frozen=True)
class Accuracy:
    """Average precision, 0..1: the classes' mean at IoU 0.5 and over 0.5:0.95; each class at 0.5."""

    map50: float
    map50_95: float
    per_class: dict[str, float]


def score(scenes: Sequence[Scene], detections: Sequence[Detections], labels: Sequence[str]) -> Accuracy:
    """Compare the detections of each scene, in the scene's pixels, with its true boxes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = _truth(scenes, labels)
        truth.createIndex()
        found = _found(detections)
        if not found:
            return Accuracy(0.0, 0.0, dict.fromkeys(labels, 0.0))
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU thresholds, recall steps, classes, area ranges, numbers of detections]; -1 where undefined
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {label: _mean(precision[0, :, i]) for i, label in enumerate(labels)}
    return Accuracy(_mean(precision[0]), _mean(precision), per_class)


def _mean(values: np.ndarray) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else 0.0


def _truth(scenes: Sequence[Scene], labels: Sequence[str]) -> dict[str, object]:
    annotations = [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": _xywh(box),
            "area": float(np.prod(box[2:] - box[:2])),
            "iscrowd": 0,
        }
        for image, scene in enumerate(scenes)
        for box, label in zip(scene.boxes, scene.labels, strict=True)
    ]
    return {
        "info": {},
        "images": [{"id": i} for i in range(len(scenes))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(labels)],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }


def _found(detections: Sequence[Detections]) -> list[dict[str, object]]:
    return [
        {"image_id": image, "category_id": int(label), "bbox": _xywh(box), "score": float(score)}
        for image, found in enumerate(detections)
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


def _xywh(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return [x1, y1, x2 - x1, y2 - y1]
