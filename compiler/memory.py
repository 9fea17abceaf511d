"""Memory plan: one arena for all intermediate buffers, offsets from their lifetimes. A pure function.

Greedy, as TensorFlow Lite does it (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
Inference", 2020): buffers in falling order, each into the smallest gap among those alive at the same time.
Two orders are tried, because neither wins always: by size, and by the memory that the busiest call needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .errors import CompileError
from .program import Program

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer's size in bytes, and the first and last call (both included) that use it."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether some call needs both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Arena offset and lifetime of every buffer that a call uses; offsets are multiples of 64."""

    offsets: Mapping[str, int]
    lifetimes: Mapping[str, Lifetime]
    arena_bytes: int


def lifetimes(program: Program) -> dict[str, Lifetime]:
    """Lifetime of every buffer that a call uses, in order of first use.

    Raises CompileError for a buffer that the program does not declare, or that is read before it is written.
    """
    found: dict[str, Lifetime] = {}
    for index, call in enumerate(program.calls):
        used = [arg for arg in call.args if arg.place == "buffer"]
        written = {arg.name for arg in used if arg.access == "write"}
        for name in dict.fromkeys(arg.name for arg in used):
            if name not in program.buffers:
                raise CompileError(
                    f"call {index} ({call.node}) uses buffer {name!r}, which the program does not declare"
                )
            if name not in found and name not in written:
                raise CompileError(
                    f"call {index} ({call.node}) reads buffer {name!r} before anything is written to it"
                )
            first = found[name].first if name in found else index
            found[name] = Lifetime(program.buffers[name], first, index)
    for count in {bound.count for bound in program.bounds.values()}:  # read when all calls are done
        found[count] = replace(found[count], last=len(program.calls) - 1)
    return found


def plan_memory(program: Program) -> MemoryPlan:
    """Give every used buffer an offset such that buffers alive at the same time do not overlap."""
    lives = lifetimes(program)
    breadth = _breadth(lives.values(), len(program.calls))
    busiest = {name: max(breadth[life.first : life.last + 1]) for name, life in lives.items()}
    by_size = sorted(lives, key=lambda name: (-lives[name].size, lives[name].first))
    by_breadth = sorted(lives, key=lambda name: (-busiest[name], -lives[name].size, lives[name].first))
    return min((_place(order, lives) for order in (by_size, by_breadth)), key=lambda plan: plan.arena_bytes)


def _breadth(lives: Iterable[Lifetime], calls: int) -> list[int]:
    """Bytes alive during each call."""
    change = [0] * (calls + 1)
    for life in lives:
        change[life.first] += _aligned(life.size)
        change[life.last + 1] -= _aligned(life.size)
    total, breadth = 0, []
    for step in change:
        total += step
        breadth.append(total)
    return breadth


def _place(order: list[str], lives: Mapping[str, Lifetime]) -> MemoryPlan:
    offsets: dict[str, int] = {}
    for name in order:
        life = lives[name]
        rivals = sorted((offsets[other], lives[other].size) for other in offsets if lives[other].meets(life))
        offsets[name] = _best_gap(_aligned(life.size), rivals)
    arena = max((offsets[name] + _aligned(life.size) for name, life in lives.items()), default=0)
    return MemoryPlan({name: offsets[name] for name in lives}, lives, arena)


def _best_gap(size: int, taken: list[tuple[int, int]]) -> int:
    """Offset of the smallest gap of `size` or more between the `taken` (offset, size), else their end."""
    best: tuple[int, int] | None = None
    end = 0
    for offset, length in taken:
        gap = offset - end
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, end)
        end = max(end, offset + _aligned(length))
    return end if best is None else best[1]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
