"""What code generation hands to the memory plan and the package writer: kernels, calls, buffers, parameters.

A Program has no addresses yet. `memory.plan` gives every buffer an offset; `package.write` turns both into
plan.bin, kernels.so and params.bin as `docs/package-format.md` specifies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .graph import Bound, TensorType

Place = Literal["buffer", "param", "input", "output", "scratch"]
Access = Literal["read", "write", "both"]


@dataclass(frozen=True, slots=True)
class Arg:
    """One kernel argument: `size` bytes at byte `offset` of the named buffer, parameter, input or output.

    `align` is what the kernel's code assumes of the address (a power of two, at most 64; inputs and outputs:
    at most their item size). Scratch has the empty name.
    """

    place: Place
    name: str
    access: Access
    size: int
    offset: int = 0
    align: int = 64


@dataclass(frozen=True, slots=True)
class Call:
    """Run tasks 0…`tasks`−1 of the kernel `symbol`. `node` and `kind` are for people (profile, report)."""

    symbol: str
    tasks: int
    args: tuple[Arg, ...]
    node: str
    kind: str
    flops: int = 0
    grain: int = 1


@dataclass(frozen=True)
class Program:
    """A compiled graph for one target. `calls` run in order, each finished before the next begins.

    `buffers` maps a name to its size in bytes; lifetimes follow from the calls. `params` arrays are stored as
    they are (C order). `code` is the linked shared object (kernels.so). `bounds` are of outputs; a count is
    the first number in the buffer of its name.
    """

    target: str
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    buffers: Mapping[str, int]
    params: Mapping[str, npt.NDArray[Any]]
    calls: tuple[Call, ...]
    scratch_bytes: int
    code: bytes
    bounds: Mapping[str, Bound] = field(default_factory=lambda: MappingProxyType({}))


def itemsize(dtype: str) -> int:
    """Bytes of one element of a numpy dtype name."""
    return np.dtype(dtype).itemsize
