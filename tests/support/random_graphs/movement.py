"""Steps that only move elements, or make larger images of small ones."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .sketch import Sketch, Value


def _factor(s: Sketch, size: int) -> list[int]:
    """A size as a product of two or three."""
    first = s.one_of([d for d in range(1, size + 1) if size % d == 0])
    return [first, size // first]


def reshaping(s: Sketch, way: int | None = None) -> Value:
    x = s.value(1)
    match s.pick(5) if way is None else way:
        case 1:
            return s.reshape(x, 0, -1)
        case 2:
            axes = s.one_of([[0], [-1], [0, -1], [1]]) if x.rank < 5 else [0]
            return s.unsqueeze(x, axes)
        case 3:
            if 1 not in x.shape:
                x = s.input([1, s.between(1, 7), 1, s.between(1, 7)])
            ones = [axis for axis, size in enumerate(x.shape) if size == 1]
            y = s.squeeze(x, None if s.chance(40) and s.opset < 13 else ones) if ones else x
            return y if y.rank and y is not x else s.reshape(x, 1, *x.shape[:1], -1)
        case 4:
            whole = [*x.shape]
            axis = s.pick(x.rank)
            return s.reshape(x, *whole[:axis], *_factor(s, whole[axis]), *whole[axis + 1 :])
        case _:
            channels = s.one_of([d for d in range(1, min(x.size, 32) + 1) if x.size % d == 0])
            rows, columns = _factor(s, x.size // channels)
            return s.reshape(x, 1, channels, rows, columns)


def computed_shape(s: Sketch, way: int | None = None) -> Value:
    """Shape arithmetic as exporters write it: it must fold away."""
    x = s.value(2, 4)
    shape = s.add("Shape", x, array=np.array(x.shape, np.int64))

    def dim(axis: int) -> Value:
        return s.add("Gather", shape, s.scalar(axis, np.int64), array=np.array(x.shape[axis], np.int64))

    match s.pick(4) if way is None else way:
        case 0:  # x.view(x.shape[0], -1)
            first = s.unsqueeze(dim(0), [0], array=np.array(x.shape[:1], np.int64))
            target = s.add("Concat", first, s.ints(-1), axis=0, array=np.array([x.shape[0], -1], np.int64))
            return s.add("Reshape", x, target)
        case 1:  # x.reshape(n·c, …)
            both = s.add("Mul", dim(0), dim(1), array=np.array(x.shape[0] * x.shape[1], np.int64))
            first = s.unsqueeze(both, [0], array=both.array.reshape(1) if both.array is not None else None)
            rest = s.slice(shape, [2], [2**31], [0], [1])
            target = s.add(
                "Concat",
                first,
                rest,
                axis=0,
                array=np.array([x.shape[0] * x.shape[1], *x.shape[2:]], np.int64),
            )
            return s.add("Reshape", x, target)
        case 2:  # torch.ones_like(x) + x
            ones = s.add("ConstantOfShape", shape, value=_tensor(np.ones(1, np.float32)))
            return s.add("Add", x, ones, bound=x.bound + 1)
        case _:  # an arange as a position
            limit = s.add("Cast", dim(x.rank - 1), to=7, array=np.array(x.shape[-1], np.int64))
            counted = np.arange(x.shape[-1], dtype=np.int64)
            count = s.add("Range", s.scalar(0, np.int64), limit, s.scalar(1, np.int64), array=counted)
            place = s.add("Cast", count, to=1, bound=float(x.shape[-1]))
            return s.add("Add", x, s.add("Mul", place, s.scalar(0.1), bound=2.0), bound=x.bound + 2)


def _tensor(array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array)


def transposition(s: Sketch) -> Value:
    x = s.value(2)
    perm = s.one_of([None, s.permutation(x.rank), s.permutation(x.rank)])
    return s.add("Transpose", x, perm=perm)


def concatenation(s: Sketch) -> Value:
    x = s.value(1, 5)
    axis = s.pick(x.rank)

    def fits(v: Value) -> bool:
        return v.rank == x.rank and all(
            a == b for k, (a, b) in enumerate(zip(v.shape, x.shape, strict=True)) if k != axis
        )

    parts = [x]
    for _ in range(s.between(1, 3)):
        other = s.find(fits)
        shape = (*x.shape[:axis], s.between(1, 9), *x.shape[axis + 1 :])
        parts.append(other if other and s.chance(70) else s.normal(*shape) if s.chance(60) else x)
    order = s.permutation(len(parts))
    return s.add("Concat", *(parts[k] for k in order), axis=axis - x.rank if s.chance(30) else axis)


def splitting(s: Sketch) -> list[Value]:
    x = s.value(1, 5)
    axis = s.pick(x.rank)
    size = x.shape[axis]
    if size < 2:
        return [s.add("Identity", x)]
    if s.opset >= 18 and s.chance(40):
        count = s.between(2, min(size, 3))
        return (
            s.split_node("Split", x, outputs=count, axis=axis, num_outputs=count)
            if size % count == 0
            else (s.split(x, [size - 1, 1], axis))
        )
    if size % 2 == 0 and s.chance(30):
        words = {"num_outputs": 2} if s.opset >= 18 else {}
        return s.split_node("Split", x, outputs=2, axis=axis, **words)
    first = s.between(1, size - 1)
    return s.split(x, [first, size - first], axis)


def cutting(s: Sketch) -> Value:
    x = s.value(1)
    axes = sorted({s.pick(x.rank) for _ in range(s.between(1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        size = x.shape[axis]
        start = s.pick(size)
        a, b, c = s.one_of(
            [
                (start, 2**62, 1),
                (start - size, size, 2),
                (-1, -(2**62), -1),
                (size - 1, -size - 1, -2),
                (0, start + 1, 1),
            ]
        )
        starts.append(a)
        ends.append(b)
        steps.append(c)
    return s.slice(x, starts, ends, [axis - x.rank if s.chance(30) else axis for axis in axes], steps)


def padding(s: Sketch) -> Value:
    x = s.value(1, 5, 1 << 12)
    modes = ["constant", "constant", "reflect", "edge", *(["wrap"] if s.opset >= 19 else [])]
    mode = s.one_of(modes)
    most = 2 if mode == "constant" else min(2, min(x.shape) - 1)
    pads = [s.between(0, most) for _ in range(2 * x.rank)]
    if mode == "constant" and min(x.shape) > 2 and s.chance(20):
        pads[0] = -1
    inputs = [s.ints(*pads)]
    if mode == "constant" and s.chance(50):
        inputs.append(s.scalar(s.one_of([0.0, 1.5, -1.0])))
    return s.add("Pad", x, *inputs, mode=mode if mode != "constant" or s.chance(30) else None)


def tiling(s: Sketch) -> Value:
    x = s.value(1, 4, 1 << 11)
    return s.add("Tile", x, s.ints(*(s.between(1, 3) for _ in x.shape)), varied=False)


def expansion(s: Sketch) -> Value:
    x = s.value(1, 4, 1 << 11)
    if s.chance(50):
        shape = [s.between(1, 3) if size == 1 else size for size in x.shape]
        return s.add("Expand", x, s.ints(s.between(1, 3), *shape), varied=False)
    shape = [s.between(1, 4) if size == 1 else 1 for size in x.shape]
    return s.add("Expand", x, s.ints(*shape), varied=False)


def depth_to_space(s: Sketch) -> Value:
    b = s.between(2, 3)
    x = s.image(1)
    if x.shape[1] % (b * b):
        x = s.input([1, b * b * s.between(1, 3), s.between(1, 5), s.between(1, 5)])
    return s.add("DepthToSpace", x, blocksize=b, mode=s.one_of([None, "CRD", "DCR"]))


def space_to_depth(s: Sketch) -> Value:
    b = s.between(2, 3)
    x = s.image(b)
    if x.shape[2] % b or x.shape[3] % b:
        x = s.input([1, s.between(1, 5), b * s.between(1, 5), b * s.between(1, 5)])
    return s.add("SpaceToDepth", x, blocksize=b)


def flattening(s: Sketch) -> Value:
    x = s.value(1)
    return s.add("Flatten", x, axis=s.one_of([None, 0, -1, x.rank, x.rank - 1]))


def resizing(s: Sketch) -> Value:
    """Every mode, by scales or by sizes, up and down, in two dimensions and others."""
    x = s.image(1, 20, 1 << 12) if s.chance(85) else s.value(3, 5, 1 << 11)
    mode = s.one_of(["nearest", "nearest", "linear", "linear", "cubic"])
    places = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    if s.opset >= 19:
        places.append("half_pixel_symmetric")
    words: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": s.one_of(places)}
    if mode == "nearest":
        words["nearest_mode"] = s.one_of(["floor", "round_prefer_floor", "ceil", "round_prefer_ceil"])
    if mode == "cubic":
        if x.rank != 4:
            words["mode"] = "linear"
        else:
            words["cubic_coeff_a"] = s.one_of([None, -0.5])
            if s.chance(30):
                words["exclude_outside"] = 1
    if s.opset >= 18 and s.chance(25) and words["mode"] in ("linear", "cubic") and x.rank == 4:
        words["antialias"] = 1
    spatial = min(x.rank - 2, 3)
    factors = [s.one_of([2.0, 1.0, 0.5, 1.5, 3.0, 0.75]) for _ in range(spatial)]
    kept = x.rank - spatial
    roi = None if s.opset >= 13 else s.constant(np.zeros(0, np.float32))
    sizes = [max(1, math.floor(size * f)) for size, f in zip(x.shape[kept:], factors, strict=True)]
    if s.opset >= 18 and s.chance(20):
        words["axes"] = list(range(kept, x.rank))
        if s.chance(40):
            words["keep_aspect_ratio_policy"] = s.one_of(["not_larger", "not_smaller"])
        return s.add("Resize", x, roi, None, s.ints(*sizes), bound=1.5 * x.bound, **words)
    if s.chance(50) and all(math.floor(n * f) >= 1 for n, f in zip(x.shape[kept:], factors, strict=True)):
        scales = s.constant(np.array([1.0] * kept + factors, np.float32))
        return s.add("Resize", x, roi, scales, bound=1.5 * x.bound, **words)
    empty = None if s.opset >= 13 else s.constant(np.zeros(0, np.float32))
    return s.add("Resize", x, roi, empty, s.ints(*x.shape[:kept], *sizes), bound=1.5 * x.bound, **words)


def grid_sampling(s: Sketch) -> Value:
    """Reads between pixels, at computed places."""
    x = s.image(2, 12)
    if s.opset < 16:
        return s.add("Transpose", x, perm=[0, 1, 3, 2])
    grid = s.add("Tanh", s.input([x.shape[0], s.between(1, 5), s.between(1, 5), 2]), bound=1.0)
    return s.add(
        "GridSample",
        x,
        grid,
        align_corners=s.pick(2),
        mode=s.one_of([None, "linear" if s.opset >= 20 else "bilinear"]),
        padding_mode=s.one_of([None, "zeros", "border", "reflection"]),
        varied=False,
    )


def regions(s: Sketch) -> Value:
    """RoiAlign, which ONNX Runtime does not have in version 22."""
    x = s.image(2, 12)
    if s.opset == 22:
        return s.add("Transpose", x, perm=[0, 1, 3, 2])
    count = s.between(1, 4)
    corners = s.add("Sigmoid", s.input([count, 2]), bound=1.0)
    ends = s.add("Add", corners, s.positive(count, 2), bound=3.0)
    boxes = s.add("Concat", corners, ends, axis=1)
    words: dict[str, Any] = {"coordinate_transformation_mode": "half_pixel"} if s.opset >= 16 else {}
    return s.add(
        "RoiAlign",
        x,
        boxes,
        s.constant(s.indices(x.shape[0], count)),
        output_height=s.between(1, 3),
        output_width=s.between(1, 3),
        sampling_ratio=s.between(1, 2),
        spatial_scale=s.one_of([1.0, 2.0]),
        varied=False,
        **words,
    )


def triangle(s: Sketch) -> Value:
    x = s.value(2, 4)
    if s.opset < 14:
        return s.add("Transpose", x)
    return s.add(
        "Trilu", x, *([s.scalar(s.between(-1, 2), np.int64)] if s.chance(50) else []), upper=s.pick(2)
    )


STEPS = (
    computed_shape,
    computed_shape,
    concatenation,
    concatenation,
    cutting,
    cutting,
    depth_to_space,
    flattening,
    grid_sampling,
    padding,
    regions,
    reshaping,
    reshaping,
    resizing,
    resizing,
    resizing,
    space_to_depth,
    splitting,
    splitting,
    expansion,
    tiling,
    transposition,
    transposition,
    triangle,
)

EACH = (
    *(partial(reshaping, way=way) for way in range(5)),
    *(partial(computed_shape, way=way) for way in range(4)),
)
"""Every way at least once."""
