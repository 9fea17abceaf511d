"""Every template against ONNX Runtime: odd channel counts, edges, strides, epilogues, on each target."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanderling.compiler.codegen.segments import columns, segments, window_axes
from sanderling.compiler.codegen.templates import dense
from sanderling.compiler.codegen.workload import Dense, Window, spatial
from sanderling.compiler.graph import Graph, Node
from sanderling.compiler.target import Target

from .conftest import Check, make_graph

F32 = npt.NDArray[np.float32]


def _random(*shape: int, seed: int = 1) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _conv(
    shape: tuple[int, int, int, int],
    out_channels: int,
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    bias: bool = True,
    first: str = "",
) -> Graph:
    """A convolution; `first` is an operator before it, so that its input comes in channel blocks."""
    window = Window.of(kernel, strides, pads, dilations)
    out = (shape[0], out_channels, *window.output(spatial(shape[2:]))[1:])
    constants = {"w": _random(out_channels, shape[1] // group, *kernel)}
    if bias:
        constants["b"] = _random(out_channels, seed=2)
    nodes = []
    shapes: dict[str, Any] = {"y": out}
    source = "x"
    if first:
        point = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
        constants["first"] = _random(shape[1], shape[1], 1, 1, seed=3) / np.float32(shape[1])
        nodes.append(Node("first", "Conv", ("x", "first", ""), ("z",), point))
        shapes["z"], source = shape, "z"
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "group": group,
    }
    nodes.append(Node("conv", "Conv", (source, "w", "b" if bias else ""), ("y",), attributes))
    return make_graph(nodes, {"x": _random(*shape)}, constants, shapes)


CONVOLUTIONS = {
    "3x3": _conv((1, 16, 9, 11), 32, (3, 3), pads=(1, 1, 1, 1), first="Conv"),
    "3x3 from rows": _conv((1, 3, 13, 12), 8, (3, 3), (2, 2), (1, 1, 1, 1)),
    "7x7 stride 2, from rows": _conv((1, 3, 31, 30), 40, (7, 7), (2, 2), (3, 3, 3, 3)),
    "odd channels": _conv((1, 13, 7, 7), 21, (3, 3), pads=(1, 1, 1, 1), first="Conv"),
    "no bias, no pads": _conv((1, 16, 8, 8), 16, (3, 3), bias=False, first="Conv"),
    "uneven pads": _conv((1, 8, 9, 9), 16, (3, 3), (2, 2), (0, 0, 1, 1), first="Conv"),
    "dilated": _conv((1, 16, 15, 15), 16, (3, 3), pads=(2, 2, 2, 2), dilations=(2, 2), first="Conv"),
    "dilated past the image": _conv(
        (1, 16, 5, 5), 16, (3, 3), pads=(6, 6, 6, 6), dilations=(6, 6), first="Conv"
    ),
    "1x7": _conv((1, 16, 8, 17), 24, (1, 7), pads=(0, 3, 0, 3), first="Conv"),
    "7x1": _conv((1, 16, 17, 8), 24, (7, 1), pads=(3, 0, 3, 0), first="Conv"),
    "5x3 stride 1x2": _conv((1, 16, 10, 12), 16, (5, 3), (1, 2), (2, 1, 2, 1), first="Conv"),
    "batch": _conv((3, 16, 6, 7), 24, (3, 3), pads=(1, 1, 1, 1), first="Conv"),
    "point": _conv((1, 40, 9, 7), 56, (1, 1), first="Conv"),
    "point, one pixel": _conv((1, 48, 1, 1), 33, (1, 1), first="Conv"),
    "point, batch": _conv((2, 20, 5, 5), 17, (1, 1), first="Conv"),
    "point with stride": _conv((1, 32, 9, 9), 64, (1, 1), (2, 2), first="Conv"),
    "point with pads": _conv((1, 16, 5, 5), 16, (1, 1), pads=(1, 1, 1, 1), first="Conv"),
    "groups": _conv((1, 32, 7, 7), 32, (3, 3), pads=(1, 1, 1, 1), group=2, first="Conv"),
    "groups, batch, wider": _conv((2, 32, 5, 5), 96, (3, 3), (2, 2), (1, 1, 1, 1), group=2, first="Conv"),
    "groups of 20": _conv((1, 60, 6, 7), 60, (3, 3), pads=(1, 1, 1, 1), group=3, first="Conv"),
    "groups of 24, batch": _conv((2, 72, 6, 5), 72, (3, 3), (2, 2), (1, 1, 1, 1), group=3, first="Conv"),
    "groups of 17 and 25": _conv((1, 34, 5, 5), 50, (1, 1), group=2, first="Conv"),
    "many blocks": _conv((1, 16, 4, 4), 208, (3, 3), pads=(1, 1, 1, 1), first="Conv"),
    "wide rows": _conv((1, 8, 3, 61), 16, (3, 3), pads=(1, 1, 1, 1), first="Conv"),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_agrees_with_onnxruntime(name: str, check: Check) -> None:
    check(CONVOLUTIONS[name], only="conv2d")


DEPTHWISE = {
    "3x3": _conv((1, 32, 9, 9), 32, (3, 3), pads=(1, 1, 1, 1), group=32, first="Conv"),
    "3x3 stride 2": _conv((1, 24, 14, 15), 24, (3, 3), (2, 2), (1, 1, 1, 1), group=24, first="Conv"),
    "5x5, batch": _conv((2, 20, 9, 8), 20, (5, 5), pads=(2, 2, 2, 2), group=20, first="Conv"),
    "dilated": _conv(
        (1, 16, 11, 11), 16, (3, 3), pads=(2, 2, 2, 2), dilations=(2, 2), group=16, first="Conv"
    ),
    "no pads": _conv((1, 7, 6, 6), 7, (3, 3), group=7, bias=False, first="Conv"),
    "multiplier 3": _conv((2, 10, 6, 7), 30, (3, 3), pads=(1, 1, 1, 1), group=10, first="Conv"),
    "groups of 4": _conv((1, 20, 6, 7), 20, (3, 3), pads=(1, 1, 1, 1), group=5, first="Conv"),
    "groups of 8 to 4": _conv((1, 16, 6, 7), 8, (3, 3), pads=(1, 1, 1, 1), group=2, first="Conv"),
    "from rows": _conv((1, 19, 8, 8), 19, (3, 3), pads=(1, 1, 1, 1), group=19),
}


@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_agrees_with_onnxruntime(name: str, check: Check) -> None:
    check(DEPTHWISE[name], only="depthwise conv2d")


@pytest.mark.parametrize(
    "graph",
    [CONVOLUTIONS["odd channels"], CONVOLUTIONS["point"], DEPTHWISE["3x3 stride 2"]],
    ids=["conv2d", "point", "depthwise"],
)
def test_every_candidate_gives_the_right_answer(graph: Graph, check: Check, target: Target) -> None:
    for index in range(8):
        used = []

        def choose(works: Any, index: int = index, used: list[int] = used) -> Any:
            configs = {key: module.candidates(work, target) for key, (work, module) in works.items()}
            used.extend(len(found) for found in configs.values())
            return {key: found[index % len(found)] for key, found in configs.items()}

        check(graph, choose=choose)
        if index + 1 >= max(used):
            break


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(1, 64, 10), (1, 37, 1000), (5, 16, 33), (13, 24, 16), (50, 8, 7)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_dense_agrees_with_onnxruntime(rows: int, inner: int, columns: int, bias: bool, check: Check) -> None:
    constants = {"w": _random(inner, columns), **({"b": _random(columns, seed=2)} if bias else {})}
    node = Node("dense", "Dense", ("x", "w", "b" if bias else ""), ("y",))
    check(make_graph([node], {"x": _random(rows, inner)}, constants, {"y": (rows, columns)}), only="dense")


def test_packed_dense_weights_are_padded_with_zeros(target: Target) -> None:
    work = Dense(3, 4, 9, False, ())
    for config in dense.candidates(work, target):
        packed = dense.pack(work, config, target, np.ones((4, 9), np.float32))
        assert packed.size == 4 * -(-9 // target.lanes) * target.lanes
        assert packed.sum() == 36


POOLS = {
    "max 3x3 stride 2": ("MaxPool", (3, 3), (2, 2), (1, 1, 1, 1), 0),
    "max 2x2": ("MaxPool", (2, 2), (2, 2), (0, 0, 0, 0), 0),
    "average, pads left out": ("AveragePool", (3, 3), (1, 1), (1, 1, 1, 1), 0),
    "average, pads counted": ("AveragePool", (3, 3), (2, 2), (1, 1, 1, 1), 1),
    "average 2x3, uneven pads": ("AveragePool", (2, 3), (2, 1), (0, 1, 1, 0), 0),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("channels", [16, 21])
def test_pooling_agrees_with_onnxruntime(name: str, channels: int, check: Check) -> None:
    op, kernel, strides, pads, count = POOLS[name]
    graph = _conv((2, channels, 11, 10), channels, (1, 1))
    window = Window.of(kernel, strides, pads)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": 0}
    attributes |= {"dilations": (1, 1)} if op == "MaxPool" else {"count_include_pad": count}
    pooled = Node("pool", op, ("y",), ("p",), attributes)
    shapes = {"y": graph.types["y"].shape, "p": (2, channels, *window.output((1, 11, 10))[1:])}
    check(
        make_graph([*graph.nodes, pooled], {"x": _random(2, channels, 11, 10)}, graph.constants, shapes),
        only="conv2d pool",
    )


@settings(max_examples=200)
@given(
    st.integers(1, 40), st.integers(1, 6), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4),
    st.integers(1, 3), st.integers(1, 16),
)  # fmt: skip
def test_segments_cover_a_row_once_and_know_what_is_inside(
    width: int, kernel: int, stride: int, left: int, right: int, dilation: int, pixels: int
) -> None:
    axis = columns(
        window_axes(Window.of((kernel,), (stride,), (left, right), (dilation,)), (1, 1, width))[2]
    )[0]
    covered = []
    for segment in segments(axis, pixels):
        for tile in range(segment.count):
            for pixel in range(segment.pixels):
                column = segment.start + tile * segment.pixels + pixel
                covered.append(column)
                inside = [0 <= column * stride - left + tap * dilation < width for tap in range(kernel)]
                assert list(segment.inside[pixel]) == inside
    assert covered == list(range(max(axis.count, 0)))
