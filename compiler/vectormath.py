"""Elementary functions as TIR expressions: polynomials on any number of lanes, never a call into libm.

Every function takes and returns expressions of one floating-point type, scalar or vector. Branches are selections, so
a lane's result does not depend on its neighbours: vector and scalar code agree bit for bit. NaN goes in, NaN comes
out; overflow gives infinity, underflow goes through the subnormal numbers to zero. Errors are stated in units in the
last place (ulp) of float32 unless said otherwise; `tests/compiler/test_vectormath.py` measures them.

Four functions have their own float32 form because networks spend time in them: `exp`, `log`, `tanh`, `erf`. The others
are computed in float64 and rounded once, which makes accuracy a matter of course. float16 is computed in float32.

Sources: W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), for the argument reductions; the
Cephes library (S. Moshier, netlib.org/cephes) for the coefficients of exp, log (float32) and atan; FreeBSD's msun for
the summation order of log (float64); Eigen (MPL-2.0) for the form of the rational functions in tanh and erf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx

Expr = Any  # tvm.ir.Expr: TVM ships no type information


@dataclass(frozen=True, slots=True)
class _Format:
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


_FLOAT32 = _Format(
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
_FLOAT64 = _Format(
    name="float64",
    integer="int64",
    mantissa=52,
    bias=1023,
    exp_range=(-746.0, 710.0),
    ln2=(6.93147180369123816490e-1, 1.90821492927058770002e-10),
    exp_tail=tuple(1 / math.factorial(k) for k in range(13, 1, -1)),
)
_FORMATS = {"float32": _FLOAT32, "float64": _FLOAT64}


def _lanes(x: Expr) -> int:
    return int(x.ty.dtype.lanes)


def _element(x: Expr) -> str:
    """Element type, without lanes."""
    return str(x.ty.dtype).partition("x")[0]


def _with_lanes(dtype: str, x: Expr) -> str:
    lanes = _lanes(x)
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def _format(x: Expr) -> _Format:
    try:
        return _FORMATS[_element(x)]
    except KeyError:
        raise ValueError(f"no polynomial for {x.ty.dtype}") from None


def _like(value: float, x: Expr) -> Expr:
    return tirx.const(value, str(x.ty.dtype))


def _let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """Names a value that `body` uses more than once: TIR expressions are trees."""
    if isinstance(value, tvm.ir.Var):
        return body(value)
    name = tirx.Var("v", str(value.ty.dtype))
    return tirx.Let(name, value, body(name))


def _cast(dtype: str, x: Expr) -> Expr:
    return x if _element(x) == dtype else tirx.Cast(_with_lanes(dtype, x), x)


def _reinterpret(dtype: str, x: Expr) -> Expr:
    return tirx.reinterpret(_with_lanes(dtype, x), x)


def _llvm(name: str, *operands: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin(str(operands[0].ty.dtype), f"llvm.{name}", *operands)


def _fma(a: Expr, b: Expr, c: Expr) -> Expr:
    return _llvm("fma", a, b, c)


def _horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    """The polynomial with the highest power's coefficient first."""
    result = _like(coefficients[0], x)
    for coefficient in coefficients[1:]:
        result = _fma(result, x, _like(coefficient, x))
    return result


def _clamp(x: Expr, low: float, high: float) -> Expr:
    """Limits x; unlike min and max, the comparisons let NaN through."""

    def body(v: Expr) -> Expr:
        over = tirx.Select(v > _like(high, v), _like(high, v), v)
        return tirx.Select(v < _like(low, v), _like(low, v), over)

    return _let(x, body)


def _power_of_two(k: Expr, form: _Format) -> Expr:
    """2^k for an integer k in the normal range."""
    return _reinterpret(form.name, (k + _like(form.bias, k)) << _like(form.mantissa, k))


