"""A thin imperative front for building one kernel's TIR: flat buffers, explicit vectors, explicit loops.

Kernels follow the ABI of `docs/package-format.md`, section 4: a plain C function of (lo, hi, pointers…).
Nothing is left to a scheduler: what a template writes is what LLVM sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import PointerType, PrimType
from tvm.target import Target as TvmTarget

Expr = Any  # tvm.ir.Expr: TVM ships no type information


def const(value: float, dtype: str = "float32", lanes: int = 1) -> Expr:
    """A constant, broadcast to `lanes`."""
    scalar = tirx.const(value, dtype)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def broadcast(value: Expr, lanes: int) -> Expr:
    """All lanes the same scalar."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def load(buffer: Expr, index: Expr, lanes: int = 1) -> Expr:
    """`lanes` consecutive elements from `index`."""
    return tirx.BufferLoad(buffer, [_span(index, lanes)])


def load_first(buffer: Expr, index: Expr, count: int, lanes: int) -> Expr:
    """`count` consecutive elements, and zeros in the other lanes; touches nothing behind them."""
    if count == lanes:
        return load(buffer, index, lanes)
    where = tirx.address_of(load(buffer, index))
    zero = const(0.0, lanes=lanes)
    dtype, mask = f"float32x{lanes}", _mask(count, lanes)
    return tirx.call_llvm_pure_intrin(dtype, "llvm.masked.load", where, mask, zero)


def _mask(count: int, lanes: int) -> Expr:
    """The first `count` lanes."""
    return tirx.Ramp(tirx.const(0, "int32"), 1, lanes) < tirx.Broadcast(tirx.const(count, "int32"), lanes)


def shuffled(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """A vector of these lanes of the given ones, counted through all of them."""
    return tirx.Shuffle(list(vectors), [tirx.const(lane, "int32") for lane in lanes])


def joined(vectors: Sequence[Expr]) -> Expr:
    """Vectors side by side."""
    if len(vectors) == 1:
        return vectors[0]
    return shuffled(vectors, range(sum(int(vector.ty.dtype.lanes) for vector in vectors)))


def _span(index: Expr, lanes: int) -> Expr:
    first = tirx.const(index, "int32") if isinstance(index, int) else index
    return first if lanes == 1 else tirx.Ramp(first, 1, lanes)


@dataclass(frozen=True, slots=True)
class Argument:
    """A pointer argument: `size` elements of `dtype` at a multiple of `align` bytes. `scratch`: memory of the
    running thread, without meaning before and after.
    """

    name: str
    size: int
    align: int
    dtype: str
    scratch: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel ready for the back end. The last argument is what it writes."""

    symbol: str
    function: Any  # tvm.tirx.PrimFunc
    arguments: tuple[Argument, ...]


class KernelBuilder:
    """Collects statements; `finish` makes the PrimFunc. `lo` and `hi` are the task range."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.lo = tirx.Var("lo", "int32")
        self.hi = tirx.Var("hi", "int32")
        self._params: list[Expr] = []
        self._arguments: list[Argument] = []
        self._head: list[Expr] = []
        self._scopes: list[list[Expr]] = [[]]

    def pointer(self, name: str, size: int, align: int, dtype: str = "float32") -> Expr:
        """The next argument: `size` elements at an address that is a multiple of `align` bytes."""
        return self._argument(Argument(name, size, align, dtype))

    def scratch(self, name: str, size: int) -> Expr:
        """The next argument: memory of the running thread, at a multiple of 64 bytes."""
        return self._argument(Argument(name, size, 64, "float32", scratch=True))

    def _argument(self, argument: Argument) -> Expr:
        pointer = tirx.Var(argument.name, PointerType(PrimType(argument.dtype)))
        buffer = tirx.decl_buffer(
            (argument.size,), argument.dtype, f"{argument.name}_data", data=pointer,
            data_alignment=argument.align,
        )  # fmt: skip
        self._params.append(pointer)
        self._arguments.append(argument)
        self._head.append(tirx.DeclBuffer(buffer, data=pointer))
        return buffer

    def local(self, name: str, size: int, dtype: str = "float32") -> Expr:
        """Registers: a buffer that is only indexed by constants, so that LLVM keeps it out of memory."""
        buffer = tirx.decl_buffer((size,), dtype, name, scope="local")
        self._head.append(tirx.AllocBuffer(buffer))
        return buffer

    def emit(self, statement: Expr) -> None:
        self._scopes[-1].append(statement)

    def store(self, buffer: Expr, index: Expr, value: Expr, lanes: int = 1) -> None:
        self.emit(tirx.BufferStore(buffer, value, [_span(index, lanes)]))

    def store_first(self, buffer: Expr, index: Expr, value: Expr, count: int, lanes: int) -> None:
        """Stores the first `count` lanes and touches nothing behind them."""
        if count == lanes:
            self.store(buffer, index, value, lanes)
            return
        where = tirx.address_of(load(buffer, index))
        store = tirx.call_llvm_intrin("void", "llvm.masked.store", value, where, _mask(count, lanes))
        self.emit(tirx.Evaluate(store))

    def bind(self, name: str, value: Expr) -> Expr:
        """Names a scalar value for the rest of the scope."""
        if isinstance(value, int):
            return value
        var = tirx.Var(name, value.ty.dtype if hasattr(value.ty, "dtype") else "int32")
        self.emit(tirx.Bind(var, value))
        return var

    def variable(self, name: str, value: Expr) -> Expr:
        """As `bind`, for a value whose formula TVM had better not see: simplifying it may overflow."""
        held = self.local(name, 1, "int32")
        self.store(held, 0, value)
        return load(held, 0)

    def hold(self, value: Expr) -> Expr:
        """A float32 vector in registers of its own, so that TVM sees no formula where it is used."""
        lanes = int(value.ty.dtype.lanes)
        held = self.local("held", lanes)
        self.store(held, 0, value, lanes)
        return load(held, 0, lanes)

    @contextmanager
    def loop(self, name: str, begin: Expr, end: Expr) -> Iterator[Expr]:
        """for name in range(begin, end). A loop with nothing in it leaves no code."""
        var = tirx.Var(name, "int32")
        self._scopes.append([])
        yield var
        statements = self._scopes.pop()
        if not statements:
            return
        body = _sequence(statements)
        first = tirx.const(begin, "int32") if isinstance(begin, int) else begin
        extent = end - begin
        extent = tirx.const(extent, "int32") if isinstance(extent, int) else extent
        self.emit(tirx.For(var, first, extent, tirx.ForKind.SERIAL, body))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """if condition: …"""
        self._scopes.append([])
        yield
        self.emit(tirx.IfThenElse(condition, _sequence(self._scopes.pop()), None))

    def finish(self, target: TvmTarget) -> Kernel:
        """The kernel, complete."""
        body = _sequence(self._head + self._scopes[0])
        function = tirx.PrimFunc([self.lo, self.hi, *self._params], body)
        for key, value in (("global_symbol", self.symbol), ("target", target), ("tirx.noalias", True)):
            function = function.with_attr(key, value)
        return Kernel(self.symbol, function, tuple(self._arguments))


def _sequence(statements: Sequence[Expr]) -> Expr:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


@contextmanager
def when(builder: KernelBuilder, condition: Expr | None) -> Iterator[None]:
    """if condition: …, or always if there is none."""
    if condition is None:
        yield
    else:
        with builder.when(condition):
            yield
