"""What happens to an accumulator before it is stored: bias, residuals, scales, activations, fused into the
anchor's kernel.

A Step is data, part of a workload's key. `ACTIVATIONS` is the table of unary steps; a new one is a new row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tvm import tirx

from .. import vectormath
from ..vectormath.basis import let
from .builder import Expr, KernelBuilder, const

Operand = Literal["none", "scalar", "channel", "tensor", "channel_tensor", "broadcast"]


@dataclass(frozen=True, slots=True)
class Step:
    """One element-wise operation on the running value.

    `operand` is where a binary step's second value comes from: a constant scalar (`values[0]`), a constant
    per channel, a tensor of the same shape and layout, a tensor of one value per channel (N, C, 1, 1), or
    any tensor that broadcasts to that shape.
    `reverse`: the running value is the second operand (Sub, Div).
    """

    op: str
    operand: Operand = "none"
    values: tuple[float, ...] = ()
    reverse: bool = False

    def __str__(self) -> str:
        parts = [self.op.lower(), *([self.operand] if self.operand != "none" else [])]
        parts += [f"{value:.9g}" for value in self.values] + (["r"] if self.reverse else [])
        return ":".join(parts)

    @property
    def takes_argument(self) -> bool:
        """Whether the kernel has a pointer argument for it."""
        return self.operand not in ("none", "scalar")


def _lanes(value: Expr) -> int:
    return int(value.ty.dtype.lanes) if hasattr(value.ty.dtype, "lanes") else 1


def _clip(value: Expr, low: float, high: float) -> Expr:
    """Selections rather than max and min: a comparison with NaN is false, so NaN stays what it is."""
    lanes = _lanes(value)
    if low > -3.4e38:
        bound = const(low, lanes=lanes)
        value = tirx.Select(value < bound, bound, value)
    if high < 3.4e38:
        bound = const(high, lanes=lanes)
        value = let(value, lambda raised: tirx.Select(raised > bound, bound, raised))
    return value


def _hard_sigmoid(value: Expr, alpha: float, beta: float) -> Expr:
    lanes = _lanes(value)
    return _clip(value * const(alpha, lanes=lanes) + const(beta, lanes=lanes), 0.0, 1.0)


def _leaky_relu(value: Expr, alpha: float) -> Expr:
    lanes = _lanes(value)
    return tirx.Select(value < const(0.0, lanes=lanes), value * const(alpha, lanes=lanes), value)


def _gelu_tanh(value: Expr) -> Expr:
    """x · (1 + tanh u) / 2 = x · sigmoid(2u) with u = √(2/π) (x + 0.044715 x³)."""
    lanes = _lanes(value)
    cubic = const(2.0 * math.sqrt(2.0 / math.pi) * 0.044715, lanes=lanes)
    linear = const(2.0 * math.sqrt(2.0 / math.pi), lanes=lanes)
    return let(value, lambda x: x * vectormath.sigmoid(x * (linear + cubic * x * x)))


ACTIVATIONS: dict[str, Callable[..., Expr]] = {
    "Relu": lambda value: _clip(value, 0.0, float("inf")),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda value: value * _hard_sigmoid(value, 1.0 / 6.0, 0.5),
    "LeakyRelu": _leaky_relu,
    "Sigmoid": lambda value: vectormath.sigmoid(value),
    "Silu": lambda value: value * vectormath.sigmoid(value),
    "Tanh": lambda value: vectormath.tanh(value),
    "Exp": lambda value: vectormath.exp(value),
    "Erf": lambda value: vectormath.erf(value),
    "Gelu": lambda value: vectormath.gelu(value),
    "GeluTanh": _gelu_tanh,
    "Sqrt": lambda value: vectormath.sqrt(value),
    "Neg": lambda value: const(0.0, lanes=_lanes(value)) - value,
    "Abs": lambda value: tirx.max(value, const(0.0, lanes=_lanes(value)) - value),
}

BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Max": tirx.max,
    "Min": tirx.min,
}


def apply(builder: KernelBuilder, value: Expr, steps: Sequence[Step], fetch: Callable[[int], Any]) -> Expr:
    """The steps on a vector. `fetch(i)` loads the operand vector of the i-th step that takes an argument."""
    position = 0
    for step in steps:
        if step.op in ACTIVATIONS:
            # Held, because an activation repeats its operand, and TVM's time would double with every use.
            value = builder.hold(ACTIVATIONS[step.op](value, *step.values))
            continue
        if step.operand == "scalar":
            other = const(step.values[0], lanes=_lanes(value))
        else:
            other = fetch(position)
            position += 1
        value = BINARY[step.op](other, value) if step.reverse else BINARY[step.op](value, other)
    return value
