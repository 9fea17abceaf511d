"""Camera scenes with birds and their true boxes, rendered from a seed.

    seed ─► stage (place, birds, conditions) ─► frame at a time ─► image, boxes, labels

Everything random is drawn while the stage is set, so a clip is the same stage seen at later times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sanderling.models.birds import camera, landscapes
from sanderling.models.birds.landscapes import HEIGHT, WIDTH, Image
from sanderling.models.birds.species import SPECIES, Pose
from sanderling.models.birds.sprites import Look, Sprite, make_look, paint

FRAMES_PER_SECOND = 25
_EMPTY_SHARE = 0.13  # scenes without a bird
_SIZES = (34.0, 124.0)  # longer side of a bird in pixels, farthest and nearest
_SMALLEST = 26.0
_THINNEST = 14  # shorter side in pixels below which a bird is too far to be drawn
_LEAST_VISIBLE = 0.4  # a bird hidden more than that is nobody's mistake to miss, so it has no box
_MOST_OVERLAP = 0.15
_NEAR_IS_LOW = ("ground", "water")  # places where what is closer stands lower in the picture
# Sizes travelled and strides or wing beats made in a second.
_MOTION = {"ground": (0.5, 1.6), "water": (0.25, 0.5), "perch": (0.0, 0.4), "air": (1.6, 2.5)}


@dataclass(frozen=True)
class Scene:
    """image: RGB bytes [H,W,3]. boxes: float32 [n,4], x1 y1 x2 y2 in pixels. labels: int64 [n]."""

    image: Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Bird:
    label: int
    pose: Pose
    look: Look
    size: float
    spot: tuple[float, float]
    speed: tuple[float, float]  # pixels per second
    beat: float  # strides or wing beats per second
    phase: float
    veil: float  # share of fog before it

    def sprite(self, time: float) -> Sprite:
        return paint(self.pose, self.look, self.size, (self.phase + self.beat * time) % 1.0, self.beat > 0)

    def origin(self, time: float) -> tuple[float, float]:
        x, y = self.spot[0] + self.speed[0] * time, self.spot[1] + self.speed[1] * time
        lane = WIDTH + 2 * self.size
        return (x + self.size) % lane - self.size if self.speed[0] else x, y


@dataclass(frozen=True)
class _Stage:
    backdrop: Image
    birds: tuple[_Bird, ...]
    foreground: Image
    cover: Image  # 255 where the foreground hides what is behind it
    conditions: camera.Conditions
    seed: int


def render_scene(seed: int) -> Scene:
    """Render the scene of `seed`, 640×480. The same seed gives the same scene."""
    return _frame(_set_stage(seed), 0.0)


def render_clip(seed: int, frames: int) -> Iterator[Scene]:
    """Render `frames` frames at 25 a second of one place where birds walk, swim and fly."""
    stage = _set_stage(seed)
    return (_frame(stage, index / FRAMES_PER_SECOND) for index in range(frames))


def _set_stage(seed: int) -> _Stage:
    rng = np.random.default_rng((seed, 1))
    place = landscapes.paint_landscape(rng)
    conditions = camera.make_conditions(rng)
    birds: list[_Bird] = []
    boxes: list[NDArray[np.float64]] = []
    wanted = 0 if rng.random() < _EMPTY_SHARE else min(1 + int(rng.poisson(2.6)), 8)
    for _ in range(wanted):
        bird = _hatch(rng, place, conditions)
        box = np.array(_bounds(bird.sprite(0.0), bird.origin(0.0)), np.float64)
        if min(box[2] - box[0], box[3] - box[1]) < _THINNEST:
            continue
        if all(_overlap(box, other) <= _MOST_OVERLAP for other in boxes):
            birds.append(bird)
            boxes.append(box)
    for bird in birds:
        if bird.pose.place == "perch":
            _perch(place.image, rng, bird)
    camera.haze(place.image, conditions, place.horizon)
    foreground, cover = _foreground(rng, place, boxes)
    ordered = tuple(sorted(birds, key=lambda bird: bird.spot[1]))
    return _Stage(place.image, ordered, foreground, cover, conditions, seed)


def _hatch(rng: np.random.Generator, place: landscapes.Landscape, conditions: camera.Conditions) -> _Bird:
    label = int(rng.integers(len(SPECIES)))
    species = SPECIES[label]
    pose = species.poses[rng.integers(len(species.poses))]
    look = make_look(rng)
    near = float(rng.random())
    rows = {"ground": place.ground, "water": place.water if place.water[1] else place.ground}.get(
        pose.place, (int(0.12 * HEIGHT), int(0.8 * HEIGHT))
    )
    y = rows[0] + near * (rows[1] - rows[0]) if pose.place in _NEAR_IS_LOW else float(rng.uniform(*rows))
    distance = _SIZES[0] * (_SIZES[1] / _SIZES[0]) ** near
    size = max(_SMALLEST, distance * species.size**0.7 * float(rng.uniform(0.85, 1.15)))
    ahead = -1.0 if look.flip else 1.0
    moves = rng.random() < 0.6
    pace, beat = _MOTION[pose.place]
    if pose.place == "ground" and not moves:
        pace, beat = 0.0, 0.0
    climb = float(rng.normal(0, 0.1)) * size if pose.place == "air" else 0.0
    return _Bird(
        label, pose, look, size, (float(rng.uniform(0.03, 0.97)) * WIDTH, y), (ahead * pace * size, climb),
        beat * float(rng.uniform(0.8, 1.2)), float(rng.random()), conditions.fog * (1.0 - near) * 0.6,
    )  # fmt: skip


def _perch(image: Image, rng: np.random.Generator, bird: _Bird) -> None:
    """A post below the bird, or a branch that it sits on."""
    x, y = bird.spot
    thick = max(3.0, bird.size * float(rng.uniform(0.06, 0.14)))
    wood = landscapes.vary(rng, (96, 80, 64), 30)
    if rng.random() < 0.4:
        shape = np.array(
            [[x - thick, y - 1], [x + thick, y - 1], [x + 1.2 * thick, HEIGHT], [x - 1.2 * thick, HEIGHT]]
        )
    else:
        side = 1 if rng.random() < 0.5 else -1
        near, far = x + side * bird.size * 4.0, x - side * bird.size * 1.2
        drop = float(rng.normal(0, 0.25)) * bird.size
        shape = np.array(
            [[far, y - drop * 0.3], [x, y], [near, y + drop], [near, y + drop + thick * 1.6], [x, y + thick],
             [far, y - drop * 0.3 + thick * 0.3]]
        )  # fmt: skip
    cv2.fillPoly(image, [(shape * 16).astype(np.int32)], wood, cv2.LINE_AA, shift=4)
    edge = tuple(min(255, c + 26) for c in wood)
    cv2.polylines(image, [(shape[:2] * 16).astype(np.int32)], False, edge, 2, cv2.LINE_AA, shift=4)


def _foreground(
    rng: np.random.Generator, place: landscapes.Landscape, boxes: list[NDArray[np.float64]]
) -> tuple[Image, Image]:
    """Grass close to the camera and tufts before some of the birds."""
    image, cover = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    for box in boxes:
        if rng.random() < 0.3:
            width, height = box[2] - box[0], box[3] - box[1]
            x = rng.uniform(box[0] - 0.2 * width, box[2], 9)
            roots = np.stack([x, np.full(9, box[3] + 0.06 * height)], 1)
            landscapes.blades(image, rng, roots, height * rng.uniform(0.35, 0.7), place.foliage, cover)
    if rng.random() < 0.3:
        count = int(rng.integers(8, 40))
        roots = np.stack([rng.uniform(0, WIDTH, count), rng.uniform(HEIGHT, HEIGHT + 20, count)], 1)
        landscapes.blades(image, rng, roots, rng.uniform(50, 150), place.foliage, cover)
    return image, cover


def _frame(stage: _Stage, time: float) -> Scene:
    image = stage.backdrop.copy()
    owner = np.zeros((HEIGHT, WIDTH), np.uint8)
    seen: list[tuple[_Bird, Sprite, tuple[int, int, int, int]]] = []
    for number, bird in enumerate(stage.birds, start=1):
        sprite, origin = bird.sprite(time), bird.origin(time)
        _ground_contact(image, bird, sprite, origin)
        _lay(image, owner, number, bird, sprite, origin, stage.conditions.fog_level)
        seen.append((bird, sprite, _bounds(sprite, origin)))
    cv2.copyTo(stage.foreground, stage.cover, image)
    owner[stage.cover > 0] = 0
    boxes, labels = [], []
    for number, (bird, sprite, (x1, y1, x2, y2)) in enumerate(seen, start=1):
        box = (max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT))
        if box[0] >= box[2] or box[1] >= box[3]:
            continue
        whole = int(np.count_nonzero(sprite.coverage > 0.5))
        visible = int(np.count_nonzero(owner[box[1] : box[3], box[0] : box[2]] == number))
        if visible >= _LEAST_VISIBLE * whole:
            boxes.append(box)
            labels.append(bird.label)
    exposed = camera.expose(image, stage.conditions, stage.seed, time)
    return Scene(exposed, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def _bounds(sprite: Sprite, origin: tuple[float, float]) -> tuple[int, int, int, int]:
    """Box of a sprite whose anchor lies at `origin`, without the one pixel of padding around it."""
    height, width = sprite.coverage.shape[:2]
    left, top = round(origin[0] - sprite.anchor[0]), round(origin[1] - sprite.anchor[1])
    return left + 1, top + 1, left + width - 1, top + height - 1


def _window(sprite: Sprite, origin: tuple[float, float]) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of the image, then of the sprite, where both are; None if the sprite is outside."""
    height, width = sprite.coverage.shape[:2]
    left, top = round(origin[0] - sprite.anchor[0]), round(origin[1] - sprite.anchor[1])
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, WIDTH), min(top + height, HEIGHT)
    if x1 >= x2 or y1 >= y2:
        return None
    return slice(y1, y2), slice(x1, x2), slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)


