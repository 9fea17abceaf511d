"""Steps of many nodes: the blocks that image models are made of, as exporters write them."""

from __future__ import annotations

import math
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


def _tokens(s: Sketch) -> Value:
    """[N, T, C] with a few channels: found, or patches of an image."""
    found = s.find(lambda v: v.rank == 3 and v.shape[2] >= 2 and v.shape[1] <= 40, limit=1 << 11)
    if found and s.chance(60):
        return found
    return patches(s)


def patches(s: Sketch) -> Value:
    """A transformer's entrance: patches, perhaps a class token, positions."""
    x = s.image(4, 20, 1 << 12)
    p = s.between(2, 4)
    width = 2 * s.between(1, 8)
    weight = s.weights(width, x.shape[1], p, p, inputs=x.shape[1] * p * p)
    y = s.add("Conv", x, weight, s.normal(width, scale=0.3), strides=[p, p], bound=1.3 * x.bound)
    y = s.tamed(y)
    n, c, h, w = y.shape
    flat = s.reshape(y, n, c, h * w) if s.chance(70) else s.reshape(y, 0, 0, -1)
    tokens = s.add("Transpose", flat, perm=[0, 2, 1])
    if s.chance(50):
        token = s.normal(1, 1, c)
        if n > 1 or s.chance(50):
            token = s.add("Expand", token, s.ints(n, 1, c), varied=True)
        tokens = s.add("Concat", token, tokens, axis=1)
    return s.add("Add", tokens, s.normal(1, tokens.shape[1], c), bound=tokens.bound + 2)


def _linear(s: Sketch, x: Value, out: int) -> Value:
    y = s.add("MatMul", x, s.weights(x.shape[-1], out, inputs=x.shape[-1]), bound=1.3 * x.bound)
    bias = s.normal(out, scale=0.3)
    return s.tamed(s.add("Add", *((y, bias) if s.chance(50) else (bias, y))))


def attention(s: Sketch) -> Value:
    """Softmax(Q·Kᵀ/√d + mask)·V with several heads, in the ways that exporters write it."""
    x = _tokens(s)
    n, t, c = x.shape
    heads = s.one_of([d for d in range(1, min(c, 4) + 1) if c % d == 0])
    d = c // heads
    if s.chance(50):  # one product for all three
        joined = _linear(s, x, 3 * c)
        if s.chance(50):
            whole = s.add("Transpose", s.reshape(joined, n, t, 3, heads, d), perm=[2, 0, 3, 1, 4])
            if s.chance(50):
                q, k, v = (s.add("Gather", whole, s.scalar(i, np.int64), axis=0) for i in range(3))
            else:
                q, k, v = (s.squeeze(part, [0]) for part in s.split(whole, [1, 1, 1], 0))
        else:
            parts = s.split(joined, [c, c, c], -1 if s.chance(50) else 2)
            q, k, v = (s.add("Transpose", s.reshape(y, n, t, heads, d), perm=[0, 2, 1, 3]) for y in parts)
        k = s.add("Transpose", k, perm=[0, 1, 3, 2])
    else:
        q = s.add("Transpose", s.reshape(_linear(s, x, c), 0, -1, heads, d), perm=[0, 2, 1, 3])
        k = s.add("Transpose", s.reshape(_linear(s, x, c), 0, -1, heads, d), perm=[0, 2, 3, 1])
        v = s.add("Transpose", s.reshape(_linear(s, x, c), 0, -1, heads, d), perm=[0, 2, 1, 3])
    scale = math.sqrt(d)
    match s.pick(3):
        case 0:
            scores = s.add("Mul", s.add("MatMul", q, k), s.scalar(1 / scale))
        case 1:
            scores = s.add("Div", s.add("MatMul", q, k), s.scalar(scale))
        case _:
            root = s.scalar(scale**-0.5)
            scores = s.add("MatMul", s.add("Mul", q, root), s.add("Mul", k, root))
    match s.pick(4):
        case 0:
            scores = s.add("Add", scores, s.normal(1, heads, t, t))
        case 1:
            hidden = s.constant(np.triu(np.full((t, t), -1e4, np.float32), 1))
            scores = s.add("Add", scores, hidden)
        case 2:
            seen = s.constant(np.tril(np.ones((1, 1, t, t), bool)))
            scores = s.add("Where", seen, scores, s.scalar(-1e9))
        case _:
            pass
    weights = s.add("Softmax", scores, axis=-1 if s.chance(50) else 3, bound=1.0)
    mixed = s.add("MatMul", weights, v, bound=v.bound)
    y = s.reshape(s.add("Transpose", mixed, perm=[0, 2, 1, 3]), n, t, c)
    y = _linear(s, y, c)
    return s.add("Add", x, y, bound=x.bound + y.bound) if s.chance(60) else y


def feed_forward(s: Sketch) -> Value:
    x = _tokens(s)
    c = x.shape[-1]
    y = x
    if s.opset >= 17:
        y = s.add("LayerNormalization", x, s.positive(c), s.normal(c), epsilon=1e-2, bound=4.0)
    y = _linear(s, y, s.between(2, 30))
    gate = s.add("Erf", s.add("Mul", y, s.scalar(math.sqrt(0.5))), bound=1.0)
    y = s.add("Mul", s.add("Mul", y, s.scalar(0.5)), s.add("Add", gate, s.scalar(1.0), bound=2.0))
    y = _linear(s, y, c)
    return s.add("Add", x, y, bound=x.bound + y.bound)


def windows(s: Sketch) -> Value:
    """The image rolled and cut into windows, as tokens; or rolled and put together again."""
    x = s.image(2, 12, 1 << 11)
    p = s.between(2, 3)
    if x.shape[2] % p or x.shape[3] % p:
        x = s.input([1, s.between(1, 9), p * s.between(1, 4), p * s.between(1, 4)])
    n, c, h, w = x.shape
    y = s.add("Transpose", x, perm=[0, 2, 3, 1])
    for axis in (1, 2):
        first = s.slice(y, [1], [2**31], [axis], [1])
        last = s.slice(y, [0], [1], [axis], [1])
        y = s.add("Concat", first, last, axis=axis)
    y = s.reshape(y, n, h // p, p, w // p, p, c)
    y = s.add("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
    return s.reshape(y, -1, p * p, c)


def rotary(s: Sketch) -> Value:
    """Rotary positions: halves swapped and negated, times tables of sine and cosine."""
    x = _tokens(s)
    t, c = x.shape[1:]
    if c % 2:
        x = s.add("Concat", x, x, axis=2)
        c *= 2
    first, second = s.split(x, [c // 2, c // 2], -1)
    turned = s.add("Concat", s.add("Neg", second), first, axis=-1)
    angles = np.arange(t, dtype=np.float32)[:, None] * np.linspace(0.1, 1, c, dtype=np.float32)
    a = s.add("Mul", x, s.constant(np.cos(angles)))
    return s.add("Add", a, s.add("Mul", turned, s.constant(np.sin(angles))), bound=2 * x.bound)


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
    attention,
    attention,
    channel_shuffle,
    classification_head,
    dense_block,
    detection_head,
    dilated_pyramid,
    feed_forward,
    inception,
    inverted_residual,
    patches,
    pixel_slices,
    pyramid,
    residual,
    rotary,
    segmentation_head,
    split_transform_merge,
    squeeze_excite,
    windows,
)
