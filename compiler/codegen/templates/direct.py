"""Direct convolution over one to three axes, plain or transposed.

Matches: Conv2d workloads. Layouts: input `[N][C/x][D][H][W][x]` or NCDHW, weights in reading order
(`geometry.pack`), output `[N][C/x][D][H][W][x]`. Parameters: `pixels` × `blocks` accumulators, and whether
tasks run over rows or over output channels first.
Method: Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD architectures" (SC
2018).

A window of one pixel is a matrix product over all pixels of the image, so rows may be cut anywhere: then an
image is one row of all its pixels, cut in tiles, a task each. A transposed convolution with stride s is s
plain ones of stride 1 along each axis, whose outputs interleave: no zeros are inserted or multiplied.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ...target import Target
from .. import geometry, tile
from ..builder import Kernel
from ..direct import Direct
from ..geometry import Config, Order
from ..workload import Conv2d, ceil_div


def candidates(work: Conv2d, target: Target) -> list[Config]:
    """Tiles that fit the registers and the image, most promising first."""
    width, blocks_in_group = _width(work, target), ceil_div(work.out_channels // work.groups, target.lanes)
    inner = work.in_channels // work.groups
    weights = work.groups * blocks_in_group * target.lanes * 4 * inner * work.window.taps
    # Weights that fill the second-level cache are better read once, with the rows as the inner loop.
    first: Order = "channel" if weights > target.l2_bytes // 2 else "row"
    second: Order = "row" if first == "channel" else "channel"
    tiles = {
        (min(pixels, width), min(blocks, blocks_in_group)): None for pixels, blocks in tile.shapes(target)
    }
    best = sorted(tiles, key=lambda shape: _cost(work, target, *shape))[:4]
    return [Config(*shape, first) for shape in best] + [Config(*shape, second) for shape in best[:2]]


def _width(work: Conv2d, target: Target) -> int:
    """Columns that lie side by side in a tile."""
    return max(part.count for part in geometry.geometry(work, target, 1).columns)


def _cost(work: Conv2d, target: Target, tile_pixels: int, tile_blocks: int) -> float:
    """Relative time by a simple model: loads beside multiply-adds, idle lanes, spilled registers."""
    blocks_in_group = ceil_div(work.out_channels // work.groups, target.lanes)
    groups, blocks_rest = divmod(blocks_in_group, tile_blocks)
    full, rest = divmod(_width(work, target), tile_pixels)
    steps = 0.0
    for pixels, columns in ((tile_pixels, full), (rest, int(rest > 0))):
        for blocks, count in ((tile_blocks, groups), (blocks_rest, int(blocks_rest > 0))):
            steps += columns * count * tile.step_cost(target, pixels, blocks)
    if target.multiplies_by_lane:
        return steps
    # Several taps in one loop body keep more vectors alive than the tile alone.
    alive = tile_pixels * tile_blocks + tile_blocks * (2 if work.window.kernel[2] > 1 else 1) + 1
    return steps * (1.0 + 0.1 * max(0, alive - target.vector_registers + 2))


def tasks(work: Conv2d, config: Config, target: Target) -> int:
    shape = geometry.geometry(work, target, config.blocks)
    rows = ceil_div(shape.out_size[2], config.pixels) if shape.flat else shape.rows
    return work.batch * work.groups * shape.parts * rows


def pack(work: Conv2d, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ONNX's weights in the order the kernel reads them."""
    return geometry.pack(work, config, target, weight)


def build(work: Conv2d, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""
    return Direct(work, config, target, symbol).function()
