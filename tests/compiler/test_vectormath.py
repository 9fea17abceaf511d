"""The elementary functions against numpy's float64, over all float32 numbers, and at their edges."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tvm import tirx
from tvm.ir import PointerType, PrimType

from sanderling.compiler import vectormath
from sanderling.compiler.codegen.object import compile_object, link, tvm_target
from sanderling.compiler.target import Target, find_target
from sanderling.compiler.vectormath.replace import FUNCTIONS
from tests.compiler.longtail.machine import TARGETS

Array = npt.NDArray[Any]

# Function, its exact value, and the largest error in units in the last place of float32.
TABLE: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.exp, 2),
    "exp_of_nonpositive": (lambda x: np.where(x < -87, 0, np.exp(np.minimum(x, 0))), 2),
    "log": (np.log, 2),
    "tanh": (np.tanh, 5),
    "sigmoid": (lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x))), 3),
    "silu": (lambda x: x * (np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x)))), 4),
    "erf": (np.vectorize(math.erf, otypes=[np.float64]), 8),
    "sqrt": (np.sqrt, 0.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2),
    "sin": (np.sin, 1),
    "cos": (np.cos, 1),
    "tan": (np.tan, 1),
    "asin": (np.arcsin, 1),
    "acos": (np.arccos, 1),
    "atan": (np.arctan, 1),
    "sinh": (np.sinh, 1),
    "cosh": (np.cosh, 1),
    "asinh": (np.arcsinh, 1),
    "acosh": (np.arccosh, 1),
    "atanh": (np.arctanh, 1),
    "log1p": (np.log1p, 1),
    "expm1": (np.expm1, 1),
    "exp2": (np.exp2, 1),
    "exp10": (lambda x: np.power(10.0, x), 1),
    "log2": (np.log2, 1),
    "log10": (np.log10, 1),
    "floor": (np.floor, 0.5),
    "ceil": (np.ceil, 0.5),
    "trunc": (np.trunc, 0.5),
    "rint": (np.rint, 0.5),
    "fabs": (np.abs, 0.5),
}
PERIODIC = ("sin", "cos", "tan")
LANES = {"scalar": 1, "vector": 16}


def _kernel(
    name: str, function: Callable[..., Any], arity: int, target: Target, lanes: int, dtype: str
) -> Any:
    """y[i] = function(x0[i], …) for vectors i in [lo, hi)."""
    lo, hi, i = (tirx.Var(key, "int32") for key in ("lo", "hi", "i"))
    pointers = [tirx.Var(f"p{k}", PointerType(PrimType(dtype))) for k in range(arity + 1)]
    buffers = [tirx.decl_buffer((1 << 24,), dtype, data=pointer, data_alignment=4) for pointer in pointers]
    at = [i if lanes == 1 else tirx.Ramp(i * lanes, 1, lanes)]
    value = function(*(tirx.BufferLoad(buffer, at) for buffer in buffers[:-1]))
    body = tirx.For(i, lo, hi - lo, tirx.ForKind.SERIAL, tirx.BufferStore(buffers[-1], value, at))
    head = [tirx.DeclBuffer(buffer, data=pointer) for buffer, pointer in zip(buffers, pointers, strict=True)]
    made = tirx.PrimFunc([lo, hi, *pointers], tirx.SeqStmt([*head, body]))
    made = made.with_attr("global_symbol", name).with_attr("target", tvm_target(target))
    return vectormath.replace_math(made.with_attr("tirx.noalias", True))


class Functions:
    """The functions as native code, each of one or two float arguments."""

    def __init__(
        self, names: dict[str, Callable[..., Any]], target: Target, lanes: int, dtype: str, folder: Path
    ):
        self._lanes, self._arity = lanes, {name: f.__code__.co_argcount for name, f in names.items()}
        kernels = {
            name: _kernel(name, function, self._arity[name], target, lanes, dtype)
            for name, function in names.items()
        }
        code = folder / f"{target.name}-{lanes}-{dtype}.so"
        code.write_bytes(link([compile_object(kernels, target)], target))
        self._library = ctypes.CDLL(str(code))

    def __call__(self, name: str, *operands: Array) -> Array:
        size = operands[0].size
        padded = [np.concatenate([x, np.ones(-size % self._lanes, x.dtype)]) for x in operands]
        out = np.empty_like(padded[0])
        kernel = getattr(self._library, name)
        kernel.argtypes = [ctypes.c_int32] * 2 + [ctypes.c_void_p] * (len(padded) + 1)
        kernel(0, out.size // self._lanes, *(x.ctypes.data for x in (*padded, out)))
        return out[:size]


def _call(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(vectormath, name)(x)


@pytest.fixture(scope="module", params=[f"{t} {shape}" for t in TARGETS for shape in LANES])
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Functions:
    target, lanes = request.param.split()
    named: dict[str, Callable[..., Any]] = {name: _call(name) for name in TABLE}
    named |= {"gelu": _call("gelu"), "hard_swish": _call("hard_swish"), "hard_sigmoid": _call("hard_sigmoid")}
    named |= {"power": lambda x, y: vectormath.power(x, y), "fmod": lambda x, y: vectormath.fmod(x, y)}
    named["half"] = lambda x: tirx.pow(x, tirx.const(0.5, str(x.ty.dtype)))
    named["cube"] = lambda x: tirx.pow(x, tirx.const(3.0, str(x.ty.dtype)))
    folder = tmp_path_factory.mktemp("math")
    return Functions(named, find_target(target), LANES[lanes], "float32", folder)


def numbers(step: int) -> Array:
    """Every so manieth float32 of all, NaN and infinities among them, and a dense grid around zero."""
    every = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38]
    return np.concatenate([every, np.linspace(-12, 12, 20001), edges]).astype(np.float32)


def outside(name: str, x: Array) -> Array:
    """Where the error is stated otherwise than in units in the last place."""
    if name in PERIODIC:
        return np.isfinite(x) & (np.abs(x) > 1e6)
    if name == "exp_of_nonpositive":
        return x > 0
    return (x < -87) & np.isfinite(x) if name == "silu" else np.zeros(x.shape, bool)


def errors(found: Array, exact: Array) -> Array:
    """In units in the last place; infinite where one is NaN and the other is not."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
        difference = np.abs(found.astype(np.float64) - exact) / np.spacing(np.abs(rounded)).astype(np.float64)
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    return np.where(same, np.fmin(difference, 0.5), np.where(np.isnan(difference), np.inf, difference))


