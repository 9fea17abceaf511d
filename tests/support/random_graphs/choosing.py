"""Steps with integers and truth values: comparisons, masks, indices, the best of many, boxes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from .sketch import Sketch, Value


def _exact(s: Sketch, shape: tuple[int, ...]) -> Value:
    """Numbers that every implementation knows exactly, because none has computed with them."""
    return s.input(shape)


_COMPARISONS = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")
_LOGIC = ("And", "Or", "Xor", "Not", "Equal")
_BITS = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")


def masked(s: Sketch, logic: str = "", compare: str = "") -> Value:
    """Where(condition, x, y), the condition from a comparison and some logic."""
    x = s.value(1)
    shape = tuple(size if s.chance(70) else 1 for size in x.shape)
    a = _exact(s, shape)
    truth = replace(a, dtype="bool")
    known = _COMPARISONS if s.opset >= 12 else _COMPARISONS[:2]
    op = compare if compare in known else s.one_of(known)
    condition = s.add(op, a, s.one_of([s.scalar(0.3), s.positive(*shape[-1:])]), like=truth)
    match logic or s.one_of([*_LOGIC, ""]):
        case "":
            pass
        case "Not":
            condition = s.add("Not", condition)
        case "Equal":
            whole = s.add("Cast", condition, to=7, bound=2.0)
            condition = s.add("Equal", whole, s.scalar(1, np.int64))
        case op:
            condition = s.add(op, condition, s.add("Less", a, s.scalar(1.0)))
    other = s.one_of([s.scalar(-1.0), s.normal(*x.shape[-1:])])
    return s.add("Where", condition, *((x, other) if s.chance(60) else (other, x)), bound=x.bound + 2)


_TESTS = ("Greater", "IsNaN", "IsInf")


def counted(s: Sketch, op: str = "") -> Value:
    """A mask as numbers: Cast of bool, IsNaN, IsInf."""
    x = s.value()
    match op or s.one_of(_TESTS):
        case "Greater":
            a = _exact(s, x.shape[-1:])
            condition = s.add("Greater", a, s.scalar(0.0))
        case "IsNaN":
            condition = s.add("Not", s.add("IsNaN", x))
        case _:
            condition = s.add("IsInf", x, detect_negative=s.one_of([None, 0]))
    gate = s.add("Cast", condition, to=s.one_of([1, 1]), bound=1.0, varied=False)
    return s.add("Mul", x, gate)


def integers(s: Sketch, bits: str = "") -> Value:
    """Arithmetic on whole numbers, read as floats in the end."""
    kind = s.one_of(["int64", "int32"])
    dtype = np.dtype(kind)
    x = s.input([s.between(1, 5), s.between(1, 9)], kind, bound=50)
    y = s.constant(np.asarray(s.indices(9, x.shape[1]) + 1, dtype))
    ops = ["Add", "Sub", "Mul", "Div", "Mod", *(["Max", "Min"] if s.opset >= 12 else [])]
    x = s.add(s.one_of(ops), x, y, bound=500.0)
    if s.opset >= 18:
        x = s.add(bits or s.one_of(_BITS), x, y)
    x = s.add(s.one_of(["Abs", "Neg", "Identity"]), x)
    return s.add("Mul", s.add("Cast", x, to=1, bound=500.0), s.scalar(0.01), bound=5.0)


def embedding(s: Sketch) -> Value:
    """Rows of a table, at places that are an input or a constant."""
    rows, width = s.between(2, 20), s.between(1, 9)
    shape = s.one_of([(s.between(1, 5),), (1, s.between(1, 5)), ()])
    table = s.normal(rows, width)
    kind = s.one_of([np.int64, np.int64, np.int32])
    places = s.input(shape, np.dtype(kind).name, bound=rows)
    return s.add("Gather", table, places, axis=s.one_of([None, 0, -2]), bound=3.0)


_GATHERS = ("Gather", "GatherElements", "GatherND")


def gathering(s: Sketch, op: str = "") -> Value:
    x = s.value(1, 4)
    axis = s.pick(x.rank)
    size = x.shape[axis]
    counted_from_end = s.chance(30)
    match op or s.one_of(_GATHERS):
        case "Gather":
            shape = [] if s.chance(50) else [s.between(1, 5)]
            places = s.indices(size, *shape) - (size if counted_from_end else 0)
            return s.add("Gather", x, s.constant(np.asarray(places, np.int64)), axis=axis)
        case "GatherElements":
            shape = [s.between(1, 4) if k == axis else n for k, n in enumerate(x.shape)]
            return s.add("GatherElements", x, s.constant(s.indices(size, *shape)), axis=axis)
        case _:
            depth = s.between(1, x.rank)
            places = np.stack([s.indices(x.shape[k], 3) for k in range(depth)], -1)
            return s.add("GatherND", x, s.constant(places))


def scattering(s: Sketch) -> Value:
    x = s.value(1, 4, 1 << 11)
    rows = s.permutation(x.shape[0])[: s.between(1, x.shape[0])]
    places = s.constant(np.array(rows, np.int64)[:, None])
    return s.add("ScatterND", x, places, s.normal(len(rows), *x.shape[1:]), bound=x.bound + 3)


def scattering_elements(s: Sketch) -> Value:
    x = s.value(1, 4, 1 << 11)
    axis = s.pick(x.rank)
    rows = s.permutation(x.shape[axis])[: s.between(1, x.shape[axis])]
    shape = [len(rows) if k == axis else n for k, n in enumerate(x.shape)]
    along = np.array(rows, np.int64).reshape([-1 if k == axis else 1 for k in range(x.rank)])
    places = s.constant(np.broadcast_to(along, shape).copy())
    return s.add("ScatterElements", x, places, s.normal(*shape), axis=axis, bound=x.bound + 3)


def best(s: Sketch) -> list[Value]:
    """TopK and what detectors do with it: the boxes of the best scores."""
    x = s.value(1, 3, 1 << 11)
    axis = s.one_of([-1, s.pick(x.rank)])
    k = s.between(1, min(x.shape[axis], 12))
    # Noise, so that no two are equal: which of them comes first, rounding would decide.
    x = s.add("Add", x, _exact(s, x.shape))
    words = {"largest": s.one_of([None, 0]), "axis": s.one_of([axis, axis])}
    values, places = s.split_node("TopK", x, s.ints(k), outputs=2, **words)
    if x.rank == 1 and s.chance(60):
        boxes = s.input([x.shape[0], 4])
        return [values, s.add("Gather", boxes, places, axis=0)]
    return [values, places]


def arguments(s: Sketch) -> list[Value]:
    x = s.value(1, 4, 1 << 12)
    x = s.add("Add", x, _exact(s, x.shape))
    words = {"axis": s.pick(x.rank), "keepdims": s.pick(2)}
    if s.opset >= 12 and s.chance(30):
        words["select_last_index"] = 1
    return [s.add(s.one_of(["ArgMax", "ArgMin"]), x, **words)]


def one_hot(s: Sketch) -> Value:
    count = s.between(2, 7)
    which = s.input([s.between(1, 5)], "int64", bound=count)
    values = s.constant(np.array([0, 1], np.float32))
    axis = s.one_of([None, 0, -1])
    return s.add("OneHot", which, s.scalar(count, np.int64), values, axis=axis, bound=1.0)


def diagonal(s: Sketch) -> Value:
    x = s.input([s.between(2, 7), s.between(2, 7)])
    return s.add("Add", x, s.add("EyeLike", x, k=s.one_of([None, 1]), bound=1.0), bound=x.bound + 1)


def hard_maximum(s: Sketch) -> Value:
    x = s.value(2, 3)
    return s.add("Hardmax", s.add("Add", x, _exact(s, x.shape)), axis=s.one_of([None, -1]), bound=1.0)


def suppression(s: Sketch) -> list[Value]:
    """Non-maximum suppression of boxes that are inputs; its length depends on them."""
    count, labels = s.between(2, 12), s.between(1, 3)
    corners = s.input([1, count, 2])
    sides = s.constant(np.broadcast_to(np.float32(1.5), (1, count, 2)).copy())
    boxes = s.add("Concat", corners, s.add("Add", corners, sides, bound=5.0), axis=2)
    scores = s.input([1, labels, count])
    limits = [s.ints(s.between(1, 5)), s.scalar(0.4), s.scalar(0.1)]
    found = replace(scores, shape=(-1, 3), dtype="int64")
    return [s.add("NonMaxSuppression", boxes, scores, *limits, like=found)]


STEPS = (
    arguments,
    best,
    counted,
    diagonal,
    embedding,
    gathering,
    gathering,
    hard_maximum,
    integers,
    integers,
    masked,
    masked,
    one_hot,
    scattering,
    scattering_elements,
    suppression,
)

EACH = (
    *(partial(masked, logic=op) for op in _LOGIC),
    *(partial(masked, compare=op) for op in _COMPARISONS),
    *(partial(gathering, op=op) for op in _GATHERS),
    *(partial(counted, op=op) for op in _TESTS),
    *(partial(integers, bits=op) for op in _BITS * 2),
)
"""Every operator at least once, those that few versions have more often."""