def _widened(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """Computes in float64 and rounds once: at most 1 ulp (0.5 and a little), wherever float64's own error is small."""

    def wrapped(*operands: Expr) -> Expr:
        dtype = _element(operands[0])
        if dtype == "float64":
            return function(*operands)
        return _cast(dtype, function(*(_cast("float64", x) for x in operands)))

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    return wrapped


def sqrt(x: Expr) -> Expr:
    """Correctly rounded; the CPU's own instruction."""
    return _llvm("sqrt", x)


def rsqrt(x: Expr) -> Expr:
    """1/√x, 1 ulp: division and square root are exact, the approximate instruction is not."""
    return _like(1.0, x) / sqrt(x)


def fabs(x: Expr) -> Expr:
    """|x|, exact."""
    return _llvm("fabs", x)


def rint(x: Expr) -> Expr:
    """Nearest integer, ties to even (as ONNX's Round), exact."""
    return _llvm("rint", x)


def floor(x: Expr) -> Expr:
    """Largest integer ≤ x, exact."""
    return _llvm("floor", x)


def ceil(x: Expr) -> Expr:
    """Smallest integer ≥ x, exact."""
    return _llvm("ceil", x)


def trunc(x: Expr) -> Expr:
    """Integer part, exact."""
    return _llvm("trunc", x)


def _exp_reduced(x: Expr, finish: Callable[[Expr, Expr], Expr]) -> Expr:
    """x = k·ln 2 + r with |r| ≤ ln 2 / 2; `finish` gets the integer k and exp(r) − 1."""
    form = _format(x)
    high, low = form.ln2
    shifter = _like(form.shifter, x)

    def reduced(t: Expr) -> Expr:
        k = _reinterpret(form.integer, t) - _like(form.bits(form.shifter), _reinterpret(form.integer, t))
        return _let(
            t - shifter,
            lambda n: _let(
                _fma(n, _like(-low, x), _fma(n, _like(-high, x), x)),
                lambda r: finish(k, _fma(_horner(r, form.exp_tail), r * r, r)),
            ),
        )

    return _let(_fma(x, _like(math.log2(math.e), x), shifter), reduced)


def exp(x: Expr) -> Expr:
    """e^x, 2 ulp."""
    form = _format(x)

    def scaled(k: Expr, p: Expr) -> Expr:
        # In two steps, because 2^k itself leaves the normal range before the result does.
        half = k >> _like(1, k)
        return (p + _like(1.0, p)) * _power_of_two(half, form) * _power_of_two(k - half, form)

    return _let(
        _clamp(x, *form.exp_range), lambda c: _exp_reduced(c, lambda k, p: _let(k, lambda i: scaled(i, p)))
    )


@_widened
def expm1(x: Expr) -> Expr:
    """e^x − 1, 1 ulp (4 in float64)."""

    def body(v: Expr) -> Expr:
        small = _clamp(v, -0.35, 0.35)  # k = 0
        near = _let(small, lambda s: _fma(_horner(s, _FLOAT64.exp_tail), s * s, s))
        return tirx.Select(fabs(v) < _like(0.34, v), near, exp(v) - _like(1.0, v))

    return _let(x, body)


def sigmoid(x: Expr) -> Expr:
    """1/(1 + e^−x), 3 ulp."""
    one, zero = _like(1.0, x), _like(0.0, x)

    def body(v: Expr) -> Expr:
        # e^−|x| cannot overflow, so small results keep their digits.
        return _let(exp(zero - fabs(v)), lambda e: tirx.Select(v < zero, e, one) / (one + e))

    return _let(x, body)


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
    form = _format(f)
    high, low = (_like(part, f) for part in form.ln2)
    half_square = _like(0.5, f) * f * f
    if form is _FLOAT32:
        tail = _fma(k, low, _horner(f, _LOG32) * f * f * f)
        return _fma(k, high, f + (tail - half_square))

    def body(s: Expr) -> Expr:
        square = s * s
        series = _let(square, lambda w: w * _horner(w, _LOG64))
        return _fma(k, high, f - (half_square - _fma(s, half_square + series, k * low)))

    return _let(f / (_like(2.0, f) + f), body)


def log(x: Expr) -> Expr:
    """Natural logarithm, 2 ulp; log 0 = −∞, of a negative number NaN."""
    form = _format(x)
    smallest_normal = 2.0 ** (1 - form.bias)

    def split(v: Expr, scaled: Expr, exponent: Expr) -> Expr:
        origin = _like(form.bits(math.sqrt(0.5)), exponent)
        shift = _like(form.mantissa, exponent)

        def body(bits: Expr) -> Expr:
            e = (bits - origin) >> shift
            return _let(
                e,
                lambda e: _let(
                    _reinterpret(form.name, bits - (e << shift)) - _like(1.0, v),
                    lambda f: _let(_cast(form.name, e + exponent), lambda k: _log_mantissa(f, k)),
                ),
            )

        return _let(_reinterpret(form.integer, scaled), body)

    def body(v: Expr) -> Expr:
        subnormal = v < _like(smallest_normal, v)
        integer = _with_lanes(form.integer, v)
        exponent = tirx.Select(subnormal, tirx.const(-form.mantissa, integer), tirx.const(0, integer))
        scaled = tirx.Select(subnormal, v * _like(2.0**form.mantissa, v), v)
        finite = split(v, scaled, exponent)
        infinity = _like(math.inf, v)
        edge = tirx.Select(v == _like(0.0, v), _like(-math.inf, v), _like(math.nan, v))
        return tirx.Select(v > _like(0.0, v), tirx.Select(v < infinity, finite, v), edge)

    return _let(x, body)


@_widened
def log1p(x: Expr) -> Expr:
    """log(1 + x), 1 ulp."""
    return _let(x, lambda v: tirx.Select(fabs(v) < _like(1e-8, v), v, log(_like(1.0, v) + v)))


@_widened
def exp2(x: Expr) -> Expr:
    """2^x, 1 ulp."""
    return exp(x * _like(math.log(2), x))


@_widened
def exp10(x: Expr) -> Expr:
    """10^x, 1 ulp."""
    return exp(x * _like(math.log(10), x))


@_widened
def log2(x: Expr) -> Expr:
    """Logarithm to the base 2, 1 ulp."""
    return log(x) * _like(1 / math.log(2), x)


@_widened
def log10(x: Expr) -> Expr:
    """Logarithm to the base 10, 1 ulp."""
    return log(x) * _like(1 / math.log(10), x)


def _rational(limit: float, odd: Sequence[float], even: Sequence[float], x: Expr) -> Expr:
    """x·P(x²)/Q(x²) for x limited to ±limit."""

    def body(v: Expr) -> Expr:
        return _let(v * v, lambda square: v * (_horner(square, odd) / _horner(square, even)))

    return _let(_clamp(x, -limit, limit), body)


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
    if _format(x) is _FLOAT32:
        return _rational(*_TANH, x)
    two = _like(2.0, x)
    return _let(expm1(_clamp(x, -20.0, 20.0) * two), lambda e: e / (e + two))


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
    if _format(x) is not _FLOAT32:
        raise ValueError("erf has no float64 form")
    return _rational(*_ERF, x)


def gelu(x: Expr) -> Expr:
    """x·(1 + erf(x/√2))/2, absolute error 5e-7·max(1, |x|)."""
    half = _like(0.5, x)
    return _let(x, lambda v: v * _fma(half, erf(v * _like(math.sqrt(0.5), v)), half))


def silu(x: Expr) -> Expr:
    """x·sigmoid(x), 4 ulp."""
    return _let(x, lambda v: v * sigmoid(v))


def hard_sigmoid(x: Expr, alpha: float = 0.2, beta: float = 0.5) -> Expr:
    """max(0, min(1, alpha·x + beta))."""
    return _let(_fma(x, _like(alpha, x), _like(beta, x)), lambda v: _clamp(v, 0.0, 1.0))


def hard_swish(x: Expr) -> Expr:
    """x·max(0, min(1, x/6 + ½))."""
    return _let(x, lambda v: v * hard_sigmoid(v, 1 / 6, 0.5))


_SIN64 = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8, 0, -1))
_COS64 = tuple((-1) ** k / math.factorial(2 * k) for k in range(8, 0, -1))
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17)


