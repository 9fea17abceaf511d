"""The register tile that every convolution and matrix product is made of.

`pixels` output positions × `blocks` vectors of output channels are accumulated in registers; each step of the
reduction loads `blocks` weight vectors and broadcasts `pixels` input values: from memory on x86, from a lane
of a register on ARM. What a tap outside the image would add is left out when the code is built, so there is
no padded copy of the input and no multiplication by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..target import Target
from .builder import Expr, KernelBuilder, broadcast, const, load


@dataclass(frozen=True, slots=True)
class Tile:
    """Shape of the accumulators: `pixels` × `blocks` vectors of `lanes` channels, the last block only `last`
    wide (0: as the others), because a shorter vector may be cheaper than idle lanes.
    """

    pixels: int
    blocks: int
    lanes: int
    last: int = 0

    def width(self, block: int) -> int:
        """Lanes of a block's vectors."""
        return self.last if self.last and block == self.blocks - 1 else self.lanes


def shapes(target: Target) -> list[tuple[int, int]]:
    """(pixels, blocks) whose accumulators, weight vectors and input values fit the registers."""
    if target.multiplies_by_lane:  # a vector of input channels for each pixel
        most = target.vector_registers
        return [
            (pixels, blocks)
            for blocks in range(1, most)
            for pixels in range(1, most)
            if pixels * blocks >= target.fma_in_flight and pixels * blocks + pixels + blocks < most
        ]
    if target.vector_registers >= 32:  # one broadcast value
        return [(10, 2), (6, 4), (7, 3), (9, 3), (14, 2), (20, 1), (28, 1), (7, 2), (14, 1)]
    return [(5, 2), (4, 3), (6, 2), (4, 2), (7, 1), (10, 1), (14, 1)]


def step_cost(target: Target, pixels: int, blocks: int) -> float:
    """Relative time of one step of the reduction: multiply-adds, and the loads beside them. Weights count
    twice: they come from farther away than the input does.
    """
    busy = max(pixels * blocks, target.fma_in_flight)  # fewer accumulators wait for the adder's latency
    inputs = pixels / target.lanes if target.multiplies_by_lane else pixels
    return busy + 0.2 * (inputs + 2 * blocks)


def clear(builder: KernelBuilder, acc: Expr, tile: Tile, bias: Callable[[int], Expr] | None) -> None:
    """Sets the accumulators to the bias vector of each block, or to zero."""
    for block in range(tile.blocks):
        lanes = tile.width(block)
        start = bias(block) if bias is not None else const(0.0, lanes=lanes)
        for pixel in range(tile.pixels):
            builder.store(acc, _slot(tile, pixel, block), start, lanes)


def multiply_add(
    builder: KernelBuilder,
    acc: Expr,
    tile: Tile,
    weights: Callable[[int], Expr],
    values: Sequence[Expr | None],
) -> None:
    """acc[p, b] += values[p] × weights(b); pixels whose value is None are left out."""
    vectors = [weights(block) for block in range(tile.blocks)]
    for pixel, value in enumerate(values):
        if value is None:
            continue
        for block, vector in enumerate(vectors):
            lanes, slot = tile.width(block), _slot(tile, pixel, block)
            builder.store(acc, slot, load(acc, slot, lanes) + broadcast(value, lanes) * vector, lanes)


def accumulator(acc: Expr, tile: Tile, pixel: int, block: int) -> Expr:
    """The current value of one accumulator."""
    return load(acc, _slot(tile, pixel, block), tile.width(block))


def _slot(tile: Tile, pixel: int, block: int) -> int:
    return (pixel * tile.blocks + block) * tile.lanes
