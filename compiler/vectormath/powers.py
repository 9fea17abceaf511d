"""pow and fmod."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from .basis import Expr, cast, element_type, fma, let, like, widened
from .elementary import copysign, exp, fabs, floor, log, rint, sqrt, trunc


@widened
def _general_power(x: Expr, y: Expr) -> Expr:
    """C's pow with all its edge cases: 1 ulp of float32, relative error |y·log x|·1e-16 in float64."""

    def body(v: Expr, w: Expr) -> Expr:
        zero, one = like(0.0, v), like(1.0, v)
        magnitude = fabs(v)
        half = like(0.5, v)
        integral = floor(w) == w
        odd = tirx.And(integral, floor(w * half) != w * half)
        power = exp(w * log(magnitude))
        signed = let(power, lambda p: tirx.Select(odd, copysign(p, v), p))
        finite = magnitude < like(math.inf, v)
        undefined = tirx.And(tirx.And(v < zero, finite), tirx.Not(integral))
        result = tirx.Select(undefined, like(math.nan, v), signed)
        # 0·∞ would be NaN: one to any power, minus one to an infinite one, anything to zero.
        infinite_power = fabs(w) == like(math.inf, v)
        unit = tirx.Or(v == one, tirx.Or(w == zero, tirx.And(magnitude == one, infinite_power)))
        return tirx.Select(unit, one, result)

    return let(x, lambda v: let(y, lambda w: body(v, w)))


def _square_root_power(x: Expr) -> Expr:
    """pow(x, ½): unlike √x, ∞ at −∞ and +0 at −0."""
    infinity = like(math.inf, x)
    zero = like(0.0, x)
    return let(x, lambda v: tirx.Select(v == zero - infinity, infinity, sqrt(v) + zero))


_SIMPLE_POWERS: dict[float, Callable[[Expr], Expr]] = {
    0.5: _square_root_power,
    1.0: lambda x: x,
    2.0: lambda x: let(x, lambda v: v * v),
    3.0: lambda x: let(x, lambda v: v * v * v),
    -1.0: lambda x: like(1.0, x) / x,
}


def _constant(x: Expr) -> float | None:
    value = x.value if isinstance(x, tirx.Broadcast) else x
    return float(value.value) if isinstance(value, tirx.FloatImm | tirx.IntImm) else None


def power(x: Expr, y: Expr) -> Expr:
    """x^y with C's edge cases, 1 ulp. The constant powers ½, 1, 2, 3 and −1 cost no more than they must."""
    if not element_type(x).startswith("float"):
        # Whole numbers up to 2^53 are exact in float64, and so are their powers up to there.
        return cast(element_type(x), rint(_general_power(cast("float64", x), cast("float64", y))))
    exponent = _constant(y)
    simple = _SIMPLE_POWERS.get(exponent) if exponent is not None else None
    return simple(x) if simple else _general_power(x, y)


@widened
def fmod(x: Expr, y: Expr) -> Expr:
    """C's fmod (the sign of x), exact for float32 while |x/y| < 2^53."""

    def body(v: Expr, w: Expr) -> Expr:
        def corrected(r: Expr) -> Expr:
            # The quotient may have been rounded up to the next whole number.
            overshot = tirx.Or(
                tirx.And(r < like(0.0, r), v > like(0.0, r)), tirx.And(r > like(0.0, r), v < like(0.0, r))
            )
            return tirx.Select(overshot, r + copysign(w, v), r)

        remainder = let(fma(like(0.0, v) - trunc(v / w), w, v), corrected)
        exact = tirx.And(fabs(w) == like(math.inf, v), fabs(v) < like(math.inf, v))
        return tirx.Select(exact, v, let(remainder, lambda r: copysign(r, v)))

    return let(x, lambda v: let(y, lambda w: body(v, w)))