def _circular(x: Expr, finish: Callable[[Expr, Expr, Expr], Expr]) -> Expr:
    """`finish` gets the quadrant (an integer whose low two bits count), and sine and cosine of what is left of x."""
    shifter = _like(_FLOAT64.shifter, x)

    def reduced(t: Expr, v: Expr) -> Expr:
        n = t - shifter
        high, low = (_like(-part, x) for part in _HALF_PI)

        def parts(r: Expr) -> Expr:
            def body(square: Expr) -> Expr:
                sine = _fma(_horner(square, _SIN64), square * r, r)
                cosine = _fma(_horner(square, _COS64), square, _like(1.0, x))
                return finish(_reinterpret("int64", t), sine, cosine)

            return _let(r * r, body)

        return _let(n, lambda n: _let(_fma(n, low, _fma(n, high, v)), parts))

    return _let(x, lambda v: _let(_fma(v, _like(2 / math.pi, v), shifter), lambda t: reduced(t, v)))


def _is_set(value: Expr, bit: int) -> Expr:
    return (value & _like(bit, value)) != _like(0, value)


@_widened
def sin(x: Expr) -> Expr:
    """Sine, 1 ulp for |x| ≤ 1e6; for larger arguments absolute error |x|·1e-16."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        value = tirx.Select(_is_set(quadrant, 1), cosine, sine)
        return _let(value, lambda v: tirx.Select(_is_set(quadrant, 2), _like(0.0, v) - v, v))

    return _circular(x, finish)


@_widened
def cos(x: Expr) -> Expr:
    """Cosine, 1 ulp for |x| ≤ 1e6; for larger arguments absolute error |x|·1e-16."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        value = tirx.Select(_is_set(quadrant, 1), sine, cosine)
        negative = _is_set(quadrant + _like(1, quadrant), 2)
        return _let(value, lambda v: tirx.Select(negative, _like(0.0, v) - v, v))

    return _circular(x, finish)


