"""Random small graphs for the templates that have a window, as hypothesis strategies: shapes, windows,
groups, odd channel counts, epilogues. `families.py` has the others, and the table.
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

    def node(self, op: str, inputs: Sequence[str], shape: Sequence[int], /, **attributes: Any) -> str:
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


def start(draw: Draw, most: int = 48) -> tuple[Builder, int, int]:
    """A builder, a batch and a number of channels."""
    build = Builder(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([count for count in CHANNELS if count <= most]))
    return build, draw(st.sampled_from((1, 1, 1, 2, 3))), channels


def case(draw: Draw, build: Builder, *kinds: str) -> Case:
    return Case(
        build.graph(), frozenset({"relayout", "copy", "pool", *kinds}), draw(st.integers(0, 2**32 - 1))
    )


def source_of(draw: Draw, build: Builder, shape: Shape) -> str:
    source = build.input(shape)
    return build.in_blocks(source) if draw(st.booleans()) else source


def weights_of(draw: Draw, build: Builder, shape: Shape, reads: int, outputs: int) -> tuple[str, str]:
    """Weights that keep the size of numbers, with `reads` products in a sum, and a bias or none."""
    bias = build.constant((outputs,)) if draw(st.booleans()) else ""
    return build.constant(shape, 1.0 / np.sqrt(reads)), bias


@st.composite
def convolutions(draw: Draw, *, narrow: bool = False) -> Case:
    """`narrow`: groups of a few channels, as in depthwise convolution."""
    build, batch, outer = start(draw)
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
    source = source_of(draw, build, (batch, groups * inner, *field.sizes))
    shape = (groups * outer, inner, *field.kernel)
    weights, bias = weights_of(draw, build, shape, inner * prod(field.kernel), groups * outer)
    value = build.node(
        "Conv", (source, weights, bias), (batch, groups * outer, *field.output),
        dilations=field.dilations, group=groups, **field.attributes,
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return case(draw, build, "conv2d", "depthwise")


@st.composite
def transposed_convolutions(draw: Draw) -> Case:
    build, batch, outer = start(draw, 33)
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
    source = source_of(draw, build, (batch, groups * inner, *field.sizes))
    shape = (groups * inner, outer, *field.kernel)
    weights, bias = weights_of(draw, build, shape, inner * prod(field.kernel), groups * outer)
    value = build.node(
        "ConvTranspose", (source, weights, bias), (batch, groups * outer, *output),
        dilations=field.dilations, group=groups, output_padding=more, **field.attributes,
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return case(draw, build, "conv2d", "depthwise")


@st.composite
def pools(draw: Draw) -> Case:
    build, batch, channels = start(draw)
    op = draw(st.sampled_from(("MaxPool", "AveragePool")))
    field = window(draw, largest_pad=lambda kernel, dilation: kernel - 1)
    # ONNX Runtime refuses windows that are all padding; a dilated one can be that between two taps.
    assume(all(_each_reads(field, axis) for axis in range(len(field.sizes))))
    source = source_of(draw, build, (batch, channels, *field.sizes))
    extra = {"count_include_pad": draw(st.integers(0, 1))} if op == "AveragePool" else {}
    shape = (batch, channels, *field.output)
    value = build.node(op, (source,), shape, dilations=field.dilations, **field.attributes, **extra)
    epilogue(draw, build, value, 1)
    return case(draw, build)


def _each_reads(field: Window, axis: int) -> bool:
    def reads(place: int) -> bool:
        first = place * field.strides[axis] - field.pads[axis]
        taps = range(field.kernel[axis])
        return any(0 <= first + tap * field.dilations[axis] < field.sizes[axis] for tap in taps)

    return all(map(reads, range(field.output[axis])))


@st.composite
def global_pools(draw: Draw) -> Case:
    build, batch, channels = start(draw)
    sizes = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    source = source_of(draw, build, (batch, channels, *sizes))
    op = draw(st.sampled_from(("GlobalAveragePool", "GlobalMaxPool")))
    value = build.node(op, (source,), (batch, channels, *(1,) * len(sizes)))
    epilogue(draw, build, value, 1, ("scalar", "channel", "tensor"))
    return case(draw, build, "global_pool")


@st.composite
def square_windows(draw: Draw) -> Case:
    """Convolutions that Winograd's method takes."""
    build, batch, outer = start(draw)
    inner = draw(st.sampled_from((8, 16, 17, 24, 31, 40)))
    height, width = (draw(st.integers(3, 19)) for _ in range(2))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    source = build.in_blocks(build.input((batch, inner, height, width)))
    weights, bias = weights_of(draw, build, (outer, inner, 3, 3), 9 * inner, outer)
    value = build.node(
        "Conv", (source, weights, bias),
        (batch, outer, height + pads[0] + pads[2] - 2, width + pads[1] + pads[3] - 2),
        kernel_shape=(3, 3), strides=(1, 1), dilations=(1, 1), pads=pads, group=1,
    )  # fmt: skip
    epilogue(draw, build, value, 1)
    return case(draw, build, "conv2d")
