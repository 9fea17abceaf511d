"""Steps of many nodes: what vision transformers are made of, as exporters write it."""

from __future__ import annotations

import math

import numpy as np

from .sketch import Sketch, Value


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


STEPS = (
    attention,
    attention,
    feed_forward,
    patches,
    rotary,
    windows,
)