@_widened
def tan(x: Expr) -> Expr:
    """Tangent, 1 ulp for |x| ≤ 1e6."""

    def finish(quadrant: Expr, sine: Expr, cosine: Expr) -> Expr:
        def body(s: Expr, c: Expr) -> Expr:
            return tirx.Select(_is_set(quadrant, 1), (_like(0.0, c) - c) / s, s / c)

        return _let(sine, lambda s: _let(cosine, lambda c: body(s, c)))

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


def _copysign(magnitude: Expr, sign: Expr) -> Expr:
    return _llvm("copysign", magnitude, sign)


@_widened
def atan(x: Expr) -> Expr:
    """Inverse tangent, 1 ulp."""

    def body(v: Expr) -> Expr:
        magnitude = fabs(v)
        one, zero = _like(1.0, v), _like(0.0, v)

        def folded(a: Expr) -> Expr:
            large, middle = a > _like(1 + math.sqrt(2), v), a > _like(0.66, v)
            numerator = tirx.Select(large, zero - one, tirx.Select(middle, a - one, a))
            denominator = tirx.Select(large, a, tirx.Select(middle, a + one, one))
            half, quarter = _like(math.pi / 2, v), _like(math.pi / 4, v)
            offset = tirx.Select(large, half, tirx.Select(middle, quarter, zero))

            def series(t: Expr) -> Expr:
                ratio = _let(t * t, lambda z: z * _horner(z, _ATAN_P) / _horner(z, _ATAN_Q))
                return offset + _fma(ratio, t, t)

            return _copysign(_let(numerator / denominator, series), v)

        return _let(magnitude, folded)

    return _let(x, body)


@_widened
def asin(x: Expr) -> Expr:
    """Inverse sine, 1 ulp; NaN outside [−1, 1]."""
    one = _like(1.0, x)
    return _let(x, lambda v: atan(v / sqrt((one - v) * (one + v))))


@_widened
def acos(x: Expr) -> Expr:
    """Inverse cosine, 1 ulp; NaN outside [−1, 1]."""
    one = _like(1.0, x)
    return _let(x, lambda v: _like(2.0, v) * atan(sqrt((one - v) / (one + v))))


@_widened
def sinh(x: Expr) -> Expr:
    """Hyperbolic sine, 1 ulp."""

    def body(v: Expr, magnitude: Expr) -> Expr:
        half = _like(0.5, v)
        near = _let(expm1(_clamp(magnitude, 0.0, 22.0)), lambda e: half * (e + e / (e + _like(1.0, v))))
        return _copysign(tirx.Select(magnitude > _like(22.0, v), half * exp(magnitude), near), v)

    return _let(x, lambda v: _let(fabs(v), lambda magnitude: body(v, magnitude)))


@_widened
def cosh(x: Expr) -> Expr:
    """Hyperbolic cosine, 1 ulp."""
    half = _like(0.5, x)
    return _let(exp(fabs(x)), lambda e: half * e + half / e)


@_widened
def asinh(x: Expr) -> Expr:
    """Inverse hyperbolic sine, 1 ulp."""

    def body(v: Expr) -> Expr:
        one = _like(1.0, v)

        def signed(a: Expr) -> Expr:
            far = log(a) + _like(math.log(2), v)
            square = a * a
            near = log1p(a + square / (one + sqrt(square + one)))
            return _copysign(tirx.Select(a > _like(1e9, v), far, near), v)

        return _let(fabs(v), signed)

    return _let(x, body)