def _lay(
    image: Image,
    owner: Image,
    number: int,
    bird: _Bird,
    sprite: Sprite,
    origin: tuple[float, float],
    fog: int,
) -> None:
    window = _window(sprite, origin)
    if window is None:
        return
    rows, columns, sprite_rows, sprite_columns = window
    coverage = sprite.coverage[sprite_rows, sprite_columns]
    colour = sprite.colour[sprite_rows, sprite_columns] * (1 - bird.veil) + coverage * (bird.veil * fog)
    behind = image[rows, columns]
    image[rows, columns] = np.clip(behind * (1.0 - coverage) + colour, 0, 255).astype(np.uint8)
    owner[rows, columns][coverage[..., 0] > 0.5] = number


def _ground_contact(image: Image, bird: _Bird, sprite: Sprite, origin: tuple[float, float]) -> None:
    """A shadow under a bird on the ground, a mirrored picture under one on the water."""
    width = sprite.coverage.shape[1]
    if bird.pose.place == "ground":
        half = max(2, int(bird.size * 0.09))
        shadow = np.zeros((4 * half + 1, width), np.float32)
        cv2.ellipse(shadow, (width // 2, 2 * half), (int(width * 0.32), half), 0, 0, 360, 0.4, -1)
        shadow = cv2.GaussianBlur(shadow, (0, 0), half * 0.5)[..., None]
        _blend(image, np.zeros(3, np.float32), shadow, (origin[0] - width * 0.5, origin[1] - 2 * half))
    elif bird.pose.place == "water":
        mirrored = sprite.coverage[::-1] * 0.3
        _blend(
            image, np.array([58, 66, 70], np.float32), mirrored, (origin[0] - sprite.anchor[0], origin[1] - 2)
        )


def _blend(
    image: Image, colour: NDArray[np.float32], alpha: NDArray[np.float32], corner: tuple[float, float]
) -> None:
    window = _window(Sprite(alpha, alpha, (0.0, 0.0)), corner)
    if window is None:
        return
    rows, columns, part_rows, part_columns = window
    share = alpha[part_rows, part_columns]
    image[rows, columns] = (image[rows, columns] * (1 - share) + colour * share).astype(np.uint8)


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Shared area over the smaller box's area."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return float(np.prod(np.maximum(sides, 0.0))) / max(smaller, 1.0)
