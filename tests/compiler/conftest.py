"""Small programs whose kernels are real native code, compiled by the C compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sanderling.compiler.graph import TensorType
from sanderling.compiler.program import Arg, Call, Program
from sanderling.compiler.target import Target, host_target

# y = max(x·w + b, 0) on rows of 16 floats: one kernel for the product, one for the sum.
KERNELS = """
typedef float unaligned __attribute__((aligned(4)));
void scale(int lo, int hi, const unaligned* x, const float* w, float* t) {
  for (int i = lo * 16; i < hi * 16; ++i) t[i] = x[i] * w[i % 16];
}
void shift(int lo, int hi, const float* t, const float* b, unaligned* y) {
  for (int i = lo * 16; i < hi * 16; ++i) {
    float v = t[i] + b[i % 16];
    y[i] = v > 0 ? v : 0;
  }
}
"""
FLAGS = ("-shared", "-nostdlib", "-fPIC", "-O2", "-s")


CompileC = Callable[..., bytes]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> CompileC:
    """A function: C source and flags → shared object, stripped and needing no library by default."""

    def compile_(source: str = KERNELS, flags: Sequence[str] = FLAGS) -> bytes:
        folder = tmp_path_factory.mktemp("kernels")
        code, library = folder / "kernels.c", folder / "kernels.so"
        code.write_text(source)
        subprocess.run(["gcc", *flags, str(code), "-o", str(library)], check=True, capture_output=True)
        return library.read_bytes()

    return compile_


@pytest.fixture(scope="session")
def affine_code(compile_c: CompileC) -> bytes:
    return compile_c()


@pytest.fixture(scope="session")
def host() -> Target:
    return host_target()


@pytest.fixture(scope="session")
def affine(affine_program: Callable[..., Program]) -> Program:
    """Input x [4,16] → output y [4,16]."""
    return affine_program()


@pytest.fixture(scope="session")
def affine_program(affine_code: bytes, host: Target) -> Callable[..., Program]:
    """A function: shape, whose last dimension is 16 → the program, with seeded weights w and b."""

    def make(shape: tuple[int, ...] = (4, 16)) -> Program:
        type_ = TensorType("float32", shape)
        size, tasks = type_.nbytes, type_.size // 16
        w, b = np.random.default_rng(0).standard_normal((2, 16), dtype=np.float32)
        x, t, y = Arg("input", "x", "read", size, align=4), "t", Arg("output", "y", "write", size, align=4)
        scale = (x, Arg("param", "w", "read", 64), Arg("buffer", t, "write", size))
        shift = (Arg("buffer", t, "read", size), Arg("param", "b", "read", 64), y)
        return Program(
            target=host.name,
            inputs={"x": type_},
            outputs={"y": type_},
            buffers={t: size},
            params={"w": w, "b": b},
            calls=(
                Call("scale", tasks, scale, node="mul", kind="elementwise", flops=tasks * 16),
                Call("shift", tasks, shift, node="add", kind="elementwise", flops=2 * tasks * 16),
            ),
            scratch_bytes=0,
            code=affine_code,
        )

    return make
