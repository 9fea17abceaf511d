"""Winograd convolution F(m × m, 3 × 3): fewer multiplications for windows of 3 × 3 that move by one pixel.

Matches: Conv2d workloads of that kind whose input is in channel blocks. Layouts: input and output
`[N][C/x][H][W][x]`, weights `[groups of blocks][(m+2)²][C/x][x][blocks][x]`, transformed when the model is
compiled. Parameters: `m`, the register tile, and how the work is cut into tasks.
Method: Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...target import Target
from .. import tile
from ..builder import Kernel
from ..toomcook import TAPS, matrices
from ..winograd import Config, Winograd, groups, tiles
from ..workload import Conv2d, ceil_div

_LEAST_TASKS = 4  # so that a few threads find work on a small map, too
# Transformed weights that no cache holds are worth their memory only where many tiles share them.
_LARGE_WEIGHTS, _MANY_TILES = 12 << 20, 32


def fits(work: Conv2d) -> bool:
    """Whether the workload is a 3 × 3 convolution that Winograd's method takes."""
    window = work.window
    return (
        window.kernel == (1, TAPS, TAPS)
        and window.strides == window.dilations == (1, 1, 1)
        and max(map(max, window.pads)) < TAPS
        and work.size[0] == 1
        and work.groups == 1
        and not work.plain_input
        and work.transposed is None
    )


def candidates(work: Conv2d, target: Target) -> list[Config]:
    """Configurations worth measuring, most promising first; none where the method does not fit."""
    if not fits(work) or work.in_channels < target.lanes:
        return []
    if target.multiplies_by_lane:
        shapes = sorted(tile.shapes(target), key=lambda shape: _busy(target, *shape))[:3]
    else:
        shapes = [(14, 2), (8, 3), (12, 2)] if target.vector_registers >= 32 else [(6, 2), (4, 3)]
    blocks = ceil_div(work.out_channels, target.lanes)
    found = []
    for m in (4, 6, 2):
        count = tiles(work, m)
        weights = 4 * (m + TAPS - 1) ** 2 * work.in_channels * work.out_channels
        if weights > _LARGE_WEIGHTS and count < _MANY_TILES:
            continue
        for pixels, width in shapes:
            pixels = min(pixels, count)
            repeat = 1 if pixels * 2 > count else 2
            for times in dict.fromkeys((1, repeat)):
                parts = min(ceil_div(blocks, width), ceil_div(_LEAST_TASKS, ceil_div(count, pixels * times)))
                found.append(Config(m, pixels, min(width, blocks), times, parts))
    ranked = sorted(dict.fromkeys(found), key=lambda config: _cost(work, config, target))
    best = list({config.m: config for config in reversed(ranked)}.values())[::-1]  # of each m
    return [*sorted(best, key=ranked.index), *(config for config in ranked if config not in best)][:6]


def advantage(work: Conv2d, config: Config, target: Target) -> float:
    """How many times quicker than the direct method, by a model of arithmetic and of reading weights."""
    _, rows, columns = work.out_size
    blocks = ceil_div(work.out_channels, target.lanes)
    taps = TAPS * TAPS * work.in_channels * blocks
    direct = max(work.batch * rows * columns * taps, taps * _read_cost(target))
    return direct / _cost(work, config, target)


def _read_cost(target: Target) -> float:
    """What reading a vector of weights from memory costs, in vector multiply-adds."""
    return target.vector_bytes / 2.0


def _busy(target: Target, pixels: int, blocks: int) -> float:
    """What a multiply-add costs with the loads beside it."""
    return tile.step_cost(target, pixels, blocks) / (pixels * blocks)


def _cost(work: Conv2d, config: Config, target: Target) -> float:
    """Relative time, in vector multiply-adds."""
    area = (config.m + TAPS - 1) ** 2
    in_blocks, blocks = (ceil_div(c, target.lanes) for c in (work.in_channels, work.out_channels))
    count = groups(work, config) * config.pixels * config.repeat
    busy = _busy(target, config.pixels, config.blocks)
    weights = area * work.in_channels * blocks
    products = max(count * weights * busy, weights * _read_cost(target))
    # Measured: what a transform takes for each position grows with the tile, which outgrows the registers.
    transforms = 0.25 * area * area * count * (in_blocks * config.parts + blocks)
    return products + transforms


def tasks(work: Conv2d, config: Config, target: Target) -> int:
    return groups(work, config) * config.parts


def pack(work: Conv2d, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """OIHW weights, transformed, in the order the kernel reads them; missing output channels are zero."""
    lanes = target.lanes
    g = np.array(matrices(config.m).weights, dtype=np.float64)
    transformed = np.einsum("ai,ocij,bj->oabc", g, weight.astype(np.float64), g, optimize=True)
    blocks = ceil_div(work.out_channels, lanes)
    n = config.m + TAPS - 1
    padded = np.zeros((blocks * lanes, n * n, work.in_channels), np.float32)
    padded[: work.out_channels] = transformed.reshape(work.out_channels, n * n, work.in_channels)
    blocked = padded.reshape(blocks, lanes, n * n, work.in_channels)
    pieces = [
        blocked[first : first + config.blocks].transpose(2, 3, 0, 1).ravel()
        for first in range(0, blocks, config.blocks)
    ]
    return np.concatenate(pieces)


def build(work: Conv2d, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: input, weights, [bias], operands of the epilogue, three of scratch, output."""
    return Winograd(work, config, target, symbol).function()
