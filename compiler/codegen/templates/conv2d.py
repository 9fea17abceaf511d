"""2-D convolution: by the direct method or by Winograd's, whichever is quicker for the workload.

Matches: Conv2d workloads. A configuration belongs to one method, which has a file of its own; all methods
take the same arguments, so a measured choice may be any of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...target import Target
from .. import geometry
from .. import winograd as body
from ..builder import Kernel
from ..workload import Conv2d
from . import direct, winograd

Config = geometry.Config | body.Config
_METHODS: dict[type, Any] = {geometry.Config: direct, body.Config: winograd}


def candidates(work: Conv2d, target: Target) -> list[Config]:
    """Configurations of both methods; first those of the one that should be quicker."""
    plain, quick = direct.candidates(work, target), winograd.candidates(work, target)
    if not quick:
        return list(plain)
    best, other = (quick, plain) if winograd.advantage(work, quick[0], target) > 1.0 else (plain, quick)
    return [*best[:3], *other[:1], *best[3:], *other[1:]]


def tasks(work: Conv2d, config: Config, target: Target) -> int:
    """How many tasks the kernel has."""
    count: int = _METHODS[type(config)].tasks(work, config, target)
    return count


def pack(work: Conv2d, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """OIHW weights as the kernel reads them."""
    packed: npt.NDArray[np.float32] = _METHODS[type(config)].pack(work, config, target, weight)
    return packed


def build(work: Conv2d, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, [scratch], output."""
    kernel: Kernel = _METHODS[type(config)].build(work, config, target, symbol)
    return kernel
