"""Random small graphs for the templates without a window, and the table of all.

`FAMILIES` is what the tests go through. A new template is a new row: a strategy of `Case`, which makes a
graph from a `Draw` (`Builder` helps), and the kinds of calls that may come out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from hypothesis import assume
from hypothesis import strategies as st

from sanderling.compiler.graph import Graph

from .cases import (
    CHANNELS,
    Builder,
    Case,
    Draw,
    case,
    convolutions,
    epilogue,
    global_pools,
    pools,
    source_of,
    square_windows,
    start,
    transposed_convolutions,
    weights_of,
)


@st.composite
def products(draw: Draw) -> Case:
    """Matrix products with constant weights."""
    build, _, columns = start(draw)
    inner = draw(st.integers(1, 70))
    rows = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    source = build.input((*rows, inner))
    weights, bias = weights_of(draw, build, (inner, columns), inner, columns)
    value = build.node("Dense", (source, weights, bias), (*rows, columns))
    epilogue(draw, build, value, len(rows), ("scalar", "channel", "tensor"))
    return case(draw, build, "dense")


@st.composite
def chains(draw: Draw) -> Case:
    """Element-wise nodes without an anchor."""
    build, batch, channels = start(draw)
    sizes = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=2)))
    source = source_of(draw, build, (batch, channels, *sizes))
    value = build.node("Relu", (source,), build.shape(source))
    epilogue(draw, build, value, 1)
    return case(draw, build, "elementwise")


@st.composite
def upsamplings(draw: Draw) -> Case:
    build, batch, channels = start(draw)
    height, width, rows, columns = (draw(st.integers(1, most)) for most in (6, 6, 3, 3))
    source = build.in_blocks(build.input((batch, channels, height, width)))
    value = build.node(
        "Resize", (source,), (batch, channels, height * rows, width * columns),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor", antialias=0,
        cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, roi=(),
        scales=(1.0, 1.0, float(rows), float(columns)),
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return case(draw, build, "upsample")


def _turned(build: Builder, value: str) -> str:
    """With the last two axes exchanged."""
    *batch, rows, columns = build.shape(value)
    perm = (*range(len(batch)), len(batch) + 1, len(batch))
    return build.node("Transpose", (value,), (*batch, columns, rows), perm=perm)


@st.composite
def variable_products(draw: Draw) -> Case:
    """Matrix products of two inputs, the second one plain or turned, batches broadcast."""
    build, _, columns = start(draw)
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    rows, inner = draw(st.integers(1, 40)), draw(st.integers(1, 50))
    shared = tuple(size if draw(st.booleans()) else 1 for size in batch)
    first = build.input((*batch, rows, inner))
    turned = draw(st.booleans())
    second = build.input((*shared, *((columns, inner) if turned else (inner, columns))))
    value = build.node(
        "MatMul", (first, _turned(build, second) if turned else second), (*batch, rows, columns)
    )
    epilogue(draw, build, value, len(batch) + 1, ("scalar", "channel", "tensor"))
    return case(draw, build, "matmul")


@st.composite
def attentions(draw: Draw) -> Case:
    build = Builder(draw(st.integers(0, 2**32 - 1)))
    batch = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    queries, inner, keys, width = (draw(st.integers(1, most)) for most in (40, 40, 70, 40))
    scores = (*batch, queries, keys)
    value = build.node(
        "MatMul",
        (build.input((*batch, queries, inner)), _turned(build, build.input((*batch, keys, inner)))),
        scores,
    )
    if draw(st.booleans()):
        value = build.node("Mul", (value, build.constant((), 0.3)), scores)
    if draw(st.booleans()):
        value = build.node("Add", (value, build.input((queries, keys))), scores)
    value = build.node("Softmax", (value,), scores, axis=len(scores) - 1)
    build.node("MatMul", (value, build.input((*batch, keys, width))), (*batch, queries, width))
    return case(draw, build, "attention", "matmul", "rows", "elementwise")


@st.composite
def normalisations(draw: Draw) -> Case:
    """Softmax along any axis, and layer normalisation over the last ones."""
    build = Builder(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.lists(st.integers(1, 24), min_size=1, max_size=4)))
    assume(prod(shape) < 20_000)
    source, axis = build.input(shape), draw(st.integers(0, len(shape) - 1))
    if draw(st.booleans()):
        build.node("Softmax", (source,), shape, axis=axis)
    else:
        assume(prod(shape[axis:]) > 1)  # one value less itself is nothing but rounding
        offset = build.constant(shape[axis:]) if draw(st.booleans()) else ""
        inputs = (source, build.constant(shape[axis:]), offset)
        build.node("LayerNormalization", inputs, shape, axis=axis, epsilon=1e-3)
    return case(draw, build, "rows", "columns", "elementwise")


@st.composite
def moves(draw: Draw) -> Case:
    """What only moves data: axes exchanged, parts cut out, and more of the same."""
    build = Builder(draw(st.integers(0, 2**32 - 1)))
    value = build.input(tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))))
    for _ in range(draw(st.integers(1, 3))):
        shape = build.shape(value)
        if draw(st.booleans()):
            perm = tuple(draw(st.permutations(range(len(shape)))))
            value = build.node("Transpose", (value,), tuple(shape[axis] for axis in perm), perm=perm)
            continue
        axis = draw(st.integers(0, len(shape) - 1))
        start, step = draw(st.integers(0, shape[axis] - 1)), draw(st.integers(1, 3))
        end = draw(st.integers(start + 1, shape[axis]))
        cut = (*shape[:axis], len(range(start, end, step)), *shape[axis + 1 :])
        marks = {"starts": (start,), "ends": (end,), "axes": (axis,), "steps": (step,)}
        value = build.node("Slice", (value,), cut, **marks)
    return case(draw, build)


@st.composite
def regroupings(draw: Draw) -> Case:
    """Channels of several values put together, shuffled, and cut: in blocks of channels."""
    build, batch, _ = start(draw)
    sizes = tuple(draw(st.integers(1, 6)) for _ in range(2))
    parts = draw(st.lists(st.sampled_from(CHANNELS), min_size=2, max_size=3))
    values = [build.in_blocks(build.input((batch, count, *sizes))) for count in parts]
    count = sum(parts)
    value = build.node("Concat", values, (batch, count, *sizes), axis=1)
    groups = draw(st.sampled_from([n for n in (1, 2, 3, 4) if count % n == 0]))
    if groups > 1:
        apart, swapped = (batch, groups, count // groups, *sizes), (batch, count // groups, groups, *sizes)
        value = build.node("Reshape", (value,), apart, shape=apart)
        value = build.node("Transpose", (value,), swapped, perm=(0, 2, 1, 3, 4))
        value = build.node("Reshape", (value,), (batch, count, *sizes), shape=(batch, count, *sizes))
    build.in_blocks(value)
    return case(draw, build, "regroup")


FAMILIES: Mapping[str, st.SearchStrategy[Case]] = {
    "convolutions": convolutions(),
    "convolutions with square windows": square_windows(),
    "convolutions in narrow groups": convolutions(narrow=True),
    "transposed convolutions": transposed_convolutions(),
    "pools": pools(),
    "global pools": global_pools(),
    "products": products(),
    "chains": chains(),
    "upsamplings": upsamplings(),
    "variable products": variable_products(),
    "attentions": attentions(),
    "normalisations": normalisations(),
    "moves": moves(),
    "regroupings": regroupings(),
}


# --- what touches a graph's inputs and outputs -------------------------------------------------------------


def _from_rows(build: Builder) -> None:
    source = build.input((1, 3, 9, 11))
    attributes = {
        "kernel_shape": (3, 3),
        "strides": (2, 2),
        "pads": (1,) * 4,
        "dilations": (1, 1),
        "group": 1,
    }
    build.node("Conv", (source, build.constant((21, 3, 3, 3)), ""), (1, 21, 5, 6), **attributes)


def _pool(build: Builder) -> None:
    build.in_blocks(build.input((2, 21, 3, 5)))


def _squares(build: Builder) -> None:
    build.in_blocks(build.input((1, 32, 5, 7)))


def _product(build: Builder) -> None:
    source = build.input((5, 13))
    build.node("Dense", (source, build.constant((13, 37)), ""), (5, 37))


def _chain(build: Builder) -> None:
    first, second = build.input((3, 41)), build.input((3, 41))
    value = build.node("Add", (first, second), (3, 41))
    build.node("Relu", (value,), (3, 41))


def _variable_product(build: Builder) -> None:
    build.node("MatMul", (build.input((2, 5, 13)), build.input((2, 13, 37))), (2, 5, 37))


def _attention(build: Builder) -> None:
    scores, shapes = (2, 5, 19), ((2, 5, 13), (2, 19, 13), (2, 19, 21))
    query, key, value = map(build.input, shapes)
    weights = build.node("MatMul", (query, _turned(build, key)), scores)
    weights = build.node("Softmax", (weights,), scores, axis=2)
    build.node("MatMul", (weights, value), (2, 5, 21))


def _rows(build: Builder) -> None:
    build.node("Softmax", (build.input((5, 37)),), (5, 37), axis=1)


def _columns(build: Builder) -> None:
    build.node("Softmax", (build.input((2, 5, 37)),), (2, 5, 37), axis=1)


def _move(build: Builder) -> None:
    build.node("Transpose", (build.input((3, 5, 37)),), (37, 3, 5), perm=(2, 0, 1))


ENDS: Mapping[str, Callable[[Builder], None]] = {
    "a convolution of rows": _from_rows,
    "channel blocks, the last not full": _pool,
    "whole channel blocks": _squares,
    "a matrix product": _product,
    "element-wise nodes": _chain,
    "a product of two inputs": _variable_product,
    "attention": _attention,
    "softmax of rows": _rows,
    "softmax of columns": _columns,
    "exchanged axes": _move,
}
"""Graphs whose inputs and outputs are touched by one template or two. A template that reads or writes the
caller's arrays needs a row.
"""


def ends(name: str) -> Graph:
    build = Builder(7)
    ENDS[name](build)
    return build.graph()