@_widened
def acosh(x: Expr) -> Expr:
    """Inverse hyperbolic cosine, 1 ulp; NaN below 1."""

    def body(v: Expr) -> Expr:
        one = _like(1.0, v)
        far = log(v) + _like(math.log(2), v)
        near = _let(v - one, lambda d: log1p(d + sqrt(d) * sqrt(v + one)))
        return tirx.Select(v > _like(1e9, v), far, near)

    return _let(x, body)


@_widened
def atanh(x: Expr) -> Expr:
    """Inverse hyperbolic tangent, 1 ulp; ±∞ at ±1."""

    def body(v: Expr) -> Expr:
        return _like(0.5, v) * log1p((v + v) / (_like(1.0, v) - v))

    return _let(x, body)


@_widened
def _general_power(x: Expr, y: Expr) -> Expr:
    """C's pow with all its edge cases: 1 ulp of float32, relative error |y·log x|·1e-16 in float64."""

    def body(v: Expr, w: Expr) -> Expr:
        zero, one = _like(0.0, v), _like(1.0, v)
        magnitude = fabs(v)
        half = _like(0.5, v)
        integral = floor(w) == w
        odd = tirx.And(integral, floor(w * half) != w * half)
        power = exp(w * log(magnitude))
        signed = _let(power, lambda p: tirx.Select(odd, _copysign(p, v), p))
        finite = magnitude < _like(math.inf, v)
        undefined = tirx.And(tirx.And(v < zero, finite), tirx.Not(integral))
        result = tirx.Select(undefined, _like(math.nan, v), signed)
        # 0·∞ would be NaN: one to any power, minus one to an infinite one, anything to zero.
        infinite_power = fabs(w) == _like(math.inf, v)
        unit = tirx.Or(v == one, tirx.Or(w == zero, tirx.And(magnitude == one, infinite_power)))
        return tirx.Select(unit, one, result)

    return _let(x, lambda v: _let(y, lambda w: body(v, w)))


def _square_root_power(x: Expr) -> Expr:
    """pow(x, ½): unlike √x, ∞ at −∞ and +0 at −0."""
    infinity = _like(math.inf, x)
    zero = _like(0.0, x)
    return _let(x, lambda v: tirx.Select(v == zero - infinity, infinity, sqrt(v) + zero))


_SIMPLE_POWERS: dict[float, Callable[[Expr], Expr]] = {
    0.5: _square_root_power,
    1.0: lambda x: x,
    2.0: lambda x: _let(x, lambda v: v * v),
    3.0: lambda x: _let(x, lambda v: v * v * v),
    -1.0: lambda x: _like(1.0, x) / x,
}


def _constant(x: Expr) -> float | None:
    value = x.value if isinstance(x, tirx.Broadcast) else x
    return float(value.value) if isinstance(value, tirx.FloatImm | tirx.IntImm) else None


def pow(x: Expr, y: Expr) -> Expr:  # noqa: A001
    """x^y with C's edge cases, 1 ulp. The constant powers ½, 1, 2, 3 and −1 cost no more than they must."""
    if not _element(x).startswith("float"):
        # Whole numbers up to 2^53 are exact in float64, and so are their powers up to there.
        return _cast(_element(x), rint(_general_power(_cast("float64", x), _cast("float64", y))))
    exponent = _constant(y)
    simple = _SIMPLE_POWERS.get(exponent) if exponent is not None else None
    return simple(x) if simple else _general_power(x, y)


@_widened
def fmod(x: Expr, y: Expr) -> Expr:
    """C's fmod (the sign of x), exact for float32 while |x/y| < 2^53."""

    def body(v: Expr, w: Expr) -> Expr:
        def corrected(r: Expr) -> Expr:
            # The quotient may have been rounded up to the next whole number.
            overshot = tirx.Or(
                tirx.And(r < _like(0.0, r), v > _like(0.0, r)), tirx.And(r > _like(0.0, r), v < _like(0.0, r))
            )
            return tirx.Select(overshot, r + _copysign(w, v), r)

        remainder = _let(_fma(_like(0.0, v) - trunc(v / w), w, v), corrected)
        exact = tirx.And(fabs(w) == _like(math.inf, v), fabs(v) < _like(math.inf, v))
        return tirx.Select(exact, v, _let(remainder, lambda r: _copysign(r, v)))

    return _let(x, lambda v: _let(y, lambda w: body(v, w)))


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "exp": exp,
    "exp2": exp2,
    "exp10": exp10,
    "log": log,
    "log2": log2,
    "log10": log10,
    "log1p": log1p,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "erf": erf,
    "pow": pow,
    "fmod": fmod,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "sinh": sinh,
    "cosh": cosh,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sqrt": sqrt,
    "rsqrt": rsqrt,
    "fabs": fabs,
    "floor": floor,
    "ceil": ceil,
    "trunc": trunc,
    "round": rint,
    "nearbyint": rint,
}
_WITHOUT_FORM = frozenset({"atan2", "hypot", "ldexp", "nextafter"})  # would become calls of libm


