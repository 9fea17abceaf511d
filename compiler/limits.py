"""What one core can do at most, measured with kernels of our own: the two limits of a roofline.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model (CACM 52:4, 2009).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .graph import TensorType
from .package import Package, make_variant, write_package
from .program import Arg, Call, Program
from .serve import Server
from .target import Target

if TYPE_CHECKING:
    from .codegen.builder import Kernel

_STEPS = 200_000  # of the arithmetic kernel: a few milliseconds
_SPARE_REGISTERS = 4  # for the two factors, and what the compiler wants for itself
_SUMS = 8  # vectors that are summed apart, so that the loads need not wait for the additions
_READ_BYTES = 256_000_000  # more than any last-level cache that one core can fill
_RUNS = 15


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one core: fused multiply-adds in GFLOP/s by target, reading from memory in GB/s."""

    fma_gflops: dict[str, float]
    memory_gbps: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "fma_gflops": {name: round(value, 1) for name, value in self.fma_gflops.items()},
            "memory_gbps": None if self.memory_gbps is None else round(self.memory_gbps, 1),
        }


def measure_limits(server: Server, targets: Iterable[Target], folder: Path) -> Limits:
    """The best of several runs, on the server's machine, for those targets that it can run.

    Raises CompileError. `folder` is for packages, which are removed.
    """
    fitting = [target for target in targets if server.features.issuperset(target.features)]
    if not fitting:
        return Limits({}, None)
    gflops = {target.name: _rate(server, multiply_add_program(target), target, folder) for target in fitting}
    # Any vectors will do for reading.
    return Limits(gflops, 4 * _rate(server, read_program(fitting[0]), fitting[0], folder))


def _rate(server: Server, program: Program, target: Target, folder: Path) -> float:
    """Operations in the Program's one call, in billions a second."""
    package = Package(
        "limits", "1.0.0", program.inputs, program.outputs, model_onnx=b"",
        variants=(make_variant(program, target),),
    )  # fmt: skip
    path = folder / "limits.sand"
    try:
        write_package(path, package)
        server.put("limits", path.read_bytes())
    finally:
        path.unlink(missing_ok=True)
    server.load("limits", target.name)
    try:
        (times,) = server.profile(_RUNS)
    finally:
        server.unload()
    return program.calls[0].flops / max(times.least, 1e-9) / 1e9


def multiply_add_program(target: Target) -> Program:
    """x ← x · a + b in as many registers as there are: none waits for another, memory is not touched."""
    size = _accumulators(target) * target.lanes
    return _program(_multiply_add(target), target, flops=2 * _STEPS * size)


def read_program(target: Target) -> Program:
    """The sum of an input that no cache holds, by vectors: an addition for every four bytes."""
    return _program(_read(target), target, flops=_READ_BYTES // 4)


def _program(kernel: Kernel, target: Target, *, flops: int) -> Program:
    """One call of a kernel from an input to an output."""
    from .codegen.object import compile_object, link

    source, result = kernel.arguments
    args = (
        Arg("input", source.name, "read", 4 * source.size, align=source.align),
        Arg("output", result.name, "write", 4 * result.size, align=result.align),
    )
    return Program(
        target=target.name,
        inputs={source.name: TensorType("float32", (source.size,))},
        outputs={result.name: TensorType("float32", (result.size,))},
        buffers={},
        params={},
        calls=(Call(kernel.symbol, 1, args, node=kernel.symbol, kind="limit", flops=flops),),
        scratch_bytes=0,
        code=link([compile_object({kernel.symbol: kernel.function}, target)], target),
    )


def _accumulators(target: Target) -> int:
    return target.vector_registers - _SPARE_REGISTERS


def _multiply_add(target: Target) -> Kernel:
    from .codegen.builder import KernelBuilder, const, load
    from .codegen.object import tvm_target

    lanes, count = target.lanes, _accumulators(target)
    builder = KernelBuilder("multiply_add")
    factors = builder.pointer("factors", 2 * lanes, 4)
    products = builder.pointer("products", count * lanes, 4)
    registers = builder.local("registers", count * lanes)
    with builder.loop("task", builder.lo, builder.hi):
        for index in range(count):
            builder.store(registers, index * lanes, const(1.0 + index, lanes=lanes), lanes)
        with builder.loop("step", 0, _STEPS):
            for index in range(count):
                value = load(registers, index * lanes, lanes) * load(factors, 0, lanes)
                builder.store(registers, index * lanes, value + load(factors, lanes, lanes), lanes)
        for index in range(count):
            builder.store(products, index * lanes, load(registers, index * lanes, lanes), lanes)
    return builder.finish(tvm_target(target))


def _read(target: Target) -> Kernel:
    from .codegen.builder import KernelBuilder, const, load
    from .codegen.object import tvm_target

    lanes, step = target.lanes, _SUMS * target.lanes
    builder = KernelBuilder("read")
    data = builder.pointer("data", _READ_BYTES // 4, 4)
    sums = builder.pointer("sums", step, 4)
    registers = builder.local("registers", step)
    with builder.loop("task", builder.lo, builder.hi):
        for index in range(_SUMS):
            builder.store(registers, index * lanes, const(0.0, lanes=lanes), lanes)
        with builder.loop("position", 0, _READ_BYTES // 4 // step) as position:
            for index in range(_SUMS):
                at = builder.bind("at", position * step + index * lanes)
                value = load(registers, index * lanes, lanes) + load(data, at, lanes)
                builder.store(registers, index * lanes, value, lanes)
        for index in range(_SUMS):
            builder.store(sums, index * lanes, load(registers, index * lanes, lanes), lanes)
    return builder.finish(tvm_target(target))
