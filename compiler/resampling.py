"""Resize as tables: which elements of an axis each output element mixes, and with what weights.

Every mode of ONNX's Resize works axis by axis and is linear, so two tables for each axis say all of it.
Coordinates are computed in single precision and in the order of ONNX Runtime, whose rounding decides which
neighbour is the nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]

_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Taps:
    """Output element i of an axis is Σ_t weights[i, t] · input[indices[i, t]].

    Where `outside` holds, it is the extrapolation value instead; None if that is nowhere.
    """

    indices: Indices
    weights: Floats
    outside: npt.NDArray[np.bool_] | None = None

    @property
    def count(self) -> int:
        """Elements that are mixed, at most."""
        return int(self.indices.shape[1])

    @property
    def is_identity(self) -> bool:
        """Whether the axis stays as it is."""
        places = np.arange(self.indices.shape[0])
        return self.outside is None and self.count == 1 and bool(np.array_equal(self.indices[:, 0], places))


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis before and after; `start` and `end` of the region of interest, normalised."""

    before: int
    after: int
    scale: np.float32
    start: np.float32
    end: np.float32


def taps(attributes: Mapping[str, Any], axis: int, before: int, after: int) -> Taps:
    """The tables of one axis of a canonical Resize.

    Raises:
        ValueError: a mode is unknown.
    """
    rank = len(attributes["scales"])
    roi = attributes["roi"] or (0.0,) * rank + (1.0,) * rank
    scale = np.float32(attributes["scales"][axis])
    place = _Axis(before, after, scale, np.float32(roi[axis]), np.float32(roi[axis + rank]))
    transformation = str(attributes["coordinate_transformation_mode"])
    mode = str(attributes["mode"])
    if transformation not in _COORDINATES or mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"unknown mode {mode!r} or coordinate transformation {transformation!r}")
    crops = transformation == "tf_crop_and_resize"
    if scale == 1 and before == after:  # ONNX Runtime does not crop such an axis, either
        found = np.arange(after, dtype=np.int32)[:, None]
        return Taps(found, np.ones_like(found, np.float32))
    x = _COORDINATES[transformation](np.arange(after, dtype=np.float32), place)
    outside = (x < 0) | (x > np.float32(before - 1)) if crops else None
    if mode == "nearest":
        made = _nearest(x, str(attributes["nearest_mode"]), before)
    elif attributes["antialias"] and scale < 1:
        made = _filtered(x, mode, attributes, before, scale)
    elif mode == "linear":
        made = _linear(x, before)
    else:
        made = _cubic(x, attributes, before)
    return Taps(made.indices, made.weights, outside if outside is not None and outside.any() else None)


# --- where an output element lies in the input ---


def _half_pixel(x: Floats, axis: _Axis) -> Floats:
    return (x + _HALF) / axis.scale - _HALF


def _pytorch_half_pixel(x: Floats, axis: _Axis) -> Floats:
    return _half_pixel(x, axis) if axis.after > 1 else np.zeros_like(x)


def _symmetric(x: Floats, axis: _Axis) -> Floats:
    adjustment = np.float32(axis.after) / (axis.scale * np.float32(axis.before))
    offset = np.float32(axis.before) / np.float32(2) * (np.float32(1) - adjustment)
    # The one transformation that ONNX Runtime computes in double precision.
    return np.asarray(float(offset) + (x.astype(float) + 0.5) / float(axis.scale) - 0.5, np.float32)


def _align_corners(x: Floats, axis: _Axis) -> Floats:
    if axis.after == 1:
        return np.zeros_like(x)
    return x * np.float32(axis.before - 1) / np.float32(axis.after - 1)


def _crop(x: Floats, axis: _Axis) -> Floats:
    last = np.float32(axis.before - 1)
    if axis.after == 1:
        return np.full_like(x, _HALF * (axis.start + axis.end) * last)
    return axis.start * last + x * (axis.end - axis.start) * last / np.float32(axis.after - 1)


_COORDINATES: Mapping[str, Callable[[Floats, _Axis], Floats]] = {
    "align_corners": _align_corners,
    "asymmetric": lambda x, axis: x / axis.scale,
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "tf_crop_and_resize": _crop,
    "tf_half_pixel_for_nn": lambda x, axis: (x + _HALF) / axis.scale,
}


# --- what is mixed there ---


def _rounded(x: Floats, *, up: bool) -> Floats:
    """To whole numbers, halves up or down. As in ONNX Runtime, what is all but a half is one."""
    below = np.floor(x)
    rest = x.astype(np.float64) - below
    is_half = np.abs(rest - 0.5) < 1e-6
    return np.asarray(np.where(is_half, below + up, below + (rest > 0.5)), np.float32)


_ROUNDINGS: Mapping[str, Callable[[Floats], Any]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: _rounded(x, up=True),
    "round_prefer_floor": lambda x: _rounded(x, up=False),
}


def _nearest(x: Floats, rounding: str, before: int) -> Taps:
    indices = _inside(_ROUNDINGS[rounding](x), before)[:, None]
    return Taps(indices, np.ones_like(indices, np.float32))


def _linear(x: Floats, before: int) -> Taps:
    x = np.clip(x, np.float32(0), np.float32(before - 1))
    first = _inside(np.floor(x), before)
    second = _inside(first + 1, before)
    share = (x - first).astype(np.float32)
    return Taps(np.stack([first, second], 1), np.stack([1 - share, share], 1).astype(np.float32))


def _cubic(x: Floats, attributes: Mapping[str, Any], before: int) -> Taps:
    first = np.floor(x)
    places = first[:, None] + np.arange(-1, 3, dtype=np.float32)
    weights = _cubic_kernel(x[:, None] - places, np.float32(attributes["cubic_coeff_a"]))
    if attributes["exclude_outside"]:
        weights = _without_outside(weights, places, before)
    return Taps(_inside(places, before), weights.astype(np.float32))


def _filtered(x: Floats, mode: str, attributes: Mapping[str, Any], before: int, scale: np.float32) -> Taps:
    """With the kernel stretched over all elements that an output element stands for."""
    reach = np.float32(1 if mode == "linear" else 2) / scale
    centre = x + _HALF
    start = np.floor(centre - reach + _HALF)
    width = int(np.max(np.floor(centre + reach + _HALF) - start))
    places = start[:, None] + np.arange(width, dtype=np.float32)
    distance = (places + _HALF - centre[:, None]) * scale
    if mode == "linear":
        weights = np.maximum(1 - np.abs(distance), 0)
    else:
        weights = _cubic_kernel(distance, np.float32(attributes["cubic_coeff_a"]))
    if attributes["exclude_outside"]:
        weights = np.where((places >= 0) & (places < before), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    return Taps(_inside(places, before), weights.astype(np.float32))


def _cubic_kernel(distance: Floats, a: np.float32) -> Floats:
    d = np.abs(distance.astype(np.float64))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0)).astype(np.float32)


def _without_outside(weights: Floats, places: Floats, before: int) -> Floats:
    inside = np.where((places >= 0) & (places < before), weights, 0)
    return np.asarray(inside / inside.sum(1, keepdims=True), np.float32)


def _inside(places: Any, before: int) -> Indices:
    return np.asarray(np.clip(places, 0, before - 1), np.int32)
