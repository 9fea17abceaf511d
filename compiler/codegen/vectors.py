"""Whole vectors rearranged in registers: transposing a square of them, and reducing one to a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .builder import Expr, KernelBuilder, load, shuffled


class Square:
    """`lanes` vectors of `lanes` elements, transposed in registers by exchanging ever larger blocks."""

    def __init__(self, builder: KernelBuilder, lanes: int, name: str = "square") -> None:
        self._builder = builder
        self._lanes = lanes
        self._buffers = [builder.local(f"{name}{index}", lanes * lanes) for index in range(2)]

    def transposed(self, rows: Sequence[Expr]) -> list[Expr]:
        """The columns of these rows, which are `lanes` vectors; valid until the next call."""
        builder, lanes = self._builder, self._lanes
        source, target = self._buffers
        for index, row in enumerate(rows):
            builder.store(source, index * lanes, row, lanes)
        distance = 1
        while distance < lanes:
            for index in range(lanes):
                if index & distance:
                    continue
                pair = [load(source, at * lanes, lanes) for at in (index, index + distance)]
                low = [p if not p & distance else lanes + p - distance for p in range(lanes)]
                high = [p + distance if not p & distance else lanes + p for p in range(lanes)]
                builder.store(target, index * lanes, shuffled(pair, low), lanes)
                builder.store(target, (index + distance) * lanes, shuffled(pair, high), lanes)
            source, target = target, source
            distance *= 2
        return [load(source, index * lanes, lanes) for index in range(lanes)]


def reduced(
    builder: KernelBuilder, buffer: Expr, at: int, lanes: int, combine: Callable[[Expr, Expr], Expr]
) -> None:
    """Leaves in every lane of the vector at `at` of a local buffer what combining all of them gives."""
    distance = lanes // 2
    while distance:
        value = load(buffer, at, lanes)
        turned = shuffled([value], [(lane + distance) % lanes for lane in range(lanes)])
        builder.store(buffer, at, combine(value, turned), lanes)
        distance //= 2
