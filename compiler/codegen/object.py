"""From PrimFuncs to kernels.so: TVM's LLVM back end without TVM's calling convention, then the linker.

See docs/adr/0002: kernels are plain C functions, so the object needs no TVM symbol and any tool could make
it.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from ..errors import CompileError
from ..target import Target

_LINKERS = ("ld.lld", "ld.lld-19")  # for every architecture; others are for one
_LINK_OPTIONS = {
    "x86_64": ("-m", "elf_x86_64"),
    # Kernels with pages of 4, 16 (Raspberry Pi 5) and 64 KiB load the same file.
    "aarch64": ("-m", "aarch64linux", "-z", "max-page-size=65536"),
}
_BLOCK_FUNCTIONS = ("memcpy", "memmove", "memset")
_BYTES = PointerType(PrimType("uint8"))
_PASSES = (tirx.transform.StmtSimplify(), tirx.transform.LowerIntrin())


def tvm_target(target: Target) -> Any:
    """TVM's description of a target."""
    fields: dict[str, Any] = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu, "num-cores": 1}
    if target.attributes:
        fields["mattr"] = list(target.attributes)
    return tvm.target.Target(fields)


def compile_object(functions: Mapping[str, Any], target: Target) -> bytes:
    """Symbol → PrimFunc, to one relocatable object."""
    module = tvm.IRModule(dict(functions))
    for transform in _PASSES:
        module = transform(module)
    built = tvm.get_global_func("target.build.llvm")(module, tvm_target(target))
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        path = Path(folder) / "kernels.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()


def link(objects: Sequence[bytes], target: Target) -> bytes:
    """Objects to one stripped shared object. Raises CompileError with the linker's words."""
    own = ("ld",) if target.arch == platform.machine() else ()
    names = (*_LINKERS, f"{target.triple}-ld", *own)
    linker = next(filter(None, map(shutil.which, names)), None)
    if linker is None:
        raise CompileError(
            f"no linker for {target.arch} found: install lld (Debian, Ubuntu: apt install lld)"
        )
    parts = list(objects)
    if any(f"\0{name}\0".encode() in data for name in _BLOCK_FUNCTIONS for data in objects):
        parts.append(_block_functions(target))
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        inputs = []
        for index, data in enumerate(parts):
            path = Path(folder) / f"{index}.o"
            path.write_bytes(data)
            inputs.append(str(path))
        visible = Path(folder) / "visible"
        visible.write_text("{ global: *; local: " + " ".join(f"{name};" for name in _BLOCK_FUNCTIONS) + " };")
        output = Path(folder) / "kernels.so"
        # --no-undefined: a kernel that calls anything outside itself must fail here, not there.
        command = [linker, *_LINK_OPTIONS[target.arch], "-shared", "-nostdlib", "--no-undefined"]
        command += ["--strip-all", "--build-id=none", "--hash-style=gnu", "-z", "noexecstack"]
        command += [f"--version-script={visible}"]
        result = subprocess.run([*command, "-o", str(output), *inputs], capture_output=True, text=True)
        if result.returncode != 0:
            raise CompileError(f"linking kernels failed: {result.stderr.strip()}")
        return output.read_bytes()


@cache
def _block_functions(target: Target) -> bytes:
    """memcpy, memmove and memset: LLVM makes calls of them out of loops that copy or clear.

    LLVM leaves the loops inside functions of these names alone.
    """
    functions = {}
    for name in _BLOCK_FUNCTIONS:
        out, size, step = tirx.Var("out", _BYTES), tirx.Var("size", "int64"), tirx.Var("step", "int64")
        second = tirx.Var("value", "int32") if name == "memset" else tirx.Var("source", _BYTES)
        written = tirx.decl_buffer((1 << 40,), "uint8", "out_data", data=out, data_alignment=1)
        body: list[Any] = [tirx.DeclBuffer(written, data=out)]
        if name == "memset":
            stored, at = tirx.Cast("uint8", second), step
        else:
            read = tirx.decl_buffer((1 << 40,), "uint8", "source_data", data=second, data_alignment=1)
            body.append(tirx.DeclBuffer(read, data=second))
            # Backwards where the destination lies behind the source, so that overlapping blocks survive.
            behind = tirx.reinterpret("uint64", out) > tirx.reinterpret("uint64", second)
            at = tirx.Select(behind, size - 1 - step, step) if name == "memmove" else step
            stored = tirx.BufferLoad(read, [at])
        zero = tirx.const(0, "int64")
        body.append(tirx.For(step, zero, size, tirx.ForKind.SERIAL, tirx.BufferStore(written, stored, [at])))
        function = tirx.PrimFunc([out, second, size], tirx.SeqStmt(body)).with_attr("global_symbol", name)
        functions[name] = function.with_attr("target", tvm_target(target))
    return compile_object(functions, target)
