"""Paints a bird of `species.SPECIES` into a small picture with coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sanderling.models.birds.species import Joint, Part, Point, Pose, Role

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Colour = tuple[int, int, int]

# Plumage colours (base, light, dark), RGB. Every species wears every palette: colour says nothing.
_PLUMAGES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((150, 152, 158), (236, 236, 232), (40, 42, 50)),
    ((142, 112, 80), (228, 214, 190), (62, 44, 32)),
    ((176, 108, 66), (240, 222, 196), (50, 36, 34)),
    ((112, 124, 140), (214, 222, 228), (30, 40, 58)),
    ((128, 126, 90), (222, 218, 180), (54, 56, 34)),
    ((190, 164, 122), (246, 238, 218), (96, 70, 46)),
    ((90, 104, 122), (240, 226, 206), (24, 26, 36)),
    ((166, 140, 132), (232, 220, 216), (84, 58, 58)),
)
_BARE_PARTS: tuple[Colour, ...] = (
    (44, 42, 44), (214, 128, 40), (218, 186, 70), (176, 62, 44), (112, 116, 112), (98, 104, 66),
)  # fmt: skip
_EYE: Colour = (18, 16, 16)
_CURVE_STEPS = 5  # points per control point of a smooth outline
_SUBPIXEL_BITS = 4  # fixed-point fraction that OpenCV's polygon calls take


@dataclass(frozen=True)
class Look:
    """One individual: its colours and build. Drawn once, kept over the frames of a clip."""

    colours: dict[Role, Colour]
    stretch: Point
    lean: float  # radians
    head: float  # radians
    bars: float  # distance of bars and spots, body lengths
    flip: bool
    pivot: Point = (0.0, -0.4)


@dataclass(frozen=True)
class Sprite:
    """colour [h,w,3], multiplied by coverage [h,w,1] in 0..1; `anchor`: the bird's origin in it."""

    colour: Floats
    coverage: Floats
    anchor: Point


def make_look(rng: np.random.Generator) -> Look:
    """Draw an individual's colours and build."""
    base, light, dark = _PLUMAGES[rng.integers(len(_PLUMAGES))]
    bill, leg = (_BARE_PARTS[rng.integers(len(_BARE_PARTS))] for _ in range(2))
    shade = rng.uniform(0.75, 1.15)
    tint = rng.uniform(0.92, 1.08, 3)

    def worn(colour: Colour) -> Colour:
        r, g, b = (int(min(255.0, c * shade * t)) for c, t in zip(colour, tint, strict=True))
        return r, g, b

    roles: dict[Role, Colour] = {
        "base": worn(base),
        "light": worn(light),
        "dark": worn(dark),
        "bill": bill,
        "leg": leg,
        "eye": _EYE,
    }
    return Look(
        colours=roles,
        stretch=(float(rng.uniform(0.9, 1.12)), float(rng.uniform(0.92, 1.08))),
        lean=float(rng.normal(0, 0.08)),
        head=float(rng.normal(0, 0.13)),
        bars=float(rng.uniform(0.11, 0.15)),
        flip=bool(rng.random() < 0.5),
    )


