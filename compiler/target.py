"""Targets are data: one TOML file each in `targets/`. Templates read a Target and nothing else about a
machine.
"""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import CompileError


@dataclass(frozen=True, slots=True)
class Target:
    """What kernels may assume of a CPU.

    `features` are CPU flags as `/proc/cpuinfo` names them: the runtime refuses a package whose features it
    lacks. `parts` are cores that the target is meant for, "implementer:part" in the words of ARM's
    `/proc/cpuinfo`. `fma_in_flight` is how many independent multiply-adds keep the core busy: their latency
    times the number of pipes.
    """

    name: str
    arch: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    l2_bytes: int
    fma_in_flight: int
    parts: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def lanes(self) -> int:
        """float32 values in one vector, and the channel block of blocked layouts."""
        return self.vector_bytes // 4

    @property
    def multiplies_by_lane(self) -> bool:
        """Whether a multiply-add can broadcast one lane of a register (`fmla` by element). Elsewhere a load
        broadcasts a scalar on its way.
        """
        return self.arch == "aarch64"


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


def cpu_parts(cpuinfo: str) -> frozenset[str]:
    """The kinds of cores in the text of ARM's `/proc/cpuinfo`, as "implementer:part"; empty on x86."""
    rows = (map(str.strip, line.partition(":")[::2]) for line in cpuinfo.splitlines())
    values = [(key, value) for key, value in rows if key in ("CPU implementer", "CPU part")]
    pairs = zip(values[::2], values[1::2], strict=False)
    return frozenset(f"{implementer}:{part}" for (_, implementer), (_, part) in pairs)


def host_target(cpuinfo: str | None = None, arch: str = platform.machine()) -> Target:
    """The best target for this machine, or for another one's `/proc/cpuinfo`: of those whose features it has,
    one for its cores (the largest of them, if there are several kinds) or else the one with most features.
    Raises CompileError if it fits none.
    """
    text = Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo
    flags, parts = cpu_flags(text), cpu_parts(text)
    fitting = [t for t in known_targets().values() if t.arch == arch and flags.issuperset(t.features)]
    if not fitting:
        raise CompileError(
            "this machine's CPU fits none of the targets "
            + ", ".join(known_targets())
            + "; name one with --target"
        )
    return max(fitting, key=lambda t: (not parts.isdisjoint(t.parts), len(t.features), t.l2_bytes))


def find_target(name: str) -> Target:
    """A target by name or alias; ``host`` is this machine. Raises CompileError naming the known ones."""
    if name == "host":
        return host_target()
    for target in known_targets().values():
        if name == target.name or name in target.aliases:
            return target
    raise CompileError(f"unknown target {name!r}; known: host, " + ", ".join(known_targets()))
