"""Mathematical intrinsics in TIR → the functions of this package."""

from __future__ import annotations

from collections.abc import Callable

import tvm
import tvm_ffi
from tvm import tirx

from .basis import Expr, cast, element_type, lanes_of
from .elementary import (
    ceil,
    erf,
    exp,
    exp2,
    exp10,
    fabs,
    floor,
    log,
    log1p,
    log2,
    log10,
    rint,
    rsqrt,
    sigmoid,
    sqrt,
    tanh,
    trunc,
)
from .powers import fmod, power
from .trigonometric import acos, acosh, asin, asinh, atan, atanh, cos, cosh, sin, sinh, tan

FUNCTIONS: dict[str, Callable[..., Expr]] = {
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
    "pow": power,
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
    """Name of a called TIR operator without its dialect (``tirx.exp``, ``prim.log2``), else empty."""
    if not isinstance(call.op, tvm.ir.Op):
        return ""
    dialect, _, name = str(call.op.name).rpartition(".")
    return name if dialect in ("tirx", "prim") else ""


def _replace_call(call: Expr) -> Expr:
    name = operator_name(call)
    if name in _WITHOUT_FORM:
        raise ValueError(f"{name} has no polynomial")
    function = FUNCTIONS.get(name)
    if function is None:
        return call
    return _in_single(function, *call.args)


def _replace_mod(mod: Expr) -> Expr:
    return _in_single(fmod, mod.a, mod.b) if element_type(mod).startswith("float") else mod


def _in_single(function: Callable[..., Expr], *operands: Expr) -> Expr:
    """float16 goes through float32."""
    if element_type(operands[0]) == "float16":
        return cast("float16", function(*(cast("float32", x) for x in operands)))
    return function(*operands)


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
        lanes = lanes_of(name)
        register = tirx.decl_buffer((lanes,), element_type(name), "register", scope="local")
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
    callbacks = [
        (tvm.ir.Call, _replace_call),
        (tirx.Mod, _replace_mod),
        (tirx.BufferStore, _replace_store),
    ]
    return tvm_ffi.structural_map(code, callbacks, order="post")
