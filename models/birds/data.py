"""Training data: scenes rendered once at the detector's scale and kept on disk, then altered at every use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sanderling.models.birds.landscapes import HEIGHT, WIDTH, Image
from sanderling.models.birds.letterbox import PAD_VALUE
from sanderling.models.birds.scenes import render_scene

# Scenes of different purpose never share a seed.
TRAINING_SEEDS, VALIDATION_SEEDS, TEST_SEEDS = 0, 1_000_000, 2_000_000

SHARD = 500  # scenes in one file
KEPT = (WIDTH // 2, HEIGHT // 2)  # width, height of a kept scene: what a letterbox of 320 makes of it
# Width and height that the network is trained on: the remaining rows of its input are padding only.
CANVAS = (320, 256)
_LEAST_INSIDE = 0.4  # of a bird that moving the scene cuts off; with less it is no longer asked for
_RECORD = np.dtype([("scene", np.int32), ("label", np.int32), ("box", np.float32, 4)])


@dataclass(frozen=True)
class Batch:
    """images: RGB bytes [B,256,320,3]; boxes [B,M,4] in pixels; labels [B,M], -1 where there is none."""

    images: Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class SceneCache:
    """`count` training scenes in `folder`, rendered shard by shard on first use."""

    def __init__(self, folder: Path, count: int) -> None:
        """Use `folder`, which is made if it is missing; `count` is rounded up to whole shards."""
        self._folder = folder
        self._shards = -(-count // SHARD)
        self._images: list[Image] = []
        self._birds: list[list[NDArray[np.void]]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self._shards * SHARD

    def prepare(self, report: Callable[[int, int], None]) -> None:
        """Render what is missing and open all of it; `report(done, total)` is called after each shard."""
        for shard in range(self._shards):
            images, records = self._folder / f"{shard:04}.npy", self._folder / f"{shard:04}-birds.npy"
            if not records.exists():
                _render_shard(shard, images, records)
            self._images.append(np.load(images, mmap_mode="r"))
            birds = np.load(records)
            self._birds.append([birds[birds["scene"] == i] for i in range(SHARD)])
            report((shard + 1) * SHARD, len(self))

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw `size` scenes, each altered anew."""
        taken = [
            _alter(rng, self._images[i // SHARD][i % SHARD], self._birds[i // SHARD][i % SHARD])
            for i in rng.integers(0, len(self), size).tolist()
        ]
        most = max(1, *(len(labels) for _, _, labels in taken))
        boxes = np.zeros((size, most, 4), np.float32)
        labels = np.full((size, most), -1, np.int64)
        for i, (_, scene_boxes, scene_labels) in enumerate(taken):
            boxes[i, : len(scene_labels)] = scene_boxes
            labels[i, : len(scene_labels)] = scene_labels
        return Batch(np.stack([image for image, _, _ in taken]), boxes, labels)


def _render_shard(shard: int, images: Path, records: Path) -> None:
    kept = np.empty((SHARD, KEPT[1], KEPT[0], 3), np.uint8)
    birds: list[tuple[int, int, NDArray[np.float32]]] = []
    for i in range(SHARD):
        scene = render_scene(TRAINING_SEEDS + shard * SHARD + i)
        kept[i] = cv2.resize(scene.image, KEPT, interpolation=cv2.INTER_LINEAR)
        birds += [(i, int(label), box / 2) for box, label in zip(scene.boxes, scene.labels, strict=True)]
    _save(images, kept)
    _save(records, np.array(birds, _RECORD))  # last: its presence says that the shard is whole


def _save(path: Path, array: NDArray[np.generic]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.save(file, array)
    os.replace(partial, path)


def _alter(
    rng: np.random.Generator, image: Image, birds: NDArray[np.void]
) -> tuple[Image, NDArray[np.float32], NDArray[np.int64]]:
    """Mirror, zoom, move and relight one scene."""
    zoom = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25)))) if rng.random() < 0.7 else 1.0
    size = np.round(np.array(KEPT) * zoom).astype(int)
    scale = np.tile(size / np.array(KEPT), 2)
    boxes = birds["box"] * scale
    scaled = image if zoom == 1.0 else cv2.resize(image, size.tolist(), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        scaled = scaled[:, ::-1]
        boxes[:, [0, 2]] = size[0] - boxes[:, [2, 0]]
    shift = np.round((np.array(CANVAS) - size) * rng.uniform(0.0, 1.0, 2)).astype(int)
    boxes += np.tile(shift, 2)
    inside = np.clip(boxes, 0, np.tile(CANVAS, 2))
    keep = _areas(inside) > _LEAST_INSIDE * _areas(boxes)
    placed = _place(cv2.LUT(np.ascontiguousarray(scaled), _relight(rng)), shift)
    return placed, inside[keep].astype(np.float32), birds["label"][keep].astype(np.int64)


def _place(image: Image, shift: NDArray[np.int_]) -> Image:
    """The canvas with `image` lying at `shift`, cut off at the edges."""
    width, height = CANVAS
    canvas = np.full((height, width, 3), PAD_VALUE, np.uint8)
    left, top = (int(v) for v in shift)
    part = image[max(-top, 0) : height - top, max(-left, 0) : width - left]
    canvas[max(top, 0) :, max(left, 0) :][: part.shape[0], : part.shape[1]] = part
    return canvas


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _relight(rng: np.random.Generator) -> Image:
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    levels = (np.arange(256)[:, None] - 128) * gain * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-20, 20)
    return np.clip(levels, 0, 255).astype(np.uint8)[:, None]
