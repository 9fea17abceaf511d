"""kernels.so is refused before it is packed if it breaks the kernel ABI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sanderling.compiler.errors import CompileError
from sanderling.compiler.package import make_variant
from sanderling.compiler.program import Program
from sanderling.compiler.target import Target

FREE = ("-shared", "-nostdlib", "-fPIC", "-s")
KERNELS = "void scale(void) {} void shift(void) {} "
BAD_CODE = {
    "undefined symbol": (KERNELS + "float sinf(float); void more(float* x) { *x = sinf(*x); }", FREE),
    "DT_NEEDED": (KERNELS, ("-shared", "-fPIC", "-s", "-Wl,--no-as-needed")),
    "runs code when loaded": (KERNELS + "__attribute__((constructor)) void start(void) {}", FREE),
    "thread-local": (KERNELS + "__thread int local;", FREE),
    "not stripped": (KERNELS, ("-shared", "-nostdlib", "-fPIC")),
    "does not define scale, shift": ("void other(void) {}", FREE),
}


@pytest.mark.parametrize("cause", BAD_CODE)
def test_code_that_breaks_the_kernel_abi_is_refused(
    affine: Program, host: Target, compile_c: Callable[..., bytes], cause: str
) -> None:
    with pytest.raises(CompileError, match=cause):
        make_variant(replace(affine, code=compile_c(*BAD_CODE[cause])), host)


@pytest.mark.parametrize("code", [b"", b"\x7fELF", b"MZ" * 100])
def test_code_that_is_no_elf_file_is_refused(affine: Program, host: Target, code: bytes) -> None:
    with pytest.raises(CompileError, match="not a whole ELF file"):
        make_variant(replace(affine, code=code), host)


def test_code_for_another_machine_is_refused(affine: Program, host: Target) -> None:
    with pytest.raises(CompileError, match="is not aarch64"):
        make_variant(affine, replace(host, arch="aarch64"))


def test_no_truncation_gets_through(affine: Program, host: Target) -> None:
    # Any cut takes a part of the section table, which lies last.
    for length in range(0, len(affine.code), 97):
        with pytest.raises(CompileError, match=r"not a whole ELF file|breaks the kernel ABI"):
            make_variant(replace(affine, code=affine.code[:length]), host)
