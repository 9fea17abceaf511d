"""The functions networks spend time in, each with a float32 form of its own, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import tirx

from .basis import (
    FLOAT32,
    FLOAT64,
    Expr,
    cast,
    clamp,
    fma,
    format_of,
    horner,
    let,
    like,
    llvm,
    power_of_two,
    reinterpret,
    widened,
    with_lanes,
)


def sqrt(x: Expr) -> Expr:
    """Correctly rounded; the CPU's own instruction."""
    return llvm("sqrt", x)


def rsqrt(x: Expr) -> Expr:
    """1/√x, 2 ulp: division and square root are exact, the approximate instruction is not."""
    return like(1.0, x) / sqrt(x)


def fabs(x: Expr) -> Expr:
    """|x|, exact."""
    return llvm("fabs", x)


def rint(x: Expr) -> Expr:
    """Nearest integer, ties to even (as ONNX's Round), exact."""
    return llvm("rint", x)


def floor(x: Expr) -> Expr:
    """Largest integer ≤ x, exact."""
    return llvm("floor", x)


def ceil(x: Expr) -> Expr:
    """Smallest integer ≥ x, exact."""
    return llvm("ceil", x)


def trunc(x: Expr) -> Expr:
    """Integer part, exact."""
    return llvm("trunc", x)


def _exp_reduced(x: Expr, finish: Callable[[Expr, Expr], Expr]) -> Expr:
    """x = k·ln 2 + r with |r| ≤ ln 2 / 2; `finish` gets the integer k and exp(r) − 1."""
    form = format_of(x)
    high, low = form.ln2
    shifter = like(form.shifter, x)

    def reduced(t: Expr) -> Expr:
        k = reinterpret(form.integer, t) - like(form.bits(form.shifter), reinterpret(form.integer, t))
        return let(
            t - shifter,
            lambda n: let(
                fma(n, like(-low, x), fma(n, like(-high, x), x)),
                lambda r: finish(k, fma(horner(r, form.exp_tail), r * r, r)),
            ),
        )

    return let(fma(x, like(math.log2(math.e), x), shifter), reduced)


def exp(x: Expr) -> Expr:
    """e^x, 2 ulp."""
    form = format_of(x)

    def scaled(k: Expr, p: Expr) -> Expr:
        # In two steps, because 2^k itself leaves the normal range before the result does.
        half = k >> like(1, k)
        return (p + like(1.0, p)) * power_of_two(half, form) * power_of_two(k - half, form)

    return let(
        clamp(x, *form.exp_range), lambda c: _exp_reduced(c, lambda k, p: let(k, lambda i: scaled(i, p)))
    )


def exp_of_nonpositive(x: Expr) -> Expr:
    """e^x for x ≤ 0, 2 ulp; below −87, where the result would be subnormal and slow, exactly 0."""
    form, lowest = FLOAT32, -87.0

    def scaled(k: Expr, p: Expr) -> Expr:
        return (p + like(1.0, p)) * power_of_two(k, form)

    def body(v: Expr) -> Expr:
        power = _exp_reduced(v, scaled)
        return tirx.Select(v < like(lowest, v), like(0.0, v), power)

    return let(x, body)


@widened
def expm1(x: Expr) -> Expr:
    """e^x − 1, 1 ulp (4 in float64)."""

    def body(v: Expr) -> Expr:
        small = clamp(v, -0.35, 0.35)  # k = 0
        near = let(small, lambda s: fma(horner(s, FLOAT64.exp_tail), s * s, s))
        return tirx.Select(fabs(v) < like(0.34, v), near, exp(v) - like(1.0, v))

    return let(x, body)


def sigmoid(x: Expr) -> Expr:
    """1/(1 + e^−x), 3 ulp."""
    one, zero = like(1.0, x), like(0.0, x)

    def body(v: Expr) -> Expr:
        # e^−|x| cannot overflow, so small results keep their digits.
        return let(exp(zero - fabs(v)), lambda e: tirx.Select(v < zero, e, one) / (one + e))

    return let(x, body)


_LOG32 = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LOG64 = tuple(2 / (2 * k + 1) for k in range(11, 0, -1))  # of 2·atanh(s) = log((1 + s)/(1 − s))


def _log_mantissa(f: Expr, k: Expr) -> Expr:
    """log(1 + f) + k·ln 2 for 1 + f in [√½, √2)."""
    form = format_of(f)
    high, low = (like(part, f) for part in form.ln2)
    half_square = like(0.5, f) * f * f
    if form is FLOAT32:
        tail = fma(k, low, horner(f, _LOG32) * f * f * f)
        return fma(k, high, f + (tail - half_square))

    def body(s: Expr) -> Expr:
        square = s * s
        series = let(square, lambda w: w * horner(w, _LOG64))
        return fma(k, high, f - (half_square - fma(s, half_square + series, k * low)))

    return let(f / (like(2.0, f) + f), body)