@pytest.mark.parametrize("name", TABLE)
def test_error_stays_below_what_is_stated(functions: Functions, name: str) -> None:
    x = numbers(40009)
    exact, limit = TABLE[name]
    x = x[~outside(name, x)]
    with np.errstate(all="ignore"):
        measured = errors(functions(name, x), exact(x.astype(np.float64)))
    worst = int(np.argmax(measured))
    assert measured[worst] <= limit, (x[worst], measured[worst])


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_error_on_a_fine_grid(functions: Functions, name: str) -> None:
    x = numbers(499)[: 1 << 24]
    exact, limit = TABLE[name]
    x = x[~outside(name, x)]
    with np.errstate(all="ignore"):
        assert errors(functions(name, x), exact(x.astype(np.float64))).max() <= limit


POWERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.0,
    0.5,
    -0.5,
    3.0,
    -3.0,
    1e9,
    -1e9,
    1e-30,
    np.inf,
    -np.inf,
    np.nan,
    16777216.0,
]


def test_power_has_all_edge_cases_of_c(functions: Functions) -> None:
    x, y = (axis.astype(np.float32).ravel() for axis in np.meshgrid(POWERS, POWERS))
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), y.astype(np.float64))
    found = functions("power", x, y)
    assert errors(found, exact).max() <= 1, list(zip(x, y, found, exact, strict=True))[
        int(np.argmax(errors(found, exact)))
    ]
    finite = np.isfinite(exact)
    assert (np.signbit(found) == np.signbit(exact))[finite].all()


