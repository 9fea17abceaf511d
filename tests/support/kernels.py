"""Calls compiled kernels by hand: in this process, or for a foreign target in an emulated one."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sanderling.compiler.target import Target
from tests.support.emulated import ROOT, emulator

Bytes = npt.NDArray[np.uint8]
_ARENA = 1 << 28  # a sparse file: only what is touched takes space


class Kernels(Protocol):
    """A shared object, and memory that its kernels can reach."""

    def allocate(self, size: int) -> Bytes:
        """Bytes that are all 0xFF: NaN, or a huge index, so that reading what nobody wrote shows."""

    def call(self, symbol: str, lo: int, hi: int, addresses: Sequence[int]) -> None:
        """Call a kernel, at the latest in `finish`."""

    def finish(self) -> None:
        """All calls are done after this."""


class _Native:
    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def allocate(self, size: int) -> Bytes:
        return np.full(size, 0xFF, np.uint8)

    def call(self, symbol: str, lo: int, hi: int, addresses: Sequence[int]) -> None:
        kernel = getattr(self._library, symbol)
        kernel.argtypes = [ctypes.c_int32] * 2 + [ctypes.c_void_p] * len(addresses)
        kernel(lo, hi, *addresses)

    def finish(self) -> None:
        pass


class _Emulated:
    """Both processes map one file, so addresses here are offsets there."""

    def __init__(self, path: Path, target: Target) -> None:
        self._file = path.with_suffix(".memory")
        self._memory: Any = np.memmap(self._file, np.uint8, "w+", shape=(_ARENA,))
        self._used = 0
        player = ROOT / "build" / "aarch64" / "cpp" / "tests" / "player"
        assert player.exists(), f"{player} is missing: run `make ctest-aarch64`, which builds it"
        self._command = [*emulator(target), str(player), str(path), str(self._file), str(_ARENA)]
        self._script: list[str] = []

    def allocate(self, size: int) -> Bytes:
        found: Bytes = self._memory[self._used : self._used + size]
        assert found.size == size, "the arena is too small"
        found[:] = 0xFF
        self._used += size
        return found

    def call(self, symbol: str, lo: int, hi: int, addresses: Sequence[int]) -> None:
        offsets = [address - int(self._memory.ctypes.data) for address in addresses]
        self._script.append(" ".join(map(str, (symbol, lo, hi, len(offsets), *offsets))))

    def finish(self) -> None:
        script, self._script = "\n".join(self._script), []
        done = subprocess.run(self._command, input=script, capture_output=True, text=True)
        assert done.returncode == 0, (done.returncode, done.stderr)


def open_kernels(code: bytes, target: Target, folder: Path) -> Kernels:
    path = folder / "kernels.so"
    path.write_bytes(code)
    return _Native(path) if target.arch == platform.machine() else _Emulated(path, target)
