"""The accuracy measure gives the marks that follow from its definition."""

from __future__ import annotations

import numpy as np
import pytest

from sanderling.models.birds.decode import Detections
from sanderling.models.birds.scenes import Scene
from sanderling.models.birds.scoring import score

LABELS = ("a", "b")
BOXES = np.array([[10, 10, 50, 40], [100, 60, 140, 120]], np.float32)
SCENE = Scene(np.zeros((200, 200, 3), np.uint8), BOXES, np.array([0, 1]))


def found(boxes: np.ndarray, labels: list[int]) -> Detections:
    return Detections(
        boxes.astype(np.float32), np.linspace(0.9, 0.5, len(labels)).astype(np.float32), np.array(labels)
    )


def test_the_truth_itself_scores_one() -> None:
    accuracy = score([SCENE], [found(BOXES, [0, 1])], LABELS)
    assert [accuracy.map50, accuracy.map50_95] == pytest.approx([1.0, 1.0])
    assert accuracy.per_class == pytest.approx({"a": 1.0, "b": 1.0})


def test_no_detection_scores_zero() -> None:
    assert score([SCENE], [found(np.zeros((0, 4)), [])], LABELS).map50 == 0.0


def test_swapped_classes_score_zero() -> None:
    assert score([SCENE], [found(BOXES, [1, 0])], LABELS).map50 == 0.0


def test_a_missed_class_scores_half() -> None:
    accuracy = score([SCENE], [found(BOXES[:1], [0])], LABELS)
    assert accuracy.map50 == pytest.approx(0.5)
    assert accuracy.per_class == pytest.approx({"a": 1.0, "b": 0.0})


def test_a_loose_box_counts_at_one_half_only() -> None:
    loose = BOXES + np.array([0, 0, 12, 0], np.float32)  # IoU 0.77 and 0.77
    accuracy = score([SCENE], [found(loose, [0, 1])], LABELS)
    assert accuracy.map50 == pytest.approx(1.0)
    assert 0.4 < accuracy.map50_95 < 0.7