def test_power_is_exact_to_one_unit(functions: Functions, rng: np.random.Generator) -> None:
    x = np.exp(rng.uniform(-40, 40, 20000)).astype(np.float32)
    y = rng.uniform(-4, 4, 20000).astype(np.float32)
    with np.errstate(all="ignore"):
        assert errors(functions("power", x, y), x.astype(np.float64) ** y.astype(np.float64)).max() <= 1


def test_constant_powers(functions: Functions) -> None:
    x = np.array([0.0, -0.0, 4.0, 2.0, np.inf, -np.inf, np.nan, -8.0], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(functions("cube", x), np.power(x, np.float32(3)))
    # numpy takes the square root, which has no value at −∞; C's pow is ∞ there.
    expected = [0.0, 0.0, 2.0, math.sqrt(2), math.inf, math.inf, math.nan, math.nan]
    np.testing.assert_array_equal(functions("half", x), np.array(expected, np.float32))


def test_fmod_is_exact(functions: Functions, rng: np.random.Generator) -> None:
    x = (rng.standard_normal(20000) * np.exp(rng.uniform(-20, 20, 20000))).astype(np.float32)
    y = (rng.standard_normal(20000) * np.exp(rng.uniform(-5, 5, 20000))).astype(np.float32)
    np.testing.assert_array_equal(functions("fmod", x, y), np.fmod(x, y))
    edges = np.array([np.inf, 1.0, 5.0, -5.0, np.nan, 0.0, 3.0], np.float32)
    others = np.array([2.0, 0.0, np.inf, -np.inf, 1.0, 2.0, 3.0], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(functions("fmod", edges, others), np.fmod(edges, others))


def test_activations(functions: Functions) -> None:
    x = np.linspace(-12, 12, 4001).astype(np.float32)
    wide = x.astype(np.float64)
    erf = np.vectorize(math.erf)(wide / math.sqrt(2))
    bound = 5e-7 * np.maximum(1, np.abs(wide))
    assert (np.abs(functions("gelu", x) - wide * (1 + erf) / 2) <= bound).all()
    np.testing.assert_allclose(
        functions("hard_sigmoid", x), np.clip(0.2 * wide + 0.5, 0, 1), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        functions("hard_swish", x), wide * np.clip(wide / 6 + 0.5, 0, 1), rtol=1e-6, atol=2e-6
    )


def test_vector_and_scalar_code_agree_bit_for_bit(tmp_path: Path) -> None:
    x = numbers(400009)
    target = find_target(TARGETS[-1])
    named = {name: _call(name) for name in TABLE}
    scalar, vector = (Functions(named, target, lanes, "float32", tmp_path) for lanes in LANES.values())
    for name in TABLE:
        np.testing.assert_array_equal(scalar(name, x).view(np.int32), vector(name, x).view(np.int32), name)


DOUBLE = (
    "exp",
    "log",
    "sin",
    "cos",
    "tan",
    "atan",
    "tanh",
    "sigmoid",
    "expm1",
    "log1p",
    "sinh",
    "cosh",
    "asinh",
)


def test_float64_is_accurate_to_a_few_of_its_own_units(tmp_path: Path) -> None:
    functions = Functions(
        {name: _call(name) for name in DOUBLE}, find_target(TARGETS[0]), 4, "float64", tmp_path
    )
    x = np.concatenate([np.linspace(-20, 20, 20001), [1e-300, -1e-300, 1e-9, 700.0]])
    for name in DOUBLE:
        with np.errstate(all="ignore"):
            exact = TABLE[name][0](x)
        np.testing.assert_allclose(functions(name, x), exact, rtol=4e-15, err_msg=name)


def test_a_function_without_a_form_is_an_error_not_a_call_of_libm() -> None:
    x = tirx.Var("x", "float32")
    with pytest.raises(ValueError, match="hypot"):
        vectormath.replace_math(tirx.hypot(x, x))
    with pytest.raises(ValueError, match="float64"):
        vectormath.erf(tirx.Var("x", "float64"))


def test_every_replaced_intrinsic_is_a_public_function() -> None:
    assert {function.__name__ for function in FUNCTIONS.values()} <= set(vectormath.__all__)
