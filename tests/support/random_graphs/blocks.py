"""Steps of many nodes: the blocks that image models are made of, as exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .layers import batch_normalized
from .sketch import Sketch, Value


def _conv(s: Sketch, x: Value, out: int, kernel: int = 1, group: int = 1, **words: Any) -> Value:
    dilation = words.get("dilations", [1])[0]
    weight = s.weights(out, x.shape[1] // group, kernel, kernel, inputs=x.shape[1] // group * kernel**2)
    bias = [s.normal(out, scale=0.3)] if s.chance(60) else []
    pads = [dilation * (kernel // 2)] * 4
    return s.tamed(s.add("Conv", x, weight, *bias, group=group, pads=pads, bound=1.3 * x.bound, **words))


def _act(s: Sketch, x: Value) -> Value:
    match s.pick(4):
        case 0:
            return s.add("Relu", x)
        case 1:
            return s.add("Mul", x, s.add("Sigmoid", x, bound=1.0))
        case 2:
            return s.add("Clip", x, s.scalar(0.0), s.scalar(6.0))
        case _:
            return s.add("HardSwish", x) if s.opset >= 14 else s.add("LeakyRelu", x, alpha=0.1)


def _conv_act(s: Sketch, x: Value, out: int, kernel: int = 1, group: int = 1, **words: Any) -> Value:
    y = _conv(s, x, out, kernel, group, **words)
    return _act(s, batch_normalized(s, y) if s.chance(40) else y)


def residual(s: Sketch) -> Value:
    x = s.image(1, 20, 1 << 12)
    y = _conv_act(s, x, s.between(1, 20), s.one_of([1, 3]))
    y = _conv(s, y, x.shape[1], s.one_of([1, 3]))
    total = s.add("Add", *((x, y) if s.chance(50) else (y, x)), bound=x.bound + y.bound)
    return s.add("Relu", total) if s.chance(60) else total


def inverted_residual(s: Sketch) -> Value:
    x = s.image(1, 16, 1 << 12)
    wide = x.shape[1] * s.between(1, 3)
    y = _conv_act(s, x, wide)
    y = _conv_act(s, y, wide, s.one_of([3, 5]), wide)
    y = _conv(s, _squeezed(s, y) if s.chance(50) else y, x.shape[1])
    return s.add("Add", x, y, bound=x.bound + y.bound)


def _squeezed(s: Sketch, x: Value) -> Value:
    if s.chance(60):
        y = s.add("GlobalAveragePool", x, varied=False)
    else:
        y = s.reduce("ReduceMean", x, s.one_of([[2, 3], [-1, -2]]), 1, varied=False)
    y = s.add("Relu", _conv(s, y, s.between(1, 8)))
    y = _conv(s, y, x.shape[1])
    gate = s.add("Sigmoid", y, bound=1.0) if s.chance(60) else s.add("HardSigmoid", y, alpha=1 / 6, bound=1.0)
    return s.add("Mul", *((x, gate) if s.chance(50) else (gate, x)), bound=x.bound, varied=x.varied)


def squeeze_excite(s: Sketch) -> Value:
    return _squeezed(s, s.image(1, 20))


def _upsampled(s: Sketch, x: Value, height: int, width: int) -> Value:
    """To a size, which is a constant or computed from a shape."""
    roi = None if s.opset >= 13 else s.constant(np.zeros(0, np.float32))
    empty = None if s.opset >= 13 else s.constant(np.zeros(0, np.float32))
    words: dict[str, Any] = s.one_of(
        [
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        ]
    )
    whole = [*x.shape[:2], height, width]
    if s.chance(50):
        return s.add("Resize", x, roi, empty, s.ints(*whole), **words)
    shape = s.add("Shape", x, array=np.array(x.shape, np.int64))
    kept = s.slice(shape, [0], [2], [0], [1])
    sizes = s.add("Concat", kept, s.ints(height, width), axis=0, array=np.array(whole, np.int64))
    return s.add("Resize", x, roi, empty, sizes, **words)


def pyramid(s: Sketch) -> list[Value]:
    """Two levels of a feature pyramid: the deeper one is enlarged and added, or concatenated."""
    x = s.image(2, 14, 1 << 12)
    channels = s.between(1, 18)
    deep = _conv_act(s, x, s.between(1, 20), 3, strides=[2, 2])
    top = _conv(s, deep, channels)
    side = _conv(s, x, channels)
    large = _upsampled(s, top, *x.shape[2:])
    if s.chance(60):
        joined = s.add("Add", side, large, bound=side.bound + large.bound)
    else:
        joined = s.add("Concat", side, large, axis=1)
    return [top, _conv(s, joined, channels, 3)]


def channel_shuffle(s: Sketch) -> Value:
    x = s.image(1, 20)
    n, c, h, w = x.shape
    groups = s.one_of([d for d in range(1, c + 1) if c % d == 0])
    y = s.reshape(x, n, groups, c // groups, h, w)
    y = s.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    return s.reshape(y, n, -1, h, w)


def dense_block(s: Sketch) -> Value:
    x = s.image(1, 14, 1 << 12)
    parts = [x]
    for _ in range(s.between(1, 3)):
        joined = s.add("Concat", *parts, axis=1) if len(parts) > 1 else x
        parts.append(_conv_act(s, joined, s.between(1, 17), s.one_of([1, 3])))
    return s.add("Concat", *parts, axis=s.one_of([1, -3]))


def inception(s: Sketch) -> Value:
    """Branches of different kernels, joined."""
    x = s.image(3, 14, 1 << 12)
    branches = [_conv_act(s, x, s.one_of([8, 16, s.between(1, 17)]), k) for k in (1, 3)]
    pooled = s.add(s.one_of(["MaxPool", "AveragePool"]), x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    branches.append(_conv_act(s, pooled, s.one_of([8, 16, 5])))
    return s.add("Concat", *branches, axis=1)


def split_transform_merge(s: Sketch) -> Value:
    """A cross-stage block: half of the channels passes by."""
    x = s.image(1, 14, 1 << 12)
    if x.shape[1] < 2:
        x = _conv(s, x, s.between(2, 18))
    first = s.between(1, x.shape[1] - 1)
    a, b = s.split(x, [first, x.shape[1] - first], 1)
    b = _conv_act(s, b, b.shape[1], 3)
    return s.add("Concat", *((a, b) if s.chance(50) else (b, a, b)), axis=1)


def pixel_slices(s: Sketch) -> Value:
    """Every second pixel, four times, joined as channels."""
    x = s.image(2, 16, 1 << 12)
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = s.input([1, 3, 2 * s.between(1, 7), 2 * s.between(1, 7)])
    parts = [
        s.slice(s.slice(x, [row], [2**31], [2], [2]), [column], [2**31], [3], [2])
        for row in (0, 1)
        for column in (0, 1)
    ]
    return _conv_act(s, s.add("Concat", *parts, axis=1), s.between(1, 18), 3)


def dilated_pyramid(s: Sketch) -> Value:
    """Dilated branches and one of the whole image, as segmentation heads have them."""
    x = s.image(3, 12, 1 << 11)
    out = s.between(1, 17)
    branches = [_conv_act(s, x, out), *(_conv_act(s, x, out, 3, dilations=[d, d]) for d in (2, 3))]
    pooled = _conv_act(s, s.add("GlobalAveragePool", x, varied=False), out)
    branches.append(_upsampled(s, pooled, *x.shape[2:]))
    return _conv(s, s.add("Concat", *branches, axis=1), s.between(1, 9))


def detection_head(s: Sketch) -> list[Value]:
    """Scores and boxes of two levels in one list, decoded; perhaps the best of them only."""
    x = s.image(2, 9, 1 << 11)
    labels = s.between(1, 4)
    rows = []
    for level in (x, s.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])):
        y = _conv(s, level, 4 + labels, 3)
        n, c, h, w = y.shape
        if s.chance(50):
            rows.append(s.add("Transpose", s.reshape(y, n, c, h * w), perm=[0, 2, 1]))
        else:
            rows.append(s.reshape(s.add("Transpose", y, perm=[0, 2, 3, 1]), n, -1, c))
    whole = s.add("Concat", *rows, axis=1)
    boxes, logits = s.split(whole, [4, labels], 2)
    scores = (
        s.add("Sigmoid", logits, bound=1.0) if s.chance(60) else s.add("Softmax", logits, axis=2, bound=1.0)
    )
    centre, size = s.split(boxes, [2, 2], -1)
    count = whole.shape[1]
    centre = s.add("Add", centre, s.normal(1, count, 2), bound=centre.bound + 2)
    half = s.add("Div", s.add("Exp", s.add("Tanh", size, bound=1.0), bound=3.0), s.scalar(2.0))
    corners = s.add("Concat", s.add("Sub", centre, half), s.add("Add", centre, half), axis=-1)
    if s.chance(50) or scores.shape[0] != 1:
        return [corners, scores]
    best = s.reduce("ReduceMax", scores, [2], 0)
    best = s.add("Add", best, s.input([1, count]))
    top, places = s.split_node("TopK", best, s.ints(min(count, s.between(1, 10))), outputs=2, axis=1)
    rows_of = s.unsqueeze(places, [-1])
    spread = s.add("Expand", rows_of, s.ints(1, top.shape[1], 4))
    return [top, s.add("GatherElements", corners, spread, axis=1)]


def segmentation_head(s: Sketch) -> list[Value]:
    x = s.image(2, 8, 1 << 10)
    y = _conv(s, x, s.between(2, 6), 1)
    y = _upsampled(s, y, x.shape[2] * 2, x.shape[3] * 2)
    if s.chance(50):
        return [y, s.add("Softmax", y, axis=1, bound=1.0)]
    exact = s.add("Add", y, s.input([1, *y.shape[1:]]))
    return [y, s.add("ArgMax", exact, axis=1, keepdims=0)]


def classification_head(s: Sketch) -> Value:
    x = s.image(1, 20)
    match s.pick(3):
        case 0:
            y = s.add("Flatten", s.add("GlobalAveragePool", x, varied=False))
        case 1:
            y = s.reduce("ReduceMean", x, [2, 3], 0, varied=False)
        case _:
            y = s.reshape(s.add("AveragePool", x, kernel_shape=[*x.shape[2:]], varied=False), x.shape[0], -1)
    width, out = y.shape[1], s.between(1, 30)
    y = s.add(
        "Gemm", y, s.weights(out, width, inputs=width), s.normal(out), transB=1, bound=1.3 * y.bound + 2
    )
    return s.add("Softmax", y, axis=1, bound=1.0) if s.chance(40) else y


STEPS = (
    channel_shuffle,
    classification_head,
    dense_block,
    detection_head,
    dilated_pyramid,
    inception,
    inverted_residual,
    pixel_slices,
    pyramid,
    residual,
    segmentation_head,
    split_transform_merge,
    squeeze_excite,
)