def operator_name(call: Expr) -> str:
    """Name of a called TIR operator without its dialect (``tirx.exp`` and ``prim.log2`` alike), else empty."""
    if not isinstance(call.op, tvm.ir.Op):
        return ""
    dialect, _, name = str(call.op.name).rpartition(".")
    return name if dialect in ("tirx", "prim") else ""


def _replace_call(call: Expr) -> Expr:
    name = operator_name(call)
    if name in _WITHOUT_FORM:
        raise ValueError(f"{name} has no polynomial")
    function = _FUNCTIONS.get(name)
    if function is None:
        return call
    dtype = _element(call)
    if dtype == "float16":
        return _cast(dtype, function(*(_cast("float32", x) for x in call.args)))
    return function(*call.args)


def _replace_mod(mod: Expr) -> Expr:
    return fmod(mod.a, mod.b) if _element(mod) in _FORMATS else mod


def _flattened(expr: Expr) -> tuple[list[tuple[Expr, Expr]], Expr]:
    """Names in order of use, and the expression without them.

    What hangs on a condition keeps its own names: a load that it guards must not move in front of it.
    """
    names: list[tuple[Expr, Expr]] = []
    guarded: dict[Expr, Expr] = {}

    def let(node: Expr) -> Expr:
        before, value = _flattened(node.value)
        after, body = _flattened(node.body)
        names.extend([*before, (node.var, value), *after])
        return body

    def call(node: Expr) -> Expr:
        if operator_name(node) != "if_then_else":
            return node
        condition, yes, no = node.args
        place = tirx.Var("guarded", str(node.ty.dtype))
        guarded[place] = tirx.if_then_else(condition, _nested(yes), _nested(no))
        return place

    def restored(value: Expr) -> Expr:
        return tvm_ffi.structural_map(value, (tvm.ir.Var, lambda var: guarded.get(var, var)), order="post")

    rest = tvm_ffi.structural_map(expr, [(tirx.Let, let), (tvm.ir.Call, call)], order="pre")
    if guarded:
        return [(name, restored(value)) for name, value in names], restored(rest)
    return names, rest


def _nested(expr: Expr) -> Expr:
    names, result = _flattened(expr)
    for name, value in reversed(names):
        result = tirx.Let(name, value, result)
    return result


def _replace_store(store: Expr) -> Expr:
    names, value = _flattened(store.value)
    if not names:
        return store
    registers: dict[Expr, Expr] = {}

    def resolved(expr: Expr) -> Expr:
        return tvm_ffi.structural_map(expr, (tvm.ir.Var, lambda var: registers.get(var, var)), order="post")

    statements = []
    for name, definition in dict(names).items():
        lanes = _lanes(name)
        register = tirx.decl_buffer((lanes,), _element(name), "register", scope="local")
        at = tirx.const(0, "int32") if lanes == 1 else tirx.Ramp(tirx.const(0, "int32"), 1, lanes)
        store_ = tirx.BufferStore(register, resolved(definition), [at])
        statements += [tirx.AllocBuffer(register), store_]
        registers[name] = tirx.BufferLoad(register, [at])
    return tirx.SeqStmt([*statements, tirx.BufferStore(store.buffer, resolved(value), store.indices)])


def replace_math(code: Expr) -> Expr:
    """A PrimFunc, statement or expression with every mathematical intrinsic replaced by the functions above.

    Run it after vectorisation and before `LowerIntrin`. Raises ValueError where there is no polynomial.
    """
    if isinstance(code, tirx.PrimFunc):
        return code.with_body(replace_math(code.body))
    callbacks = [(tvm.ir.Call, _replace_call), (tirx.Mod, _replace_mod), (tirx.BufferStore, _replace_store)]
    return tvm_ffi.structural_map(code, callbacks, order="post")
