"""Steps that work on every element alone, on one tensor or on several broadcast together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .sketch import Sketch, Value

# Operator → attributes to choose from, the opset that brought it, its result's bound (None: the input's).
_ACTIVATIONS: Mapping[str, tuple[list[dict[str, Any]], int, float | None]] = {
    "Relu": ([{}], 11, None),
    "Sigmoid": ([{}], 11, 1.0),
    "Tanh": ([{}], 11, 1.0),
    "LeakyRelu": ([{}, {"alpha": 0.2}, {"alpha": -0.5}], 11, None),
    "Elu": ([{}, {"alpha": 0.5}], 11, None),
    "Selu": ([{}, {"alpha": 1.5, "gamma": 0.9}], 11, None),
    "Celu": ([{}, {"alpha": 2.0}], 12, None),
    "HardSigmoid": ([{}, {"alpha": 1 / 6, "beta": 0.5}], 11, 1.0),
    "HardSwish": ([{}], 14, None),
    "Mish": ([{}], 18, None),
    "Gelu": ([{}, {"approximate": "tanh"}], 20, None),
    "Softplus": ([{}], 11, None),
    "Softsign": ([{}], 11, 1.0),
    "ThresholdedRelu": ([{}, {"alpha": 0.3}], 11, None),
    "Shrink": ([{"lambd": 0.5}, {"lambd": 0.5, "bias": 0.5}], 11, None),
    "Erf": ([{}], 11, 1.0),
    "Abs": ([{}], 11, None),
    "Neg": ([{}], 11, None),
    "Identity": ([{}], 11, None),
    "Sin": ([{}], 11, 1.0),
    "Cos": ([{}], 11, 1.0),
    "Atan": ([{}], 11, 1.6),
    "Asinh": ([{}], 11, None),
}


def activation(s: Sketch, first: str = "") -> Value:
    """One or a few in a row, beginning with a certain one if this version has it."""
    x = s.value(0)
    known = [op for op, (_, since, _) in _ACTIVATIONS.items() if s.opset >= since]
    for k in range(s.between(1, 3)):
        op = first if k == 0 and first in known else s.one_of(known)
        attributes, _, bound = _ACTIVATIONS[op]
        x = s.add(op, x, bound=bound, **s.one_of(attributes))
    return x


def _within(s: Sketch, x: Value, limit: float) -> Value:
    return s.add("Mul", s.add("Tanh", x), s.scalar(limit), bound=limit)


def _above(s: Sketch, x: Value, least: float) -> Value:
    return s.add("Add", s.add("Abs", x), s.scalar(least), bound=x.bound + least)


# Functions that are defined on a part of the numbers only: what is done to x first, the result's bound.
_PARTIAL: Mapping[str, tuple[Callable[[Sketch, Value], Value], float]] = {
    "Exp": (lambda s, x: _within(s, x, 1.5), 5.0),
    "Log": (lambda s, x: _above(s, x, 0.5), 2.5),
    "Sqrt": (lambda s, x: _above(s, x, 0.1), 3.0),
    "Reciprocal": (lambda s, x: _above(s, x, 0.5), 2.0),
    "Tan": (lambda s, x: _within(s, x, 1.2), 3.0),
    "Asin": (lambda s, x: _within(s, x, 0.9), 1.2),
    "Acos": (lambda s, x: _within(s, x, 0.9), 3.0),
    "Sinh": (lambda s, x: _within(s, x, 1.5), 2.5),
    "Cosh": (lambda s, x: _within(s, x, 1.5), 2.5),
    "Acosh": (lambda s, x: _above(s, x, 1.5), 3.0),
    "Atanh": (lambda s, x: _within(s, x, 0.9), 1.5),
}


def partial_function(s: Sketch, first: str = "") -> Value:
    x = s.value()
    for k in range(s.between(1, 2)):
        op = first if k == 0 and first else s.one_of(list(_PARTIAL))
        prepare, bound = _PARTIAL[op]
        x = s.add(op, prepare(s, x), bound=bound)
    return x


def _operand(s: Sketch, x: Value) -> Value:
    """Something that broadcasts with x without enlarging it."""
    twins = [v for v in s.live if v.dtype == "float32" and v.shape == x.shape and v.bound <= 8]
    match s.pick(7):
        case 0:
            return s.scalar(s.one_of([1.0, 0.5, 2.0, 1 / 6]))
        case 1:
            return s.positive(*x.shape[-1:])
        case 2 if x.rank > 1:
            return s.positive(x.shape[1], *(1,) * (x.rank - 2))
        case 3:
            return s.positive(*(size if s.chance(50) else 1 for size in x.shape))
        case 4 if twins:
            return s.one_of(twins)
        case 5 if x.rank > 1 and len(s.inputs) < 3:
            return s.input([size if s.chance(50) else 1 for size in x.shape])
        case _:
            return s.positive(*x.shape)


def arithmetic(s: Sketch) -> Value:
    x = s.value()
    op = s.one_of(["Add", "Mul", "Sub", "Max", "Min", "Add", "Mul"])
    y = _operand(s, x)
    bound = x.bound * y.bound if op == "Mul" else x.bound + y.bound
    return s.add(op, *((x, y) if s.chance(60) else (y, x)), bound=bound)


def division(s: Sketch) -> Value:
    x = s.value()
    if s.chance(30):  # by something computed
        other = s.find(lambda v: v.shape == x.shape)
        return s.add("Div", x, _above(s, other or x, 0.5), bound=2 * x.bound)
    if s.chance(30):
        return s.add("Div", s.positive(*x.shape[-1:]), _above(s, x, 0.5), bound=4.0)
    return s.add("Div", x, s.positive(*x.shape[-1:]), bound=2 * x.bound)


_SEVERAL = ("Sum", "Mean", "Max", "Min")


def several(s: Sketch, op: str = "") -> Value:
    """One to three operands."""
    x = s.value()
    others = [_operand(s, x) for _ in range(s.pick(3))]
    op = op or s.one_of(_SEVERAL)
    everything = [x, *others]
    return s.add(
        op, *(everything[k] for k in s.permutation(len(everything))), bound=sum(v.bound for v in everything)
    )


def power(s: Sketch) -> Value:
    x = s.value()
    match s.pick(4):
        case 0:
            return s.add("Pow", x, s.scalar(2.0), bound=x.bound**2)
        case 1:
            return s.add("Pow", x, s.scalar(3.0), bound=x.bound**3)
        case 2 if s.opset >= 12:
            return s.add("Pow", x, s.scalar(2, np.int64), bound=x.bound**2)
        case _:
            base = _above(s, x, 0.5)
            exponent = s.normal(*x.shape[-1:], scale=0.5) if s.chance(50) else s.scalar(0.5)
            return s.add("Pow", base, exponent, bound=base.bound**1.5)


def clipping(s: Sketch) -> Value:
    low, high = s.one_of([(0.0, 6.0), (-1.0, 1.0), (0.0, None), (-0.5, None), (None, 2.0), (0.0, 1.0)])
    bounds = [None if bound is None else s.scalar(bound) for bound in (low, high)]
    while bounds and bounds[-1] is None:
        bounds.pop()
    return s.add("Clip", s.value(), *bounds)


def slopes(s: Sketch) -> Value:
    x = s.value(2)
    shape = s.one_of([(x.shape[1], *(1,) * (x.rank - 2)), (1,), (*(1,) * (x.rank - 1), x.shape[-1])])
    return s.add("PRelu", x, s.positive(*shape), bound=2 * x.bound)


_JUMPS = ("Floor", "Ceil", "Round", "Sign", "Mod")


def jump(s: Sketch, op: str = "") -> Value:
    """Functions with jumps, where rounding decides: only on what all implementations know exactly."""
    x = s.input([s.between(1, 4), s.between(1, 20)])
    op = op or s.one_of(_JUMPS)
    return s.add(op, x, s.positive(x.shape[1]), fmod=1) if op == "Mod" else s.add(op, x)


def decomposed(s: Sketch) -> Value:
    """Activations as exporters write them."""
    x = s.value()
    match s.pick(7):
        case 0:
            return s.add("Mul", x, s.add("Sigmoid", x, bound=1.0))
        case 1:
            return s.add("Mul", s.add("Tanh", s.add("Softplus", x), bound=1.0), x)
        case 2:
            six, three = s.scalar(6.0), s.scalar(3.0)
            gate = s.add("Clip", s.add("Add", x, three), s.scalar(0.0), six, bound=6.0)
            return s.add("Div", s.add("Mul", x, gate, bound=6 * x.bound), six, bound=x.bound)
        case 3:
            gate = s.add("HardSigmoid", x, alpha=1 / 6, bound=1.0)
            return s.add("Mul", x, gate)
        case 4:
            inner = s.add("Div", x, s.scalar(math.sqrt(2)))
            gate = s.add("Add", s.add("Erf", inner, bound=1.0), s.scalar(1.0), bound=2.0)
            return s.add("Mul", s.add("Mul", x, gate), s.scalar(0.5))
        case 5:
            cube = s.add("Mul", s.add("Pow", x, s.scalar(3.0)), s.scalar(0.044715))
            inner = s.add("Mul", s.add("Add", x, cube), s.scalar(math.sqrt(2 / math.pi)))
            outer = s.add("Add", s.add("Tanh", inner), s.scalar(1.0))
            return s.add("Mul", s.add("Mul", s.scalar(0.5), x), outer, bound=x.bound)
        case _:
            return s.add("Mul", x, s.add("Sigmoid", s.add("Mul", x, s.scalar(1.702)), bound=1.0))


def noise(s: Sketch) -> Value:
    """What exporters leave behind: Identity, Cast to the same type, to double and back."""
    x = s.value()
    match s.pick(3):
        case 0:
            return s.add("Identity", s.add("Identity", x))
        case 1:
            return s.add("Cast", x, to=1)
        case _:
            return s.add("Cast", s.add("Cast", x, to=11), to=1, bound=x.bound)


def dropout(s: Sketch) -> Value:
    return s.add("Dropout", s.value())


def cast_like(s: Sketch) -> Value:
    x = s.value()
    if s.opset < 15:
        return s.add("Cast", x, to=1)
    return s.add("CastLike", x, s.scalar(0.0))


STEPS = (
    activation,
    activation,
    activation,
    activation,
    arithmetic,
    arithmetic,
    cast_like,
    clipping,
    decomposed,
    decomposed,
    division,
    dropout,
    noise,
    partial_function,
    partial_function,
    power,
    several,
    slopes,
    jump,
)

EACH = (
    *(partial(activation, first=op) for op in _ACTIVATIONS),
    *[partial(activation, first=op) for op, (_, since, _) in _ACTIVATIONS.items() if since > 13] * 2,
    *(partial(partial_function, first=op) for op in _PARTIAL),
    *(partial(several, op=op) for op in _SEVERAL),
    *(partial(jump, op=op) for op in _JUMPS),
)
"""Every operator at least once, those that few versions have more often."""
