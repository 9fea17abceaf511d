"""Views against numpy: whatever strides say, numpy says too, and what they cannot say is None."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from sanderling.compiler.codegen.strided import place_copy
from sanderling.compiler.codegen.views import (
    View,
    coalesced,
    contiguous,
    expanded,
    in_blocks,
    refined,
    reshaped,
    sliced,
    transposed,
)
from sanderling.compiler.codegen.workload import Map, Permute

Array = npt.NDArray[Any]


def _elements(view: View, memory: Array) -> Array:
    """What the view shows of the memory."""
    at = np.array(view.offset)
    for axis in view.axes:
        at = at[..., None] + np.arange(axis.extent) * axis.stride
    assert at.max(initial=0) < view.offset + view.span
    return np.asarray(memory.reshape(-1)[at].reshape(view.shape))


@st.composite
def _moves(draw: st.DrawFn) -> tuple[View, Array, Array]:
    """A view after some moves, the memory, and what numpy makes of it."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8]), min_size=1, max_size=4)))
    memory = np.arange(prod(shape))
    view: View | None = contiguous("x", shape)
    expected = memory.reshape(shape)
    for _ in range(draw(st.integers(0, 5))):
        assert view is not None
        kind = draw(st.sampled_from(["reshape", "transpose", "slice", "expand"]))
        if kind == "reshape":
            sizes: list[int] = []
            rest = expected.size
            while rest > 1:
                sizes.append(draw(st.sampled_from([d for d in range(2, rest + 1) if rest % d == 0])))
                rest //= sizes[-1]
            result, after = reshaped(view, sizes), expected.reshape(sizes)
        elif kind == "transpose":
            perm = draw(st.permutations(range(expected.ndim)))
            result, after = transposed(view, perm), expected.transpose(perm)
        elif kind == "slice" and expected.ndim:
            axis = draw(st.integers(0, expected.ndim - 1))
            start = draw(st.integers(0, expected.shape[axis] - 1))
            step = draw(st.integers(1, 3))
            count = draw(st.integers(1, -(-(expected.shape[axis] - start) // step)))
            chosen = range(start, start + count * step, step)
            result, after = sliced(view, axis, start, count, step), expected.take(list(chosen), axis)
        else:
            wider = (2, *(n if n > 1 else 3 for n in expected.shape))
            if prod(wider) > 4000:
                continue
            result, after = expanded(view, wider), np.broadcast_to(expected, wider)
        if result is not None:
            view, expected = result, after
    assert view is not None
    return view, memory, expected


@settings(max_examples=200, deadline=None)
@given(_moves())
def test_a_view_shows_what_numpy_makes(case: tuple[View, Array, Array]) -> None:
    view, memory, expected = case
    assert view.shape == expected.shape
    np.testing.assert_array_equal(_elements(view, memory), expected)
    joined = coalesced(view.axes)
    assert prod(axis.extent for axis in joined) == expected.size


@settings(max_examples=200, deadline=None)
@given(_moves())
def test_a_copy_visits_every_element_once(case: tuple[View, Array, Array]) -> None:
    view, memory, expected = case
    target = contiguous("y", expected.shape)
    placed = place_copy(view, target)
    assert placed is not None, "row-major order fits any other"
    work = placed.work
    if isinstance(work, Permute):
        extents = (*work.extents, work.columns, work.rows)
        source, output = (*work.source, 1, work.read_stride), (*work.output, work.write_stride, 1)
    else:
        assert isinstance(work, Map)
        extents, source, output = work.extents, work.source, work.output
    found = np.full(expected.size, -1)
    reads, writes = np.array(view.offset), np.array(0)
    for extent, read, write in zip(extents, source, output, strict=True):
        reads = reads[..., None] + np.arange(extent) * read
        writes = writes[..., None] + np.arange(extent) * write
    found[writes.reshape(-1)] = memory[reads.reshape(-1)]
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@given(
    st.integers(1, 3), st.integers(1, 4), st.sampled_from([4, 8, 16]), st.integers(1, 5), st.integers(1, 5)
)
def test_channel_blocks_are_a_view(batch: int, blocks: int, lanes: int, height: int, width: int) -> None:
    shape = (batch, blocks * lanes, height, width)
    x = np.arange(prod(shape)).reshape(shape)
    memory = x.reshape(batch, blocks, lanes, height, width).transpose(0, 1, 3, 4, 2).copy()
    view = in_blocks("x", shape, lanes)
    assert view is not None
    np.testing.assert_array_equal(_elements(view, memory), x)


def test_blocks_that_are_not_full_are_no_view() -> None:
    assert in_blocks("x", (1, 17, 3, 3), 16) is None
    assert in_blocks("x", (2, 17, 1, 1), 16) is None
    assert in_blocks("x", (1, 17, 1, 1), 16) is not None


def test_axes_that_cut_elements_differently_cannot_be_walked_together() -> None:
    x = transposed(contiguous("x", (4, 6)), (1, 0))
    y = transposed(contiguous("y", (6, 4)), (1, 0))
    flat = reshaped(x, (24,))
    other = reshaped(y, (24,))
    assert flat is not None
    assert other is not None
    assert refined([flat.axes, other.axes]) is None


def test_a_dimension_of_several_axes_is_sliced_in_whole_steps_only() -> None:
    blocks = in_blocks("x", (1, 32, 2, 2), 16)
    assert blocks is not None
    whole = sliced(blocks, 1, 16, 16)
    assert whole is not None
    assert whole.offset == 16 * 4
    assert sliced(blocks, 1, 8, 16) is None
    one = sliced(blocks, 1, 17, 1)
    assert one is not None
    assert one.offset == 16 * 4 + 1
