"""Winograd's convolution: its matrices are exact, and its kernels right for any image, window and tile."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.codegen.templates import conv2d, winograd
from sanderling.compiler.codegen.toomcook import TAPS, matrices, pairs
from sanderling.compiler.codegen.winograd import Config, tiles
from sanderling.compiler.codegen.workload import Conv2d, Window
from sanderling.compiler.graph import Graph, Node
from sanderling.compiler.target import Target

from .conftest import Check, make_graph

LIMITS = {2: 2e-6, 4: 2e-5, 6: 4e-5}  # of the largest output: larger tiles round more


@pytest.mark.parametrize("m", [2, 4, 6])
@given(data=st.data())
def test_matrices_convolve_exactly(m: int, data: st.DataObject) -> None:
    whole = st.integers(-9, 9).map(Fraction)
    signal = data.draw(st.lists(whole, min_size=m + TAPS - 1, max_size=m + TAPS - 1))
    filter_ = data.draw(st.lists(whole, min_size=TAPS, max_size=TAPS))
    found = matrices(m)

    def times(matrix: Any, vector: list[Fraction]) -> list[Fraction]:
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    products = [
        a * b for a, b in zip(times(found.weights, filter_), times(found.before, signal), strict=True)
    ]
    wanted = [sum(signal[i + k] * filter_[k] for k in range(TAPS)) for i in range(m)]
    assert times(found.after, products) == wanted


def test_pairs_are_lines_that_differ_only_in_signs() -> None:
    lines = [[Fraction(v) for v in line] for line in ([1, 2], [1, 0], [-1, 2], [2, 1], [1, 2])]
    assert pairs(lines) == [(0, 2)]


def convolution(
    shape: tuple[int, int, int, int],
    out_channels: int,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    after: str = "",
) -> Graph:
    """A 3 × 3 convolution whose input comes in channel blocks, and what follows it."""
    rng = np.random.default_rng(5)
    point = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    window = {**point, "kernel_shape": (3, 3), "pads": pads}
    batch, channels, height, width = shape
    out = (batch, out_channels, height + pads[0] + pads[2] - 2, width + pads[1] + pads[3] - 2)
    constants = {
        "first": rng.standard_normal((channels, channels, 1, 1)).astype(np.float32) / np.float32(channels),
        "w": rng.standard_normal((out_channels, channels, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(out_channels).astype(np.float32),
    }
    nodes = [
        Node("first", "Conv", ("x", "first", ""), ("z",), point),
        Node("conv", "Conv", ("z", "w", "b"), ("c" if after else "y",), window),
    ]
    shapes: dict[str, Any] = {"z": shape, "c": out, "y": out}
    if after == "residual":
        nodes += [Node("add", "Add", ("c", "c2"), ("s",), {}), Node("relu", "Relu", ("s",), ("y",), {})]
        other = {**point, "kernel_shape": (3, 3), "pads": pads}
        constants["w2"] = rng.standard_normal((out_channels, channels, 3, 3)).astype(np.float32)
        nodes.insert(1, Node("other", "Conv", ("z", "w2", "b"), ("c2",), other))
        shapes |= {"c2": out, "s": out}
    elif after:
        nodes.append(Node("activation", after, ("c",), ("y",), {}))
    if not after:
        del shapes["c"]
    x = rng.standard_normal(shape).astype(np.float32)
    return make_graph(nodes, {"x": x}, constants, shapes)


def choosing(target: Target, config: Config) -> Any:
    """This configuration wherever it fits, the first one elsewhere."""

    def choose(workloads: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: config
            if isinstance(work, Conv2d) and winograd.fits(work)
            else module.candidates(work, target)[0]
            for key, (work, module) in workloads.items()
        }

    return choose


CASES: dict[str, tuple[Graph, Config]] = {
    "one tile": (convolution((1, 16, 4, 4), 16), Config(4, 1, 1, 1, 1)),
    "edges on every side": (convolution((1, 32, 9, 11), 48), Config(4, 3, 2, 1, 1)),
    "more tiles than a task takes": (convolution((1, 16, 13, 10), 16), Config(2, 4, 1, 2, 1)),
    "an image smaller than a tile": (convolution((1, 16, 3, 2), 16), Config(6, 1, 1, 1, 1)),
    "large tiles": (convolution((1, 16, 14, 15), 32), Config(6, 2, 2, 2, 1)),
    "odd channels": (convolution((1, 21, 8, 8), 37), Config(4, 4, 2, 1, 1)),
    "a shorter last group of blocks": (convolution((1, 16, 8, 8), 80), Config(2, 8, 2, 1, 1)),
    "channels cut in parts": (convolution((1, 16, 7, 7), 80), Config(4, 4, 1, 1, 3)),
    "a batch whose tiles share a task": (convolution((3, 16, 5, 6), 24), Config(2, 5, 1, 2, 2)),
    "no pads": (convolution((1, 16, 10, 10), 16, (0, 0, 0, 0)), Config(4, 4, 1, 1, 1)),
    "uneven pads": (convolution((1, 16, 7, 9), 16, (0, 2, 1, 1)), Config(4, 3, 1, 1, 1)),
    "an activation": (convolution((1, 16, 9, 9), 32, after="HardSwish"), Config(4, 3, 2, 1, 1)),
    "a residual": (convolution((1, 16, 9, 9), 32, after="residual"), Config(4, 3, 2, 1, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_convolution_agrees_with_onnxruntime(name: str, check: Check, target: Target) -> None:
    graph, config = CASES[name]
    program = check(graph, limit=LIMITS[config.m], choose=choosing(target, config), only="conv2d")
    assert sum("winograd" in call.kind for call in program.calls) == 1 + ("residual" in name)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 64, 20, 23), (2, 40, 7, 7), (1, 24, 33, 6)])
def test_every_candidate_gives_the_right_answer(
    shape: tuple[int, int, int, int], check: Check, target: Target
) -> None:
    graph = convolution(shape, 56)
    work = _work(shape, 56)
    for config in winograd.candidates(work, target):
        check(graph, limit=LIMITS[config.m], choose=choosing(target, config))


def _work(shape: tuple[int, int, int, int], out_channels: int, **changes: Any) -> Conv2d:
    batch, channels, height, width = shape
    fields: dict[str, Any] = {
        "batch": batch,
        "in_channels": channels,
        "size": (1, height, width),
        "out_channels": out_channels,
        "window": Window.of((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        "groups": 1,
        "plain_input": False,
        "bias": True,
        "epilogue": (),
    }
    return Conv2d(**{**fields, **changes})


UNFIT = {
    "another window": {"window": Window.of((3, 1), (1, 1), (1, 0, 1, 0), (1, 1))},
    "a stride": {"window": Window.of((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))},
    "dilation": {"window": Window.of((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))},
    "groups": {"groups": 2},
    "rows as input": {"plain_input": True},
    "depth": {"size": (4, 16, 16), "window": Window.of((1, 3, 3), (1, 1, 1), (0, 1, 1, 0, 1, 1), (1, 1, 1))},
    "transposed": {"transposed": (1, 16, 16)},
}


@pytest.mark.parametrize("name", UNFIT)
def test_other_convolutions_are_left_to_the_direct_method(name: str, target: Target) -> None:
    work = _work((1, 64, 16, 16), 64, **UNFIT[name])
    assert not any(isinstance(config, Config) for config in conv2d.candidates(work, target))


def test_winograd_comes_first_where_it_saves_work_and_never_where_its_weights_are_large(
    target: Target,
) -> None:
    large, deep = _work((1, 64, 56, 56), 64), _work((1, 512, 7, 7), 512)
    assert isinstance(conv2d.candidates(large, target)[0], Config)
    assert not any(isinstance(config, Config) for config in conv2d.candidates(deep, target))


@given(
    batch=st.integers(1, 3), height=st.integers(1, 40), width=st.integers(1, 40), m=st.sampled_from([2, 4, 6])
)
def test_tiles_cover_the_output(batch: int, height: int, width: int, m: int) -> None:
    count = tiles(_work((batch, 16, height, width), 16), m)
    assert (count - batch) * m * m < batch * (height + m) * (width + m)
    assert count * m * m >= batch * height * width
