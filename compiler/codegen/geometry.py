"""The shape of a direct convolution: its tiles, its tasks, and the order of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..target import Target
from .segments import Axes, Columns, columns, window_axes
from .workload import Conv2d, Size, ceil_div

Order = Literal["row", "channel"]


@dataclass(frozen=True, slots=True)
class Config:
    """`pixels` × `blocks` accumulators. `first`: which task index is the slow one, "row" (input rows stay in
    cache) or "channel" (weights stay).
    """

    pixels: int
    blocks: int
    first: Order

    def __str__(self) -> str:
        return f"{self.pixels}x{self.blocks}.{self.first}"


@dataclass(frozen=True, slots=True)
class Geometry:
    """What follows from a workload, the lanes and the number of blocks in a tile.

    Attributes:
        size, out_size: of the image; a window of one pixel takes it as one row.
        axes, columns: of the window; several `columns` if it is transposed.
        inner, outer: channels of one group, input and output.
        blocks: vectors of a group's output channels; `out_blocks`, `in_blocks` of the whole tensors.
        parts: groups of blocks (what one tile computes) in a group of channels.
        step: channels in a block of the input.
        by_lane: whether the channels of a pixel are loaded as a vector, and each multiplied from there.
    """

    size: Size
    out_size: Size
    flat: bool
    axes: Axes
    columns: tuple[Columns, ...]
    inner: int
    outer: int
    blocks: int
    parts: int
    step: int
    in_blocks: int
    out_blocks: int
    by_lane: bool

    @property
    def rows(self) -> int:
        """Rows of the output, which are tasks unless the image is flat."""
        return self.out_size[0] * self.out_size[1]


def geometry(work: Conv2d, target: Target, blocks_in_tile: int) -> Geometry:
    lanes = target.lanes
    flat = work.window.is_point and work.transposed is None
    size = (1, 1, prod(work.size)) if flat else work.size
    out_size = size if flat else work.out_size
    inner, outer = work.in_channels // work.groups, work.out_channels // work.groups
    blocks = ceil_div(outer, lanes)
    step = 1 if work.plain_input else lanes
    axes = window_axes(work.window, size, work.transposed)
    return Geometry(
        size=size,
        out_size=out_size,
        flat=flat,
        axes=axes,
        columns=tuple(columns(axes[2])),
        inner=inner,
        outer=outer,
        blocks=blocks,
        parts=ceil_div(blocks, blocks_in_tile),
        step=step,
        in_blocks=ceil_div(work.in_channels, step),
        out_blocks=ceil_div(work.out_channels, lanes),
        by_lane=target.multiplies_by_lane
        and not work.plain_input
        and (work.groups == 1 or inner % step == 0),
    )


def pack(work: Conv2d, config: Config, target: Target, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ONNX's weights in the order the kernel reads them; missing output channels are zero."""
    lanes, shape = target.lanes, geometry(work, target, config.blocks)
    pieces: list[npt.NDArray[Any]] = [np.zeros(0, np.float32)]
    for taps in (taps for part in shape.columns for taps in part.taps):
        for group in range(work.groups):
            part = _of_group(work, shape, weight, group)[..., list(taps)]
            padded = np.zeros((shape.blocks * lanes, *part.shape[1:]), np.float32)
            padded[: shape.outer] = part
            blocked = padded.reshape(shape.blocks, lanes, *padded.shape[1:])
            first_channel = group * shape.inner
            # A block of input channels ends where it ends in the tensor, not where it would in the group.
            edges = [edge - first_channel for edge in range(0, work.in_channels, shape.step)]
            edges = [0, *(edge for edge in edges if 0 < edge < shape.inner), shape.inner]
            order = (3, 4, 5, 2, 0, 1) if shape.by_lane else (3, 4, 2, 5, 0, 1)
            for first in range(0, shape.blocks, config.blocks):
                tile = blocked[first : first + config.blocks]  # blocks, lanes, inner, depth, rows, columns
                pieces += [tile[:, :, begin:end].transpose(order).ravel() for begin, end in pairwise(edges)]
    return np.concatenate(pieces)


def _of_group(work: Conv2d, shape: Geometry, weight: npt.NDArray[Any], group: int) -> npt.NDArray[Any]:
    """Weights of a group as output channels, input channels, depth, rows, columns."""
    if work.transposed is None:
        part = weight[group * shape.outer : (group + 1) * shape.outer]
    else:
        part = weight[group * shape.inner : (group + 1) * shape.inner].swapaxes(0, 1)
    return part.reshape(*part.shape[:2], *work.window.kernel)
