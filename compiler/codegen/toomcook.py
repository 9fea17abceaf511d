"""The matrices of Winograd's convolution F(m, 3), in exact fractions.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016); built as Cook and Toom do,
from interpolation points. Small points, of which each has its opposite, keep both the rounding error and the
number of additions low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

TAPS = 3
_POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2), 6: (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))}

Line = Sequence[Fraction]
Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Matrices:
    """output = after · ((weights · g) ∘ (before · d)), in one dimension."""

    before: Matrix  # [m+2, m+2], usually called Bᵀ
    weights: Matrix  # [m+2, 3], G
    after: Matrix  # [m, m+2], Aᵀ


@cache
def matrices(m: int) -> Matrices:
    """Cook and Toom's construction from interpolation points and infinity, in fractions."""
    points = [Fraction(p) for p in _POINTS[m]]
    before, weights = [], []
    for j, p in enumerate(points):
        others = [q for k, q in enumerate(points) if k != j]
        scale = prod((p - q for q in others), start=Fraction(1))
        row = _polynomial(others)
        # Whole numbers in `before`: its work is done at run time.
        whole = max(entry.denominator for entry in row)
        before.append((*(entry * whole for entry in row), Fraction(0)))
        weights.append(tuple(p**k / scale / whole for k in range(TAPS)))
    before.append(tuple(_polynomial(points)))
    weights.append((*(Fraction(0),) * (TAPS - 1), Fraction(1)))
    after = tuple((*(p**i for p in points), Fraction(int(i == m - 1))) for i in range(m))
    return Matrices(tuple(before), tuple(weights), after)


def _polynomial(roots: Line) -> list[Fraction]:
    """Coefficients of ∏ (x − root), constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [
            (found[k - 1] if k else Fraction(0)) - root * (found[k] if k < len(found) else Fraction(0))
            for k in range(len(found) + 1)
        ]
    return found


def pairs(lines: Sequence[Line]) -> list[tuple[int, int]]:
    """Lines that have the same absolute values and more than one entry, two by two."""
    found: list[tuple[int, int]] = []
    taken: set[int] = set()
    for j, one in enumerate(lines):
        for k in range(j + 1, len(lines)):
            other = lines[k]
            alike = [abs(a) for a in one] == [abs(b) for b in other]
            if alike and sum(map(bool, one)) > 1 and not {j, k} & taken and one != other:
                found.append((j, k))
                taken |= {j, k}
    return found
