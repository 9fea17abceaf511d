"""Targets are data: one TOML file each in `targets/`. Templates read a Target and nothing else about a
machine.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import CompileError


@dataclass(frozen=True, slots=True)
class Target:
    """What kernels may assume of a CPU.

    `features` are CPU flags as `/proc/cpuinfo` names them: the runtime refuses a package whose features it
    lacks.
    """

    name: str
    arch: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    l2_bytes: int
    attributes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def lanes(self) -> int:
        """float32 values in one vector, and the channel block of blocked layouts."""
        return self.vector_bytes // 4


_DIRECTORY = Path(__file__).parent / "targets"


def _load(path: Path) -> Target:
    fields = tomllib.loads(path.read_text())
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return Target(name=path.stem, **{**fields, **lists})


@cache
def known_targets() -> dict[str, Target]:
    """All targets by name, in file order."""
    return {path.stem: _load(path) for path in sorted(_DIRECTORY.glob("*.toml"))}


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The feature names in the text of `/proc/cpuinfo` (``flags`` on x86, ``Features`` on ARM)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def host_target(flags: frozenset[str] | None = None) -> Target:
    """The target with the most features that this machine has. Raises CompileError if it fits none."""
    present = cpu_flags(Path("/proc/cpuinfo").read_text()) if flags is None else flags
    fitting = [target for target in known_targets().values() if present.issuperset(target.features)]
    if not fitting:
        raise CompileError(
            "this machine's CPU fits none of the targets "
            + ", ".join(known_targets())
            + "; name one with --target"
        )
    return max(fitting, key=lambda target: len(target.features))


def find_target(name: str) -> Target:
    """A target by name or alias; ``host`` is this machine. Raises CompileError naming the known ones."""
    if name == "host":
        return host_target()
    for target in known_targets().values():
        if name == target.name or name in target.aliases:
            return target
    raise CompileError(f"unknown target {name!r}; known: host, " + ", ".join(known_targets()))
