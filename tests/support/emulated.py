"""64-bit ARM on this machine: the cross-built runtime, in an emulator with one core's instructions only."""

from __future__ import annotations

import shutil
from pathlib import Path

from sanderling.compiler.target import Target

ROOT = Path(__file__).parents[2]
SYSROOT = Path("/usr/aarch64-linux-gnu")
TARGETS = ("aarch64-cortex-a72", "aarch64-cortex-a76")
_ALL = "max"  # every instruction that the emulator knows, for cores that it does not
_MODELS = {"neoverse-v1": _ALL, "neoverse-v2": _ALL}


def emulator(target: Target) -> list[str]:
    """What begins a command line, so that a program runs as on the target's core: what that lacks is an
    illegal instruction.
    """
    program = shutil.which("qemu-aarch64")
    assert program, "qemu-aarch64 is missing: run `make ctest-aarch64`, which installs it"
    return [program, "-L", str(SYSROOT), "-cpu", _MODELS.get(target.cpu, target.cpu)]


def runner(target: Target) -> list[str]:
    """Command line of the cross-built `sanderling-run`."""
    tool = ROOT / "build" / "aarch64" / "cpp" / "tools" / "sanderling-run"
    assert tool.exists(), f"{tool} is missing: run `make ctest-aarch64`, which builds it"
    return [*emulator(target), str(tool)]
