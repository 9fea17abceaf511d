"""Decoding finds exactly the boxes that were put into the network's outputs, and suppression keeps its
promises.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sanderling.models.birds.decode import Thresholds, decode, suppress
from sanderling.models.birds.letterbox import letterbox

STRIDES = (8, 16, 32)
CLASSES = 7


def outputs() -> dict[str, np.ndarray]:
    """Outputs of a network of 320×320 that sees nothing."""
    found = {}
    for s in STRIDES:
        cells = 320 // s
        found[f"cls_{s}"] = np.full((1, CLASSES, cells, cells), -12.0, np.float32)
        found[f"box_{s}"] = np.zeros((1, 4, cells, cells), np.float32)
    return found


cells = st.tuples(st.sampled_from(STRIDES), st.integers(0, 9), st.integers(0, 9), st.integers(0, CLASSES - 1))
reaches = st.lists(st.floats(1.0, 150.0), min_size=4, max_size=4)


@given(cell=cells, reach=reaches, logit=st.floats(0.0, 8.0))
def test_a_planted_box_comes_back(cell: tuple[int, int, int, int], reach: list[float], logit: float) -> None:
    stride, row, column, label = cell
    planted = outputs()
    planted[f"cls_{stride}"][0, label, row, column] = logit
    planted[f"box_{stride}"][0, :, row, column] = np.log(np.array(reach) / stride)
    found = decode(planted, STRIDES, Thresholds())
    x, y = (column + 0.5) * stride, (row + 0.5) * stride
    left, top, right, bottom = reach
    np.testing.assert_allclose(
        found.boxes, [[x - left, y - top, x + right, y + bottom]], rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-logit))], rtol=1e-5)
    assert found.labels.tolist() == [label]


def test_nothing_over_the_threshold_gives_no_detection() -> None:
    found = decode(outputs(), STRIDES, Thresholds())
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.labels.shape == (0,)


def test_a_cell_may_speak_for_two_classes() -> None:
    planted = outputs()
    planted["cls_8"][0, [1, 4], 3, 3] = [2.0, 1.0]
    assert decode(planted, STRIDES, Thresholds()).labels.tolist() == [1, 4]


corners = st.tuples(
    st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 1)
)


@given(st.lists(corners, max_size=30), st.floats(0.1, 0.9))
def test_suppression_keeps_no_two_alike_and_drops_none_without_a_stronger_one(
    drawn: list[tuple[int, int, int, int, int]], overlap: float
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in drawn], np.float32).reshape(-1, 4)
    labels = np.array([c for *_, c in drawn], np.int64)
    kept = suppress(boxes, labels, overlap, 100).tolist()
    assert kept == sorted(kept)

    def rivals(i: int, j: int) -> bool:
        sides = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
        inner = np.prod(np.maximum(sides, 0))
        areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
        return bool(labels[i] == labels[j] and inner / (sum(areas) - inner) > overlap + 1e-6)

    assert not any(rivals(i, j) for i in kept for j in kept if i < j)
    for i in set(range(len(boxes))) - set(kept):
        assert any(
            labels[i] == labels[j] and j < i and _iou(boxes[i], boxes[j]) > overlap - 1e-6 for j in kept
        ), "dropped without a stronger one over it"


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))


def test_suppression_stops_at_the_most() -> None:
    boxes = np.array([(10 * i, 0, 10 * i + 5, 5) for i in range(20)], np.float32)
    assert suppress(boxes, np.zeros(20, np.int64), 0.5, 7).tolist() == list(range(7))


@given(st.integers(8, 900), st.integers(8, 900))
def test_letterbox_keeps_the_shape_and_maps_back(width: int, height: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    square, placement = letterbox(image, 320)
    assert square.shape == (320, 320, 3)
    rows, columns = (np.flatnonzero((square == 0).all(2).any(axis)) for axis in (1, 0))
    inner = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    assert max(inner[0, 2] - inner[0, 0], inner[0, 3] - inner[0, 1]) == 320
    tolerance = 0.51 / placement.scale  # the scaled picture has whole pixels
    np.testing.assert_allclose(placement.to_image(inner), [[0, 0, width, height]], atol=tolerance)
