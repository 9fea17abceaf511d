"""Steps that mix elements: convolutions, pooling, products, normalisation, reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from .sketch import Sketch, Value


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _spatial(s: Sketch) -> Value:
    """[N, C, …] with one, two or three spatial dimensions, mostly two."""
    rank = s.one_of([4, 4, 4, 4, 3, 5])
    found = s.find(lambda v: v.rank == rank and min(v.shape[2:]) >= 1, limit=1 << 13)
    if found:
        return found
    high = {3: 20, 4: 12, 5: 6}[rank]
    return s.input([s.between(1, 2), s.between(1, 12), *(s.between(3, high) for _ in range(rank - 2))])


def _window(s: Sketch, sizes: Sequence[int], *, dilated: bool) -> dict[str, Any]:
    """Kernel, strides, dilations and padding that fit the image, in one of the ways to say them."""
    same = s.one_of(["", "", "", "SAME_UPPER", "SAME_LOWER", "VALID"])
    kernel, strides, dilations, begins, ends = [], [], [], [], []
    for size in sizes:
        before, after = (s.between(0, 2), s.between(0, 2)) if not same else (0, 0)
        room = size + before + after if same in ("", "VALID") else size + 2
        k = s.between(1, min(s.one_of([3, 3, 5, 7]), room))
        d = s.between(1, 3) if dilated and k > 1 and not same and s.chance(30) else 1
        if (k - 1) * d + 1 > room:
            d = 1
        kernel.append(k)
        dilations.append(d)
        stride = s.one_of([1, 1, 2, 3])
        # ONNX Runtime refuses the negative padding that larger strides would mean.
        strides.append(min(stride, k) if same.startswith("SAME") else stride)
        begins.append(min(before, k - 1))
        ends.append(min(after, k - 1))
        while (kernel[-1] - 1) * d + 1 > size + begins[-1] + ends[-1] and same in ("", "VALID"):
            kernel[-1] -= 1
            begins[-1], ends[-1] = min(begins[-1], kernel[-1] - 1), min(ends[-1], kernel[-1] - 1)
    found: dict[str, Any] = {"kernel_shape": kernel}
    if max(strides) > 1 or s.chance(50):
        found["strides"] = strides
    if dilated and (max(dilations) > 1 or s.chance(30)):
        found["dilations"] = dilations
    if same:
        found["auto_pad"] = same
    elif max([*begins, *ends]) > 0 or s.chance(50):
        found["pads"] = [*begins, *ends]
    return found


def convolution(s: Sketch) -> Value:
    x = _spatial(s)
    channels = x.shape[1]
    group = s.one_of([1, 1, 1, channels, s.one_of(_divisors(channels))])
    out = group * s.between(1, max(1, 24 // group)) if group < channels else group * s.one_of([1, 1, 2])
    window = _window(s, x.shape[2:], dilated=True)
    weight = s.weights(
        out,
        channels // group,
        *window["kernel_shape"],
        inputs=channels // group * math.prod(window["kernel_shape"]),
    )
    bias = [s.normal(out, scale=0.3)] if s.chance(60) else []
    if s.chance(15):  # weights that are computed
        weight = s.add("Mul", weight, s.add("Sigmoid", s.input([1]), bound=1.0))
    if s.chance(30):
        del window["kernel_shape"]
    y = s.add("Conv", x, weight, *bias, group=group, bound=1.5 * x.bound, **window)
    return batch_normalized(s, y) if s.chance(30) else y


def transposed_convolution(s: Sketch) -> Value:
    x = _spatial(s)
    if x.size > 1 << 11:
        x = s.input([1, s.between(1, 9), s.between(2, 7), s.between(2, 7)])
    channels, rank = x.shape[1], x.rank - 2
    group = s.one_of([1, 1, channels, s.one_of(_divisors(channels))])
    out = s.between(1, max(1, 12 // group))
    kernel = [s.between(1, 4) for _ in range(rank)]
    strides = [s.one_of([2, 2, 1, 3]) for _ in range(rank)]
    window: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    match s.pick(4):
        case 0:
            window["auto_pad"] = s.one_of(["SAME_UPPER", "SAME_LOWER"])
        case 1:
            window["pads"] = [s.pick(k) for k in kernel] + [0] * rank
        case 2:
            # A crop can leave nothing of a small image.
            window["pads"] = [min(1, k - 1) for k in kernel] * 2
            window["output_padding"] = [s.pick(t) for t in strides]
        case _:
            window["dilations"] = [s.between(1, 2) for _ in kernel]
    if "auto_pad" not in window:
        pads = window.get("pads", [0] * 2 * rank)
        for axis, size in enumerate(x.shape[2:]):
            if strides[axis] * (size - 1) + kernel[axis] <= pads[axis] + pads[axis + rank]:
                window.pop("pads", None)
    taps = math.prod(-(-k // t) for k, t in zip(kernel, strides, strict=True))
    weight = s.weights(channels, out, *kernel, inputs=channels // group * taps)
    bias = [s.normal(out * group, scale=0.3)] if s.chance(60) else []
    return s.add("ConvTranspose", x, weight, *bias, group=group, bound=1.5 * x.bound, **window)


def batch_normalized(s: Sketch, x: Value) -> Value:
    n = x.shape[1]
    inputs = (s.positive(n), s.normal(n, scale=0.3), s.normal(n, scale=0.3), s.positive(n))
    return s.add("BatchNormalization", x, *inputs, epsilon=s.one_of([None, 1e-3]), bound=2 * x.bound)


def batch_normalization(s: Sketch) -> Value:
    return batch_normalized(s, s.value(2, 5))


def _late(window: dict[str, Any], sizes: Sequence[int]) -> bool:
    """Whether ceil_mode adds a window that starts in the padding, which ONNX's shape inference miscounts."""
    rank = len(sizes)
    pads, strides = window.get("pads", [0] * 2 * rank), window.get("strides", [1] * rank)
    dilations = window.get("dilations", [1] * rank)
    for axis, size in enumerate(sizes):
        extent = (window["kernel_shape"][axis] - 1) * dilations[axis] + 1
        places = -(-(size + pads[axis] + pads[axis + rank] - extent) // strides[axis])
        if places * strides[axis] >= size + pads[axis]:
            return True
    return False


def pooling(s: Sketch, op: str = "") -> Value:
    x = _spatial(s)
    op = op or s.one_of(["MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"])
    dilated = op == "MaxPool" or (op == "AveragePool" and s.opset >= 19) or (op == "LpPool" and s.opset >= 18)
    window = _window(s, x.shape[2:], dilated=dilated)
    if "auto_pad" not in window and op != "LpPool" and s.chance(40) and not _late(window, x.shape[2:]):
        window["ceil_mode"] = 1
    # With ceil_mode and padding counted, ONNX and ONNX Runtime disagreed before version 19.
    if op == "AveragePool" and not (window.get("ceil_mode") and s.opset < 19) and s.chance(40):
        window["count_include_pad"] = 1
    if op == "LpPool":
        window["p"] = s.one_of([1, 2])
    bound = x.bound * math.prod(window["kernel_shape"]) if op == "LpPool" else x.bound
    return s.add(op, x, bound=bound, **window)


def global_pooling(s: Sketch, op: str = "") -> Value:
    known = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    if s.opset == 22:  # whose GlobalLpPool ONNX Runtime does not have
        known = known[:2]
    op = op if op in known else s.one_of(known)
    x = _spatial(s)
    bound = x.bound * math.prod(x.shape[2:]) if op == "GlobalLpPool" else x.bound
    return s.add(op, x, bound=bound, varied=False)


def product(s: Sketch) -> Value:
    """With constant weights, in the ways that exporters write a linear layer."""
    x = s.value(1, 5)
    width, out = x.shape[-1], s.between(1, 20)
    if x.rank == 2 and s.chance(60):
        transposed = s.pick(2)
        weight = s.weights(*((out, width) if transposed else (width, out)), inputs=width)
        rows = x.shape[0]
        bias = s.one_of([(), (out,), (1, out), (rows, 1), (1,), (rows, out)])
        factors = s.one_of([{}, {"alpha": 0.5}, {"beta": 2.0}, {"alpha": 0.5, "beta": 0.5}])
        inputs = [x, weight, *([s.normal(*bias)] if bias else [])]
        if s.chance(20):  # a constant on the left
            first = s.weights(5, x.shape[0], inputs=x.shape[0])
            return s.add("Gemm", first, x, bound=1.5 * x.bound)
        return s.add("Gemm", *inputs, transB=transposed, bound=1.5 * x.bound + 2, **factors)
    y = s.add("MatMul", x, s.weights(width, out, inputs=width), bound=1.5 * x.bound)
    return s.add("Add", y, s.normal(out, scale=0.3)) if s.chance(60) and y.rank else y


def batched_product(s: Sketch) -> Value:
    """Of two computed tensors."""
    x = s.value(2, 4, 1 << 11)
    if s.chance(50):
        perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
        y = s.add("Transpose", x, perm=perm)
    else:
        y = s.input([*x.shape[: x.rank - 2], x.shape[-1], s.between(1, 9)])
        if s.chance(30) and x.rank > 2:
            y = s.weights(*y.shape[-2:], inputs=1)
    product_ = s.add("MatMul", x, y, bound=x.bound * y.bound * x.shape[-1])
    return s.add("Mul", product_, s.scalar(1 / x.shape[-1]), bound=x.bound * y.bound)


def einsum(s: Sketch) -> Value:
    n, a, b, c = s.between(1, 2), s.between(1, 7), s.between(1, 9), s.between(1, 7)
    x = s.find(lambda v: v.rank == 3, limit=1 << 9) or s.input([n, a, b])
    y = s.input([x.shape[0], x.shape[2], c])
    if s.opset < 12:
        return s.add("MatMul", x, y, bound=x.bound * y.bound * b)
    equation = s.one_of(["nab,nbc->nac", "n a b, n b c -> n a c", "nab,nbc->nca"])
    return s.add("Einsum", x, y, equation=equation, bound=x.bound * y.bound * b)


def softmax(s: Sketch, op: str = "") -> Value:
    x = s.value(2, 5)
    op = op or s.one_of(["Softmax", "Softmax", "LogSoftmax"])
    axis = s.one_of([None, -1, x.rank - 1, 0, 1])
    return s.add(op, x, axis=axis, bound=1.0 if op == "Softmax" else 2 * x.bound + 5)


def _epsilon(s: Sketch, x: Value) -> float:
    return s.one_of([1e-5, 1e-3]) if x.varied else 1e-2


def layer_normalization(s: Sketch) -> Value:
    x = s.value(2, 4)
    if x.shape[-1] < 4:
        x = s.input([2, s.between(2, 7), s.between(4, 20)])
    n, epsilon = x.shape[-1], _epsilon(s, x)
    if s.opset >= 17 and s.chance(50):
        axis = s.one_of([-1, x.rank - 1, -1 if x.rank == 2 else -2])
        shape = x.shape[axis:]
        inputs = [s.positive(*shape), *([s.normal(*shape, scale=0.3)] if s.chance(70) else [])]
        return s.add("LayerNormalization", x, *inputs, axis=axis, epsilon=epsilon, bound=4.0)
    centred = s.add("Sub", x, s.reduce("ReduceMean", x, [-1], 1))
    if s.chance(50):
        square = s.add("Pow", centred, s.scalar(2.0), bound=x.bound**2)
    else:
        square = s.add("Mul", centred, centred, bound=x.bound**2)
    variance = s.add("Add", s.reduce("ReduceMean", square, [-1], 1), s.scalar(epsilon))
    normal = s.add("Div", centred, s.add("Sqrt", variance), bound=4.0)
    scaled = s.add("Mul", normal, s.positive(n), bound=4.0)
    return s.add("Add", scaled, s.normal(n, scale=0.3)) if s.chance(80) else scaled


def root_mean_square(s: Sketch) -> Value:
    x = s.value(2, 4)
    square = s.reduce("ReduceMean", s.add("Mul", x, x, bound=x.bound**2), [-1], 1)
    root = s.add("Sqrt", s.add("Add", square, s.scalar(_epsilon(s, x))))
    normal = s.add("Div", x, root, bound=4.0)
    return s.add("Mul", normal, s.positive(x.shape[-1]), bound=4.0)


def channel_normalization(s: Sketch, grouped: bool = False) -> Value:
    """Instance and group normalisation, and the latter from the former."""
    x = s.image(2)
    if math.prod(x.shape[2:]) < 4:
        x = s.input([s.between(1, 2), s.between(2, 12), s.between(2, 9), s.between(3, 9)])
    channels, epsilon = x.shape[1], _epsilon(s, x)
    groups = s.one_of(_divisors(channels))
    if s.opset >= 21 and (grouped or s.chance(60)):
        inputs = s.positive(channels), s.normal(channels, scale=0.3)
        return s.add("GroupNormalization", x, *inputs, num_groups=groups, epsilon=epsilon, bound=4.0, like=x)
    if s.chance(50):
        inputs = s.positive(channels), s.normal(channels, scale=0.3)
        return s.add("InstanceNormalization", x, *inputs, epsilon=epsilon, bound=4.0)
    ones, zeros = s.positive(groups), s.normal(groups, scale=0.1)
    flat = s.reshape(x, x.shape[0], groups, -1)
    normal = s.add("InstanceNormalization", flat, ones, zeros, epsilon=epsilon, bound=4.0)
    back = s.reshape(normal, *x.shape)
    scaled = s.add("Mul", back, s.positive(channels, 1, 1), bound=4.0)
    return s.add("Add", scaled, s.normal(channels, 1, 1, scale=0.3))


_OTHERS = ("LRN", "LpNormalization", "MeanVarianceNormalization")


def other_normalization(s: Sketch, op: str = "") -> Value:
    match op or s.one_of(_OTHERS):
        case "LRN":
            x = s.image(1)
            return s.add("LRN", x, size=s.one_of([1, 3, 5]), alpha=1e-2, bias=1.5, beta=0.75)
        case "LpNormalization":
            x = s.input([s.between(1, 3), s.between(4, 9), s.between(4, 9)])
            return s.add("LpNormalization", x, axis=s.one_of([-1, 1]), p=s.one_of([1, 2]), bound=1.0)
        case _:
            x = s.input([s.between(1, 2), s.between(1, 5), s.between(3, 7), s.between(3, 7)])
            return s.add(
                "MeanVarianceNormalization", x, axes=s.one_of([None, [0, 2, 3], [2, 3]]), bound=3.0, like=x
            )


_REDUCTIONS = (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceProd",
)


def reduction(s: Sketch, op: str = "") -> Value:
    x = s.value(1)
    axes = s.one_of([None, s.some_axes(x.rank), [-1], [x.rank - 1]])
    keep = s.one_of([1, 0]) if axes is not None else 1
    op = op or s.one_of(["ReduceMean", "ReduceMean", *_REDUCTIONS])
    count = x.size if axes is None else math.prod(x.shape[axis] for axis in axes)
    bound = {
        "ReduceMean": x.bound,
        "ReduceMax": x.bound,
        "ReduceMin": x.bound,
        "ReduceSumSquare": count * x.bound**2,
    }
    if op == "ReduceLogSum":
        x = s.add("Add", s.add("Abs", x), s.scalar(0.5), bound=x.bound + 0.5)
    elif op == "ReduceProd":
        x = s.add("Add", s.add("Mul", s.add("Tanh", x), s.scalar(1 / count)), s.scalar(1.0), bound=1.0)
        bound[op] = 3.0
    y = s.reduce(op, x, axes, keep, bound=bound.get(op, count * x.bound), varied=False)
    if y.bound > 8 and op in ("ReduceSum", "ReduceL1", "ReduceSumSquare"):
        return s.add("Div", y, s.scalar(float(count)), bound=x.bound**2)
    return y


def cumulative_sum(s: Sketch) -> Value:
    x = s.value(1, 4, 1 << 11)
    axis = s.pick(x.rank)
    words = {"exclusive": s.pick(2), "reverse": s.pick(2)}
    return s.add("CumSum", x, s.scalar(axis, "int64"), bound=x.bound * x.shape[axis], **words)


STEPS = (
    batch_normalization,
    batched_product,
    channel_normalization,
    channel_normalization,
    convolution,
    convolution,
    convolution,
    convolution,
    cumulative_sum,
    einsum,
    global_pooling,
    layer_normalization,
    layer_normalization,
    other_normalization,
    other_normalization,
    pooling,
    pooling,
    product,
    product,
    reduction,
    reduction,
    reduction,
    root_mean_square,
    softmax,
    transposed_convolution,
)

EACH = (
    *(partial(reduction, op=op) for op in _REDUCTIONS),
    *[partial(channel_normalization, grouped=True)] * 6,
    *(partial(other_normalization, op=op) for op in _OTHERS),
    partial(softmax, op="LogSoftmax"),
    *(partial(pooling, op=op) for op in ("MaxPool", "AveragePool", "LpPool")),
    *(partial(global_pooling, op=op) for op in ("GlobalMaxPool", "GlobalLpPool")),
)
"""Every operator at least once, those that few versions have more often."""
