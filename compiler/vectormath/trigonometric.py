"""Circular and hyperbolic functions and their inverses, in float64 inside."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from .basis import FLOAT64, Expr, clamp, fma, horner, let, like, reinterpret, widened
from .elementary import copysign, exp, expm1, fabs, log, log1p, sqrt

_SIN64 = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8, 0, -1))
_COS64 = tuple((-1) ** k / math.factorial(2 * k) for k in range(8, 0, -1))
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17)


def _circular(x: Expr, finish: Callable[[Expr, Expr, Expr], Expr]) -> Expr:
    """`finish` gets the quadrant (low two bits of an integer), and sine and cosine of what is left of x."""
    shifter = like(FLOAT64.shifter, x)

    def reduced(t: Expr, v: Expr) -> Expr:
        n = t - shifter
        high, low = (like(-part, x) for part in _HALF_PI)

        def parts(r: Expr) -> Expr:
            def body(square: Expr) -> Expr:
                sine = fma(horner(square, _SIN64), square * r, r)
                cosine = fma(horner(square, _COS64), square, like(1.0, x))
                return finish(reinterpret("int64", t), sine, cosine)

            return let(r * r, body)

        return let(n, lambda n: let(fma(n, low, fma(n, high, v)), parts))

    return let(x, lambda v: let(fma(v, like(2 / math.pi, v), shifter), lambda t: reduced(t, v)))


def _is_set(value: Expr, bit: int) -> Expr:
    return (value & like(bit, value)) != like(0, value)


@widened
def sin(x: Expr) -> Expr:
    """Sine, 1 ulp for |x| ≤ 1e6; for larger arguments absolute error |x|·1e-16."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        value = tirx.Select(_is_set(quadrant, 1), cosine, sine)
        return let(value, lambda v: tirx.Select(_is_set(quadrant, 2), like(0.0, v) - v, v))

    return _circular(x, finish)


@widened
def cos(x: Expr) -> Expr:
    """Cosine, 1 ulp for |x| ≤ 1e6; for larger arguments absolute error |x|·1e-16."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        value = tirx.Select(_is_set(quadrant, 1), sine, cosine)
        negative = _is_set(quadrant + like(1, quadrant), 2)
        return let(value, lambda v: tirx.Select(negative, like(0.0, v) - v, v))

    return _circular(x, finish)


@widened
def tan(x: Expr) -> Expr:
    """Tangent, 1 ulp for |x| ≤ 1e6."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        def body(s: Expr, c: Expr) -> Expr:
            return tirx.Select(_is_set(quadrant, 1), (like(0.0, c) - c) / s, s / c)

        return let(sine, lambda s: let(cosine, lambda c: body(s, c)))

    return _circular(x, finish)


_ATAN_P = (
    -8.750608600031904122785e-1,
    -1.615753718733365076637e1,
    -7.500855792314704667340e1,
    -1.228866684490136173410e2,
    -6.485021904942025371773e1,
)
_ATAN_Q = (
    1.0,
    2.485846490142306297962e1,
    1.650270098316988542046e2,
    4.328810604912902668951e2,
    4.853903996359136964868e2,
    1.945506571482613964425e2,
)


@widened
def atan(x: Expr) -> Expr:
    """Inverse tangent, 1 ulp."""

    def body(v: Expr) -> Expr:
        magnitude = fabs(v)
        one, zero = like(1.0, v), like(0.0, v)

        def folded(a: Expr) -> Expr:
            large, middle = a > like(1 + math.sqrt(2), v), a > like(0.66, v)
            numerator = tirx.Select(large, zero - one, tirx.Select(middle, a - one, a))
            denominator = tirx.Select(large, a, tirx.Select(middle, a + one, one))
            half, quarter = like(math.pi / 2, v), like(math.pi / 4, v)
            offset = tirx.Select(large, half, tirx.Select(middle, quarter, zero))

            def series(t: Expr) -> Expr:
                ratio = let(t * t, lambda z: z * horner(z, _ATAN_P) / horner(z, _ATAN_Q))
                return offset + fma(ratio, t, t)

            return copysign(let(numerator / denominator, series), v)

        return let(magnitude, folded)

    return let(x, body)


@widened
def asin(x: Expr) -> Expr:
    """Inverse sine, 1 ulp; NaN outside [−1, 1]."""
    one = like(1.0, x)
    return let(x, lambda v: atan(v / sqrt((one - v) * (one + v))))


@widened
def acos(x: Expr) -> Expr:
    """Inverse cosine, 1 ulp; NaN outside [−1, 1]."""
    one = like(1.0, x)
    return let(x, lambda v: like(2.0, v) * atan(sqrt((one - v) / (one + v))))


@widened
def sinh(x: Expr) -> Expr:
    """Hyperbolic sine, 1 ulp."""

    def body(v: Expr, magnitude: Expr) -> Expr:
        half = like(0.5, v)
        near = let(expm1(clamp(magnitude, 0.0, 22.0)), lambda e: half * (e + e / (e + like(1.0, v))))
        return copysign(tirx.Select(magnitude > like(22.0, v), half * exp(magnitude), near), v)

    return let(x, lambda v: let(fabs(v), lambda magnitude: body(v, magnitude)))


@widened
def cosh(x: Expr) -> Expr:
    """Hyperbolic cosine, 1 ulp."""
    half = like(0.5, x)
    return let(exp(fabs(x)), lambda e: half * e + half / e)


@widened
def asinh(x: Expr) -> Expr:
    """Inverse hyperbolic sine, 1 ulp."""

    def body(v: Expr) -> Expr:
        one = like(1.0, v)

        def signed(a: Expr) -> Expr:
            far = log(a) + like(math.log(2), v)
            square = a * a
            near = log1p(a + square / (one + sqrt(square + one)))
            return copysign(tirx.Select(a > like(1e9, v), far, near), v)

        return let(fabs(v), signed)

    return let(x, body)


@widened
def acosh(x: Expr) -> Expr:
    """Inverse hyperbolic cosine, 1 ulp; NaN below 1."""

    def body(v: Expr) -> Expr:
        one = like(1.0, v)
        far = log(v) + like(math.log(2), v)
        near = let(v - one, lambda d: log1p(d + sqrt(d) * sqrt(v + one)))
        return tirx.Select(v > like(1e9, v), far, near)

    return let(x, body)


@widened
def atanh(x: Expr) -> Expr:
    """Inverse hyperbolic tangent, 1 ulp; ±∞ at ±1."""

    def body(v: Expr) -> Expr:
        return like(0.5, v) * log1p((v + v) / (like(1.0, v) - v))

    return let(x, body)
