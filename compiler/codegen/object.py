"""From PrimFuncs to kernels.so: TVM's LLVM back end without TVM's calling convention, then the linker.

See docs/adr/0002: kernels are plain C functions, so the object needs no TVM symbol and any tool could make
it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx

from ..errors import CompileError
from ..target import Target

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


def link(objects: list[bytes]) -> bytes:
    """Objects to one stripped shared object. Raises CompileError with the linker's words."""
    linker = shutil.which("ld.lld") or shutil.which("ld.lld-19") or shutil.which("ld")
    if linker is None:
        raise CompileError("no linker found: install lld (Debian, Ubuntu: apt install lld)")
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        inputs = []
        for index, data in enumerate(objects):
            path = Path(folder) / f"{index}.o"
            path.write_bytes(data)
            inputs.append(str(path))
        output = Path(folder) / "kernels.so"
        # --no-undefined: a kernel that calls anything outside itself must fail here, not there.
        command = [linker, "-shared", "-nostdlib", "--no-undefined", "--strip-all", "--build-id=none"]
        command += ["--hash-style=gnu", "-z", "noexecstack", "-o", str(output), *inputs]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise CompileError(f"linking kernels failed: {result.stderr.strip()}")
        return output.read_bytes()