def log(x: Expr) -> Expr:
    """Natural logarithm, 2 ulp; log 0 = −∞, of a negative number NaN."""
    form = format_of(x)
    smallest_normal = 2.0 ** (1 - form.bias)

    def split(v: Expr, scaled: Expr, exponent: Expr) -> Expr:
        origin = like(form.bits(math.sqrt(0.5)), exponent)
        shift = like(form.mantissa, exponent)

        def body(bits: Expr) -> Expr:
            e = (bits - origin) >> shift
            return let(
                e,
                lambda e: let(
                    reinterpret(form.name, bits - (e << shift)) - like(1.0, v),
                    lambda f: let(cast(form.name, e + exponent), lambda k: _log_mantissa(f, k)),
                ),
            )

        return let(reinterpret(form.integer, scaled), body)

    def body(v: Expr) -> Expr:
        subnormal = v < like(smallest_normal, v)
        integer = with_lanes(form.integer, v)
        exponent = tirx.Select(subnormal, tirx.const(-form.mantissa, integer), tirx.const(0, integer))
        scaled = tirx.Select(subnormal, v * like(2.0**form.mantissa, v), v)
        finite = split(v, scaled, exponent)
        infinity = like(math.inf, v)
        edge = tirx.Select(v == like(0.0, v), like(-math.inf, v), like(math.nan, v))
        return tirx.Select(v > like(0.0, v), tirx.Select(v < infinity, finite, v), edge)

    return let(x, body)


@widened
def log1p(x: Expr) -> Expr:
    """log(1 + x), 1 ulp."""

    def body(v: Expr, u: Expr) -> Expr:
        # What rounding 1 + x to u lost changes the logarithm by the factor x/(u − 1) (W. Kahan).
        lost = v / (u - like(1.0, v))
        near = tirx.Select(u == like(1.0, v), v, log(u) * lost)
        return tirx.Select(v < like(math.inf, v), near, u)

    return let(x, lambda v: let(like(1.0, v) + v, lambda u: body(v, u)))


@widened
def exp2(x: Expr) -> Expr:
    """2^x, 1 ulp."""
    return exp(x * like(math.log(2), x))


@widened
def exp10(x: Expr) -> Expr:
    """10^x, 1 ulp."""
    return exp(x * like(math.log(10), x))


@widened
def log2(x: Expr) -> Expr:
    """Logarithm to the base 2, 1 ulp."""
    return log(x) * like(1 / math.log(2), x)


@widened
def log10(x: Expr) -> Expr:
    """Logarithm to the base 10, 1 ulp."""
    return log(x) * like(1 / math.log(10), x)


def _rational(limit: float, odd: Sequence[float], even: Sequence[float], x: Expr) -> Expr:
    """x·P(x²)/Q(x²) for x limited to ±limit."""

    def body(v: Expr) -> Expr:
        return let(v * v, lambda square: v * (horner(square, odd) / horner(square, even)))

    return let(clamp(x, -limit, limit), body)


_TANH = (
    7.90531110763549805,
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent, 4 ulp."""
    if format_of(x) is FLOAT32:
        return _rational(*_TANH, x)
    two = like(2.0, x)
    return let(expm1(clamp(x, -20.0, 20.0) * two), lambda e: e / (e + two))


_ERF = (
    4.0,
    (
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    ),
    (
        -1.45660718464996e-05,
        -2.13374055278905e-04,
        -1.68282697438203e-03,
        -7.37332916720468e-03,
        -1.42647390514189e-02,
    ),
)


def erf(x: Expr) -> Expr:
    """Error function, 8 ulp. Raises ValueError for float64."""
    if format_of(x) is not FLOAT32:
        raise ValueError("erf has no float64 form")
    return _rational(*_ERF, x)


def gelu(x: Expr) -> Expr:
    """x·(1 + erf(x/√2))/2, absolute error 5e-7·max(1, |x|)."""
    half = like(0.5, x)
    return let(x, lambda v: v * fma(half, erf(v * like(math.sqrt(0.5), v)), half))


def silu(x: Expr) -> Expr:
    """x·sigmoid(x), 4 ulp down to −87; below, where sigmoid is subnormal, absolute error 1e-43."""
    return let(x, lambda v: v * sigmoid(v))


def hard_sigmoid(x: Expr, alpha: float = 0.2, beta: float = 0.5) -> Expr:
    """max(0, min(1, alpha·x + beta))."""
    return let(fma(x, like(alpha, x), like(beta, x)), lambda v: clamp(v, 0.0, 1.0))


def hard_swish(x: Expr) -> Expr:
    """x·max(0, min(1, x/6 + ½))."""
    return let(x, lambda v: v * hard_sigmoid(v, 1 / 6, 0.5))


def copysign(magnitude: Expr, sign: Expr) -> Expr:
    return llvm("copysign", magnitude, sign)
