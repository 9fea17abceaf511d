"""What the functions are built of: number formats, names for values, single instructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import tirx

Expr = Any  # tvm.ir.Expr: TVM ships no type information


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format, and the polynomials that are accurate enough for it."""

    name: str
    integer: str
    mantissa: int
    bias: int
    exp_range: tuple[float, float]  # beyond it exp is exactly 0 or infinite
    ln2: tuple[float, float]  # high part with trailing zeros, so that k·high is exact, and the rest
    exp_tail: tuple[float, ...]  # (exp(r) − 1 − r) / r², highest power first

    @property
    def shifter(self) -> float:
        """Adding it to a small number leaves that number, rounded to even, in the low bits."""
        return 1.5 * 2.0**self.mantissa

    def bits(self, value: float) -> int:
        return int(np.array(value, self.name).view(self.integer))


FLOAT32 = Format(
    name="float32",
    integer="int32",
    mantissa=23,
    bias=127,
    exp_range=(-104.0, 89.0),
    ln2=(0.693359375, -2.12194440e-4),
    exp_tail=(
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ),
)
FLOAT64 = Format(
    name="float64",
    integer="int64",
    mantissa=52,
    bias=1023,
    exp_range=(-746.0, 710.0),
    ln2=(6.93147180369123816490e-1, 1.90821492927058770002e-10),
    exp_tail=tuple(1 / math.factorial(k) for k in range(13, 1, -1)),
)
FORMATS = {"float32": FLOAT32, "float64": FLOAT64}


def lanes_of(x: Expr) -> int:
    return int(x.ty.dtype.lanes)


def element_type(x: Expr) -> str:
    """Element type, without lanes."""
    return str(x.ty.dtype).partition("x")[0]


def with_lanes(dtype: str, x: Expr) -> str:
    lanes = lanes_of(x)
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def format_of(x: Expr) -> Format:
    try:
        return FORMATS[element_type(x)]
    except KeyError:
        raise ValueError(f"no polynomial for {x.ty.dtype}") from None


def like(value: float, x: Expr) -> Expr:
    return tirx.const(value, str(x.ty.dtype))


def let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """Names a value that `body` uses more than once: TIR expressions are trees."""
    if isinstance(value, tvm.ir.Var):
        return body(value)
    name = tirx.Var("v", str(value.ty.dtype))
    return tirx.Let(name, value, body(name))


def cast(dtype: str, x: Expr) -> Expr:
    return x if element_type(x) == dtype else tirx.Cast(with_lanes(dtype, x), x)


def reinterpret(dtype: str, x: Expr) -> Expr:
    return tirx.reinterpret(with_lanes(dtype, x), x)


def llvm(name: str, *operands: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin(str(operands[0].ty.dtype), f"llvm.{name}", *operands)


def fma(a: Expr, b: Expr, c: Expr) -> Expr:
    return llvm("fma", a, b, c)


def horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    """The polynomial with the highest power's coefficient first."""
    result = like(coefficients[0], x)
    for coefficient in coefficients[1:]:
        result = fma(result, x, like(coefficient, x))
    return result


def clamp(x: Expr, low: float, high: float) -> Expr:
    """Limits x; unlike min and max, the comparisons let NaN through."""

    def body(v: Expr) -> Expr:
        over = tirx.Select(v > like(high, v), like(high, v), v)
        return tirx.Select(v < like(low, v), like(low, v), over)

    return let(x, body)


def power_of_two(k: Expr, form: Format) -> Expr:
    """2^k for an integer k in the normal range."""
    return reinterpret(form.name, (k + like(form.bias, k)) << like(form.mantissa, k))


def widened(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """Computes in float64 and rounds once: 1 ulp, wherever float64's own error is small."""

    def wrapped(*operands: Expr) -> Expr:
        dtype = element_type(operands[0])
        if dtype == "float64":
            return function(*operands)
        return cast(dtype, function(*(cast("float64", x) for x in operands)))

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    return wrapped
