"""Elementary functions as TIR expressions: polynomials on any number of lanes, never a call into libm.

Every function takes and returns expressions of one floating-point type, scalar or vector. Branches are
selections, so a lane's result does not depend on its neighbours: vector and scalar code agree bit for bit.
NaN goes in, NaN comes out; overflow gives infinity, underflow goes through the subnormal numbers to zero.
Errors are stated in units in the last place (ulp) of float32 unless said otherwise;
`tests/compiler/test_vectormath.py` measures them.

Four functions have their own float32 form because networks spend time in them: `exp`, `log`, `tanh`, `erf`.
The others are computed in float64 and rounded once, which makes accuracy a matter of course. float16 is
computed in float32.

Sources: W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), for the argument
reductions; the Cephes library (S. Moshier, netlib.org/cephes) for the coefficients of exp, log (float32)
and atan; FreeBSD's msun for the summation order of log (float64); Eigen (MPL-2.0) for the form of the
rational functions in tanh and erf.
"""

from .elementary import (
    ceil,
    copysign,
    erf,
    exp,
    exp2,
    exp10,
    exp_of_nonpositive,
    expm1,
    fabs,
    floor,
    gelu,
    hard_sigmoid,
    hard_swish,
    log,
    log1p,
    log2,
    log10,
    rint,
    rsqrt,
    sigmoid,
    silu,
    sqrt,
    tanh,
    trunc,
)
from .powers import fmod, power
from .replace import operator_name, replace_math
from .trigonometric import acos, acosh, asin, asinh, atan, atanh, cos, cosh, sin, sinh, tan

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "exp10",
    "exp_of_nonpositive",
    "expm1",
    "fabs",
    "floor",
    "fmod",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "log",
    "log1p",
    "log2",
    "log10",
    "operator_name",
    "power",
    "replace_math",
    "rint",
    "rsqrt",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]
