"""From functions to a shared object that needs nothing."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from sanderling.compiler.codegen import object as objects
from sanderling.compiler.errors import CompileError
from sanderling.compiler.target import Target

from .conftest import TARGETS


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_block_functions_do_what_the_c_library_says(target: Target, tmp_path: Path) -> None:
    (tmp_path / "blocks.o").write_bytes(objects._block_functions(target))
    linker = shutil.which("ld.lld") or "ld"
    command = [linker, "-shared", "-o", str(tmp_path / "blocks.so"), str(tmp_path / "blocks.o")]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(tmp_path / "blocks.so"))
    pattern = bytes(range(200))
    for size in (0, 1, 31, 64, 130):
        for source, destination in ((0, 50), (50, 0), (7, 7), (20, 21)):
            memory = ctypes.create_string_buffer(pattern, 200)
            start = ctypes.addressof(memory)
            library.memmove(
                ctypes.c_void_p(start + destination), ctypes.c_void_p(start + source), ctypes.c_int64(size)
            )
            expected = bytearray(pattern)
            expected[destination : destination + size] = pattern[source : source + size]
            assert memory.raw == bytes(expected), (size, source, destination)
        left, right = (
            ctypes.create_string_buffer(b"\x55" * 200, 200),
            ctypes.create_string_buffer(pattern, 200),
        )
        library.memcpy(left, right, ctypes.c_int64(size))
        assert left.raw == pattern[:size] + b"\x55" * (200 - size)
        library.memset(left, ctypes.c_int32(0x1FF), ctypes.c_int64(size))
        assert left.raw == b"\xff" * size + b"\x55" * (200 - size)


def test_a_linker_error_is_reported_in_its_own_words(target: Target) -> None:
    with pytest.raises(CompileError, match="linking kernels failed"):
        objects.link([b"not an object"], target)
