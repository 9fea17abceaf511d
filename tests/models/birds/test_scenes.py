"""Rendered scenes are reproducible, have honest boxes, and are no easier than they claim."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from sanderling.models.birds.scenes import Scene, render_clip, render_scene
from sanderling.models.birds.species import LABELS, SPECIES

COUNT = 240
FIRST_SEED = 3_000_000


@functools.cache
def scenes() -> tuple[Scene, ...]:
    return tuple(render_scene(FIRST_SEED + i) for i in range(COUNT))


def sides() -> np.ndarray:
    boxes = np.concatenate([scene.boxes for scene in scenes()])
    return boxes[:, 2:] - boxes[:, :2]


def same(a: Scene, b: Scene) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "boxes", "labels"))


@pytest.mark.parametrize("seed", [0, 1, 7, 123_456_789])
def test_same_seed_gives_the_same_scene(seed: int) -> None:
    assert same(render_scene(seed), render_scene(seed))


def test_other_seed_gives_another_scene() -> None:
    assert not np.array_equal(render_scene(1).image, render_scene(2).image)


def test_scenes_have_the_documented_types() -> None:
    for scene in scenes():
        assert scene.image.shape == (480, 640, 3)
        assert scene.image.dtype == np.uint8
        assert scene.boxes.dtype == np.float32
        assert scene.boxes.shape == (len(scene.labels), 4)
        assert scene.labels.dtype == np.int64


def test_boxes_lie_inside_the_image_and_are_not_empty() -> None:
    boxes = np.concatenate([scene.boxes for scene in scenes()])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [640, 480]).all()
    assert (sides() > 0).all()


def test_a_box_holds_its_bird() -> None:
    """Inside a box the picture differs from the same place without birds nearly everywhere the bird is said
    to be.
    """
    from sanderling.models.birds import scenes as module

    touched = []
    for seed in range(12):
        stage = module._set_stage(FIRST_SEED + seed)
        calm = stage.__class__(**{**vars(stage), "birds": ()})
        scene, empty = module._frame(stage, 0.0), module._frame(calm, 0.0)
        differs = (scene.image != empty.image).any(axis=2)
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            patch = differs[y1:y2, x1:x2]
            touched.append(patch.mean())
            for line in (patch[:3], patch[-3:], patch[:, :3].T, patch[:, -3:].T):
                assert line.any(), "a side of the box is away from the bird"
    assert len(touched) > 10
    assert min(touched) > 0.15


def test_at_least_a_tenth_of_the_scenes_has_no_bird() -> None:
    assert np.mean([len(scene.labels) == 0 for scene in scenes()]) >= 0.10


def test_median_box_is_under_12_percent_of_the_image_side() -> None:
    assert np.median(sides().max(axis=1)) < 0.12 * 640
    assert np.median(np.sqrt(sides().prod(axis=1))) < 0.12 * 640


def test_every_species_is_common() -> None:
    counts = np.bincount(np.concatenate([scene.labels for scene in scenes()]), minlength=len(LABELS))
    assert len(SPECIES) >= 6
    assert (counts > 0.5 * counts.mean()).all()


def test_mean_colour_does_not_give_the_species_away() -> None:
    """The best of several nearest-neighbour classifiers on the mean colour of true boxes stays under 60 %."""
    colours, labels = [], []
    for scene in scenes():
        for (x1, y1, x2, y2), label in zip(scene.boxes.astype(int), scene.labels, strict=True):
            colours.append(scene.image[y1:y2, x1:x2].reshape(-1, 3).mean(axis=0))
            labels.append(int(label))
    x, y = np.array(colours), np.array(labels)
    split = len(x) * 2 // 3
    distance = ((x[split:, None] - x[None, :split]) ** 2).sum(-1)
    nearest = y[:split][np.argsort(distance, axis=1)]

    def accuracy(k: int) -> float:
        votes = [np.bincount(row[:k], minlength=len(LABELS)).argmax() for row in nearest]
        return float(np.mean(np.array(votes) == y[split:]))

    assert max(accuracy(k) for k in (1, 5, 15, 31)) < 0.60


def test_clip_starts_with_the_scene_of_its_seed() -> None:
    assert same(next(render_clip(5, 1)), render_scene(5))


def test_birds_move_over_the_frames_of_a_clip() -> None:
    moved = []
    for seed in range(6):
        frames = list(render_clip(FIRST_SEED + seed, 6))
        assert len(frames) == 6
        first, last = frames[0], frames[-1]
        if len(first.labels) and np.array_equal(first.labels, last.labels):
            moved.append(np.abs(last.boxes - first.boxes).max())
    assert max(moved) >= 2