def paint(pose: Pose, look: Look, size: float, phase: float, moving: bool) -> Sprite:
    """Paint a bird whose longer side takes `size` pixels, at `phase` 0..1 of its stride or wing beat."""
    joints = _joint_matrices(pose, look, phase, moving)
    body = _body_matrix(look)
    outlines = [_transform(body @ joints[part.joint], _outline(part)) for part in pose.parts]
    strokes = np.concatenate(outlines)
    low, high = strokes.min(axis=0), strokes.max(axis=0)
    longer = float((high - low).max())
    oversample = 3 if size < 90 else 2
    scale = size * oversample / longer
    pad = oversample
    width, height = (math.ceil(v * scale) + 2 * pad for v in high - low)
    width, height = (math.ceil(v / oversample) * oversample for v in (width, height))

    colour = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for part, outline in zip(pose.parts, outlines, strict=True):
        pixels = np.round((outline - low) * scale + pad - 0.5)
        fixed = (pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        _fill(colour, mask, part, fixed, look, scale)
    small = (width // oversample, height // oversample)
    coverage = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255.0
    shaded = cv2.resize(colour, small, interpolation=cv2.INTER_AREA).astype(np.float32) * _shading(small)
    origin = (_transform(body, np.zeros((1, 2)))[0] - low) * scale / oversample + 1
    return Sprite(shaded, coverage, (float(origin[0]), float(origin[1])))


def _fill(colour: Image, mask: Image, part: Part, fixed: NDArray[np.int32], look: Look, scale: float) -> None:
    rgb = look.colours[part.role]
    if not (part.inside or part.pattern):
        cv2.fillPoly(colour, [fixed], rgb, shift=_SUBPIXEL_BITS)
        cv2.fillPoly(mask, [fixed], 255, shift=_SUBPIXEL_BITS)
        return
    where = np.zeros_like(mask)
    cv2.fillPoly(where, [fixed], 255, shift=_SUBPIXEL_BITS)
    where &= mask
    if part.pattern:
        where &= _pattern(part.pattern, mask.shape, look.bars * scale)
    cv2.copyTo(np.broadcast_to(np.array(rgb, np.uint8), colour.shape).copy(), where, colour)


def _pattern(kind: str, shape: tuple[int, ...], distance: float) -> Image:
    rows = np.arange(shape[0], dtype=np.float32)[:, None] / distance
    columns = np.arange(shape[1], dtype=np.float32)[None, :] / distance
    if kind == "bars":
        on = np.broadcast_to(rows % 1.0 < 0.45, shape)
    else:
        shifted = columns + 0.5 * (np.floor(rows) % 2)
        on = ((rows % 1.0 - 0.5) ** 2 + (shifted % 1.0 - 0.5) ** 2) < 0.12
    return np.where(on, np.uint8(255), np.uint8(0))


def _shading(size: tuple[int, int]) -> Floats:
    """Light from above: a bird's back is brighter than its belly."""
    column = np.linspace(1.1, 0.8, size[1], dtype=np.float32)
    return column[:, None, None]


def _outline(part: Part) -> NDArray[np.float64]:
    points = np.array(part.points, np.float64)
    if part.width > 0:
        line = _spline(points, closed=False) if part.smooth and len(points) > 2 else points
        return _widen(line, part.width)
    return _spline(points, closed=True) if part.smooth else points


def _spline(points: NDArray[np.float64], *, closed: bool) -> NDArray[np.float64]:
    """Catmull-Rom curve through `points`."""
    around = np.concatenate(
        [points[-1:], points, points[:2]] if closed else [points[:1], points, points[-1:]]
    )
    p0, p1, p2, p3 = (around[i : len(around) - 3 + i, None] for i in range(4))
    t = (np.arange(_CURVE_STEPS) / _CURVE_STEPS)[None, :, None]
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, points[-1:]])


def _widen(line: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = along[:, ::-1] * np.array([-1.0, 1.0]) * (width / 2)
    return np.concatenate([line + across, (line - across)[::-1]])


def _joint_matrices(pose: Pose, look: Look, phase: float, moving: bool) -> dict[Joint, NDArray[np.float64]]:
    swing = math.sin(2 * math.pi * phase)
    stride = 0.45 * swing if moving else 0.06
    turns: dict[Joint, NDArray[np.float64]] = {
        "": np.eye(3),
        "head": _rotation(look.head + (0.1 * swing if moving else 0.0)),
        "leg_a": _rotation(stride),
        "leg_b": _rotation(-stride),
        "wing": np.diag([1.0, 0.15 + 0.85 * math.cos(2 * math.pi * phase), 1.0]),
    }
    return {joint: _about(pose.pivots.get(joint, (0.0, 0.0)), turn) for joint, turn in turns.items()}


def _body_matrix(look: Look) -> NDArray[np.float64]:
    side = -1.0 if look.flip else 1.0
    return np.diag([side * look.stretch[0], look.stretch[1], 1.0]) @ _about(look.pivot, _rotation(look.lean))


def _rotation(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _about(pivot: Point, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    there, back = np.eye(3), np.eye(3)
    there[:2, 2] = pivot
    back[:2, 2] = [-pivot[0], -pivot[1]]
    return there @ matrix @ back


def _transform(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:2, :2].T + matrix[:2, 2]
