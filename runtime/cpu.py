"""How many threads a model gets when nobody says: the physical cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads(cpus: Path = _CPUS, quota: Path = _QUOTA) -> int:
    """Physical cores in this process's CPU affinity, and no more than a container's CPU quota allows.

    Two hardware threads of one core share its arithmetic units: a second thread there makes it slower.
    """
    cores = {_core_of(cpus / f"cpu{index}" / "topology", index) for index in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota(quota)))


def _core_of(topology: Path, index: int) -> str:
    """What identifies a CPU's physical core: the list of CPUs on it, or the CPU alone if that is unknown."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        try:
            return (topology / name).read_text().strip()
        except OSError:
            continue
    return str(index)


def _quota(file: Path) -> int:
    """CPUs that the control group allows, rounded up; a large number if there is no limit."""
    unlimited = 1 << 16
    try:
        allowed, _, period = file.read_text().partition(" ")
        return unlimited if allowed == "max" else max(1, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited
