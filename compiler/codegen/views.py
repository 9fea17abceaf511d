"""Where the elements of a tensor lie: every dimension as axes with strides. Moving data is arithmetic here.

A `View` describes a value by the memory of another one, its *root*. Reshape, Transpose, Slice, Split and
Expand become views that cost nothing, as long as whoever reads them can follow the strides; channel blocks
are one more such layout. The idea, nested shapes and strides, is that of CuTe's layouts (NVIDIA CUTLASS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ..graph import Node


@dataclass(frozen=True, slots=True)
class Axis:
    """`extent` steps of `stride` elements each."""

    extent: int
    stride: int


Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A tensor within the memory of `root`, row-major or in channel blocks: its first element, and the axes
    of each dimension, outermost first. A dimension of size 1 has none.
    """

    root: str
    blocked: bool
    offset: int
    dims: tuple[Axes, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(axis.extent for axis in axes) for axes in self.dims)

    @property
    def axes(self) -> Axes:
        """Of all dimensions, in the order in which the elements are counted."""
        return tuple(axis for axes in self.dims for axis in axes)

    @property
    def span(self) -> int:
        """Elements from the first to behind the last."""
        return 1 + sum((axis.extent - 1) * axis.stride for axis in self.axes)

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie one after another, in their order."""
        axes = coalesced(self.axes)
        return not axes or (len(axes) == 1 and axes[0].stride == 1)


def contiguous(root: str, shape: Sequence[int]) -> View:
    """A value in row-major order."""
    dims: list[Axes] = []
    stride = 1
    for extent in reversed(shape):
        dims.append((Axis(extent, stride),) if extent != 1 else ())
        stride *= extent
    return View(root, False, 0, tuple(reversed(dims)))


def in_blocks(root: str, shape: Sequence[int], lanes: int) -> View | None:
    """A (N, C, …) value in blocks of `lanes` channels; None if the last block would not be full."""
    batch, channels, *image = shape
    blocks, rest = divmod(channels, lanes)
    pixels = prod(image)
    if rest:
        return None if pixels > 1 or batch > 1 else replace(contiguous(root, shape), blocked=True)
    dims = [[Axis(batch, channels * pixels)], [Axis(blocks, pixels * lanes), Axis(lanes, 1)]]
    dims += [[Axis(extent, prod(image[place + 1 :]) * lanes)] for place, extent in enumerate(image)]
    return View(root, True, 0, tuple(tuple(axis for axis in axes if axis.extent > 1) for axes in dims))


def coalesced(axes: Iterable[Axis]) -> Axes:
    """The same elements in the same order with as few axes as possible."""
    found: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if found and found[-1].stride == axis.stride * axis.extent:
            found[-1] = Axis(found[-1].extent * axis.extent, axis.stride)
        else:
            found.append(axis)
    return tuple(found)


def split(axes: Axes, extents: Sequence[int]) -> list[Axes] | None:
    """Cuts a sequence of axes into parts of these numbers of elements; None where a cut does not divide."""
    rest = list(reversed(axes))
    parts: list[Axes] = []
    for extent in reversed(extents):
        part: list[Axis] = []
        while extent > 1:
            axis = rest.pop(0)
            inner = min(axis.extent, extent)
            if axis.extent % inner or extent % inner:
                return None
            part.append(Axis(inner, axis.stride))
            if axis.extent > inner:
                rest.insert(0, Axis(axis.extent // inner, axis.stride * inner))
            extent //= inner
        parts.append(tuple(reversed(part)))
    return list(reversed(parts))


def reshaped(view: View, shape: Sequence[int]) -> View | None:
    """The same elements counted in another way, if strides can say that."""
    parts = split(coalesced(view.axes), shape)
    return None if parts is None else replace(view, dims=tuple(parts))


def transposed(view: View, perm: Sequence[int]) -> View:
    return replace(view, dims=tuple(view.dims[axis] for axis in perm))


def expanded(view: View, shape: Sequence[int]) -> View:
    """Broadcast as numpy does: what is repeated has stride 0."""
    dims = ((),) * (len(shape) - len(view.dims)) + view.dims
    return replace(
        view,
        dims=tuple(
            axes or ((Axis(size, 0),) if size > 1 else ()) for axes, size in zip(dims, shape, strict=True)
        ),
    )


def sliced(view: View, axis: int, start: int, count: int, step: int = 1) -> View | None:
    """Elements start, start + step, … of one dimension; None if strides cannot say that."""
    axes = coalesced(view.dims[axis])
    if step < 1 or count < 1:
        return None
    if len(axes) > 1:
        # Several axes: only whole steps of the outermost.
        inner = prod(part.extent for part in axes[1:])
        if count == 1:
            return _element(view, axis, axes, start)
        if step != 1 or start % inner or count % inner:
            return None
        first, count = start // inner, count // inner
        kept = (Axis(count, axes[0].stride), *axes[1:])
        return _with_dim(view, axis, coalesced(kept), first * axes[0].stride)
    stride = axes[0].stride if axes else 0
    return _with_dim(view, axis, coalesced((Axis(count, stride * step),)), start * stride)


def _element(view: View, axis: int, axes: Axes, index: int) -> View:
    offset = 0
    for part in reversed(axes):
        index, position = divmod(index, part.extent)
        offset += position * part.stride
    return _with_dim(view, axis, (), offset)


def _with_dim(view: View, axis: int, axes: Axes, offset: int) -> View:
    dims = (*view.dims[:axis], axes, *view.dims[axis + 1 :])
    return replace(view, offset=view.offset + offset, dims=dims)


MOVES = frozenset({"Reshape", "Transpose", "Slice", "Split", "Expand"})


def moved(node: Node, view: View, output: int) -> View | None:
    """The `output`-th output of a node of `MOVES`, given its input; None if strides cannot say it."""
    a: Any = node.attributes
    match node.op:
        case "Reshape":
            return reshaped(view, a["shape"])
        case "Transpose":
            return transposed(view, a["perm"])
        case "Expand":
            return expanded(view, a["shape"])
        case "Split":
            return sliced(view, a["axis"], sum(a["split"][:output]), a["split"][output])
    found: View | None = view
    for start, end, axis, step in zip(a["starts"], a["ends"], a["axes"], a["steps"], strict=True):
        found = found and sliced(found, axis, start, len(range(start, end, step)), step)
    return found


def refined(lists: Sequence[Axes]) -> list[tuple[int, tuple[int, ...]]] | None:
    """Several tensors of one shape walked together: (extent, the stride in each), outermost first, neighbours
    joined where all allow it. None if their axes cut the elements differently.
    """
    pending = [list(coalesced(axes)) for axes in lists]
    loops: list[tuple[int, tuple[int, ...]]] = []
    while any(pending):
        extent = min(axes[-1].extent for axes in pending if axes)
        strides = []
        for axes in pending:
            if not axes:
                return None
            last = axes.pop()
            if last.extent % extent:
                return None
            strides.append(last.stride)
            if last.extent > extent:
                axes.append(Axis(last.extent // extent, last.stride * extent))
        loops.append((extent, tuple(strides)))
    return joined(loops[::-1])


def joined(loops: Sequence[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """Neighbouring loops that every tensor walks in step become one."""
    found: list[tuple[int, tuple[int, ...]]] = []
    for extent, strides in loops:
        if extent == 1:
            continue
        if found and all(outer == inner * extent for outer, inner in zip(found[-1][1], strides, strict=True)):
            found[-1] = (found[-1][0] * extent, strides)
        else:
            found.append((extent, strides))
    return found
