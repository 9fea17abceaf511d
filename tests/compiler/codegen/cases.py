"""Random small graphs for every kernel template, as hypothesis strategies: shapes, windows, groups, odd
channel counts, epilogues.

`FAMILIES` is the table that the tests go through. A new template is a new row: a strategy of `Case`, which
makes a graph from a `Draw` (`Builder` helps), and the kinds of calls that may come out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from sanderling.compiler.graph import Graph, Node, TensorType

Draw = Callable[..., Any]
Shape = tuple[int, ...]

OPSET = 22
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 31, 32, 33, 40, 48)


@dataclass(frozen=True)
class Case:
    """A graph, and the first words of the calls that may be in its program. `feeds` is a seed."""

    graph: Graph
    kinds: frozenset[str]
    seed: int


class Builder:
    """A graph under construction; every method adds one node and returns its output's name."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.inputs: list[str] = []
        self.constants: dict[str, Any] = {}

    def input(self, shape: Sequence[int]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.types[name] = TensorType("float32", tuple(shape))
        return name

    def constant(self, shape: Sequence[int], scale: float = 1.0, offset: float = 0.0) -> str:
        name = f"k{len(self.constants)}"
        values = self.rng.standard_normal(tuple(shape)) * scale + offset
        self.constants[name] = np.asarray(values, np.float32)
        self.types[name] = TensorType("float32", tuple(shape))
        return name

    def node(self, op: str, inputs: Sequence[str], shape: Sequence[int], **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(Node(f"n{len(self.nodes)}", op, tuple(inputs), (output,), attributes))
        self.types[output] = TensorType("float32", tuple(shape))
        return output

    def shape(self, value: str) -> Shape:
        return self.types[value].shape

    def in_blocks(self, value: str) -> str:
        """The value itself, in channel blocks, because a pooling kernel wrote it."""
        rank = len(self.shape(value)) - 2
        window = {"kernel_shape": (1,) * rank, "strides": (1,) * rank, "pads": (0,) * 2 * rank}
        return self.node("MaxPool", (value,), self.shape(value), dilations=(1,) * rank, **window)

    def graph(self) -> Graph:
        return Graph(
            "test", tuple(self.nodes), tuple(self.inputs), self.nodes[-1].outputs,
            MappingProxyType(self.types), MappingProxyType(self.constants), OPSET,
        )  # fmt: skip


# --- epilogues ---------------------------------------------------------------------------------------------

ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "Relu": {}, "Clip": {"min": -0.5, "max": 1.5}, "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "HardSwish": {}, "LeakyRelu": {"alpha": 0.1}, "Sigmoid": {}, "Silu": {}, "Tanh": {}, "Erf": {},
    "Neg": {}, "Abs": {},
    "Gelu": {"approximate": "none"},
}  # fmt: skip
OPERANDS = ("scalar", "channel", "tensor", "channel_tensor")


def epilogue(draw: Draw, build: Builder, value: str, axis: int, operands: Sequence[str] = OPERANDS) -> None:
    """Up to three element-wise nodes after `value`, whose channels are `axis`."""
    shape = build.shape(value)
    per_channel = tuple(size if place == axis else 1 for place, size in enumerate(shape))
    if (
        draw(st.integers(0, 9)) == 0
    ):  # at most once and first, lest numbers grow; positive, so a root may follow
        value = build.node("Exp", (value,), shape)
        value = build.node("Sqrt", (value,), shape) if draw(st.booleans()) else value
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            op = draw(st.sampled_from(sorted(ACTIVATIONS)))
            value = build.node(op, (value,), shape, **ACTIVATIONS[op])
            continue
        op, kind = draw(st.sampled_from(("Add", "Sub", "Mul", "Max", "Min"))), draw(st.sampled_from(operands))
        other = {
            "scalar": lambda: build.constant(()),
            "channel": lambda: build.constant(per_channel),
            "tensor": lambda: build.input(shape),
            "channel_tensor": lambda: build.input((*shape[:2], *(1,) * (len(shape) - 2))),
        }[kind]()
        reverse = op == "Sub" and draw(st.booleans())
        value = build.node(op, (other, value) if reverse else (value, other), shape)


# --- windows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """ONNX's attributes, and the sizes that they are for."""

    sizes: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape

    @property
    def attributes(self) -> dict[str, Any]:
        return {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads}

    @property
    def extents(self) -> Shape:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def output(self) -> Shape:
        rank = len(self.sizes)
        return tuple(
            (size + self.pads[axis] + self.pads[axis + rank] - extent) // stride + 1
            for axis, (size, extent, stride) in enumerate(
                zip(self.sizes, self.extents, self.strides, strict=True)
            )
        )


def window(draw: Draw, *, largest_pad: Callable[[int, int], int]) -> Window:
    """One to three axes. `largest_pad`: of the kernel and the dilation along one axis."""
    rank = draw(st.sampled_from((2, 2, 2, 1, 3)))
    extra = (40, 14, 5)[rank - 1]
    axes = []
    for _ in range(rank):
        kernel = draw(st.sampled_from((1, 3, 2, 3, 5, 4, 7) if rank < 3 else (1, 3, 2)))
        stride, dilation = draw(st.sampled_from((1, 1, 2, 3))), draw(st.sampled_from((1, 1, 1, 2, 3)))
        most = largest_pad(kernel, dilation)
        before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
        least = max(1, (kernel - 1) * dilation + 1 - before - after)
        axes.append((draw(st.integers(least, least + extra)), kernel, stride, dilation, before, after))
    sizes, kernels, strides, dilations, before_, after_ = zip(*axes, strict=True)
    return Window(sizes, kernels, strides, dilations, before_ + after_)


def _start(draw: Draw, most: int = 48) -> tuple[Builder, int, int]:
    """A builder, a batch and a number of channels."""
    build = Builder(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([count for count in CHANNELS if count <= most]))
    return build, draw(st.sampled_from((1, 1, 1, 2, 3))), channels


def _case(draw: Draw, build: Builder, *kinds: str) -> Case:
    return Case(
        build.graph(), frozenset({"relayout", "copy", "pool", *kinds}), draw(st.integers(0, 2**32 - 1))
    )


def _source(draw: Draw, build: Builder, shape: Shape) -> str:
    source = build.input(shape)
    return build.in_blocks(source) if draw(st.booleans()) else source


def _weights(draw: Draw, build: Builder, shape: Shape, reads: int, outputs: int) -> tuple[str, str]:
    """Weights that keep the size of numbers, with `reads` products in a sum, and a bias or none."""
    bias = build.constant((outputs,)) if draw(st.booleans()) else ""
    return build.constant(shape, 1.0 / np.sqrt(reads)), bias


@st.composite
def convolutions(draw: Draw, *, narrow: bool = False) -> Case:
    """`narrow`: groups of a few channels, as in depthwise convolution."""
    build, batch, outer = _start(draw)
    if narrow:
        inner, outer = draw(
            st.sampled_from(((1, 1), (1, 1), (1, 2), (1, 3), (2, 1), (4, 4), (8, 8), (3, 2), (8, 4)))
        )
        groups = draw(st.integers(1, 40 // max(inner, outer)))
    else:
        groups = draw(st.sampled_from((1, 1, 1, 1, 2, 3)))
        inner = draw(st.sampled_from(CHANNELS))
    field = window(draw, largest_pad=lambda kernel, dilation: (kernel - 1) * dilation + 1)
    assume(groups * inner * prod(field.sizes) * outer * prod(field.kernel) < 20_000_000)
    source = _source(draw, build, (batch, groups * inner, *field.sizes))
    shape = (groups * outer, inner, *field.kernel)
    weights, bias = _weights(draw, build, shape, inner * prod(field.kernel), groups * outer)
    value = build.node(
        "Conv", (source, weights, bias), (batch, groups * outer, *field.output),
        dilations=field.dilations, group=groups, **field.attributes,
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return _case(draw, build, "conv2d", "depthwise")


@st.composite
def transposed_convolutions(draw: Draw) -> Case:
    build, batch, outer = _start(draw, 33)
    groups = draw(st.sampled_from((1, 1, 2, 5)))
    inner = draw(st.sampled_from((1, 2, 4, 8, 17, 24)))
    outer = draw(st.sampled_from((1, 4, 6, 20))) if groups > 1 else outer
    field = window(draw, largest_pad=lambda kernel, dilation: (kernel - 1) * dilation)
    more = tuple(draw(st.integers(0, stride - 1)) for stride in field.strides)
    rank = len(field.sizes)
    output = tuple(
        field.strides[a] * (field.sizes[a] - 1) + more[a] + field.extents[a]
        - field.pads[a] - field.pads[a + rank]
        for a in range(rank)
    )  # fmt: skip
    assume(min(output) > 0 and prod(output) < 20_000)
    source = _source(draw, build, (batch, groups * inner, *field.sizes))
    shape = (groups * inner, outer, *field.kernel)
    weights, bias = _weights(draw, build, shape, inner * prod(field.kernel), groups * outer)
    value = build.node(
        "ConvTranspose", (source, weights, bias), (batch, groups * outer, *output),
        dilations=field.dilations, group=groups, output_padding=more, **field.attributes,
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return _case(draw, build, "conv2d", "depthwise")


@st.composite
def pools(draw: Draw) -> Case:
    build, batch, channels = _start(draw)
    op = draw(st.sampled_from(("MaxPool", "AveragePool")))
    field = window(draw, largest_pad=lambda kernel, dilation: kernel - 1)
    # ONNX Runtime refuses windows that are all padding; a dilated one can be that between two taps.
    assume(all(_each_reads(field, axis) for axis in range(len(field.sizes))))
    source = _source(draw, build, (batch, channels, *field.sizes))
    extra = {"count_include_pad": draw(st.integers(0, 1))} if op == "AveragePool" else {}
    shape = (batch, channels, *field.output)
    value = build.node(op, (source,), shape, dilations=field.dilations, **field.attributes, **extra)
    epilogue(draw, build, value, 1)
    return _case(draw, build)


def _each_reads(field: Window, axis: int) -> bool:
    def reads(place: int) -> bool:
        first = place * field.strides[axis] - field.pads[axis]
        taps = range(field.kernel[axis])
        return any(0 <= first + tap * field.dilations[axis] < field.sizes[axis] for tap in taps)

    return all(map(reads, range(field.output[axis])))


@st.composite
def global_pools(draw: Draw) -> Case:
    build, batch, channels = _start(draw)
    sizes = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    source = _source(draw, build, (batch, channels, *sizes))
    op = draw(st.sampled_from(("GlobalAveragePool", "GlobalMaxPool")))
    value = build.node(op, (source,), (batch, channels, *(1,) * len(sizes)))
    epilogue(draw, build, value, 1, ("scalar", "channel", "tensor"))
    return _case(draw, build, "global_pool")


@st.composite
def products(draw: Draw) -> Case:
    """Matrix products with constant weights."""
    build, _, columns = _start(draw)
    inner = draw(st.integers(1, 70))
    rows = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    source = build.input((*rows, inner))
    weights, bias = _weights(draw, build, (inner, columns), inner, columns)
    value = build.node("Dense", (source, weights, bias), (*rows, columns))
    epilogue(draw, build, value, len(rows), ("scalar", "channel", "tensor"))
    return _case(draw, build, "dense")


@st.composite
def chains(draw: Draw) -> Case:
    """Element-wise nodes without an anchor."""
    build, batch, channels = _start(draw)
    sizes = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=2)))
    source = _source(draw, build, (batch, channels, *sizes))
    value = build.node("Relu", (source,), build.shape(source))
    epilogue(draw, build, value, 1)
    return _case(draw, build, "elementwise")


@st.composite
def upsamplings(draw: Draw) -> Case:
    build, batch, channels = _start(draw)
    height, width, rows, columns = (draw(st.integers(1, most)) for most in (6, 6, 3, 3))
    source = build.in_blocks(build.input((batch, channels, height, width)))
    value = build.node(
        "Resize", (source,), (batch, channels, height * rows, width * columns),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor", antialias=0,
        cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, roi=(),
        scales=(1.0, 1.0, float(rows), float(columns)),
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return _case(draw, build, "upsample")


FAMILIES: Mapping[str, st.SearchStrategy[Case]] = {
    "convolutions": convolutions(),
    "convolutions in narrow groups": convolutions(narrow=True),
    "transposed convolutions": transposed_convolutions(),
    "pools": pools(),
    "global pools": global_pools(),
    "products": products(),
    "chains": chains(),
    "upsamplings": upsamplings(),
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


ENDS: Mapping[str, Callable[[Builder], None]] = {
    "a convolution of rows": _from_rows,
    "channel blocks, the last not full": _pool,
    "whole channel blocks": _squares,
    "a matrix product": _product,
    "element-wise nodes": _chain,
}
"""Graphs whose inputs and outputs are touched by one template or two. A template that reads or writes the
caller's arrays needs a row.
"""


def ends(name: str) -> Graph:
    build = Builder(7)
    ENDS[name](build)
    return build.graph()
