"""Whole graphs: fused epilogues, layouts, joined concatenations, aliases, graph outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanderling.compiler.codegen import generate
from sanderling.compiler.codegen.groups import make_groups
from sanderling.compiler.codegen.tuning import Tuner
from sanderling.compiler.errors import NotNativeError
from sanderling.compiler.graph import Graph, Node
from sanderling.compiler.program import Program
from sanderling.compiler.target import Target

from .conftest import Check, Machine, make_graph

SHAPE = (1, 24, 6, 5)
POINT = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}


def _weights(out_channels: int, in_channels: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal((out_channels, in_channels, 1, 1))
    return (values / np.sqrt(in_channels)).astype(np.float32)


def _after_convolution(
    nodes: list[Node], shapes: dict[str, Any], constants: dict[str, Any] | None = None
) -> Graph:
    """x → convolution → c, then the given nodes."""
    conv = Node("conv", "Conv", ("x", "w", ""), ("c",), POINT)
    held = {"w": _weights(24, 24, 1), **(constants or {})}
    return make_graph([conv, *nodes], {"x": np.zeros(SHAPE, np.float32)}, held, {"c": SHAPE, **shapes})


def _copies(program: Program) -> int:
    """Calls that only move data, apart from changes of layout."""
    return sum(call.kind.startswith("copy") and "(layout)" not in call.node for call in program.calls)


ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "Clip": {"min": -0.5, "max": 1.5},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "HardSwish": {},
    "LeakyRelu": {"alpha": 0.1},
    "Sigmoid": {},
    "Silu": {},
    "Tanh": {},
    "Exp": {},
    "Erf": {},
    "Neg": {},
    "Abs": {},
}


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_activations_join_the_convolution(op: str, check: Check) -> None:
    node = Node("act", op, ("c",), ("y",), ACTIVATIONS[op])
    program = check(_after_convolution([node], {"y": SHAPE}))
    assert len(program.calls) == 2, "the convolution and the change to row-major order"


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_nan_passes_through_activations(
    op: str, target: Target, tmp_path: Path, rng: np.random.Generator
) -> None:
    graph = _after_convolution([Node("act", op, ("c",), ("y",), ACTIVATIONS[op])], {"y": SHAPE})
    x = rng.standard_normal(SHAPE).astype(np.float32)
    x[0, 3, 2, 1] = np.nan
    program = generate(graph, target, Tuner(target))
    got = Machine(program, tmp_path, 4).run({"x": x}, rng)["y"]
    assert np.isnan(got[0, :, 2, 1]).all()
    assert np.isfinite(np.delete(got.reshape(24, -1), 2 * 5 + 1, axis=1)).all()


BINARY: dict[str, tuple[str, tuple[str, str], Any]] = {
    "a constant per channel": (
        "Mul",
        ("c", "k"),
        np.linspace(0.5, 2, 24, dtype=np.float32).reshape(24, 1, 1),
    ),
    "a scalar": ("Add", ("c", "k"), np.float32([0.25])),
    "a scalar before a difference": ("Sub", ("k", "c"), np.float32(1.0)),
    "a constant per channel divided": ("Div", ("k", "c"), np.full((1, 24, 1, 1), 2, np.float32)),
    "the larger": ("Max", ("c", "k"), np.float32([[[[0.1]]]])),
}


@pytest.mark.parametrize("name", BINARY)
def test_constants_join_the_convolution(name: str, check: Check) -> None:
    op, inputs, constant = BINARY[name]
    nodes = [
        Node("exp", "Exp", ("c",), ("e",)),
        Node("op", op, tuple(v.replace("c", "e") for v in inputs), ("y",)),
    ]
    program = check(_after_convolution(nodes, {"e": SHAPE, "y": SHAPE}, {"k": np.asarray(constant)}))
    assert len(program.calls) == 2


def test_a_residual_joins_the_later_branch(check: Check) -> None:
    nodes = [
        Node("second", "Conv", ("c", "w2", ""), ("d",), POINT),
        Node("add", "Add", ("c", "d"), ("s",)),
        Node("relu", "Relu", ("s",), ("y",)),
    ]
    program = check(
        _after_convolution(nodes, {"d": SHAPE, "s": SHAPE, "y": SHAPE}, {"w2": _weights(24, 24, 2)}),
        only="conv2d",
    )
    assert [call.node for call in program.calls][:2] == ["conv", "second+add+relu"]


def test_squeeze_and_excite_scales_by_channel(check: Check) -> None:
    nodes = [
        Node("mean", "GlobalAveragePool", ("c",), ("m",)),
        Node("fc", "Conv", ("m", "w2", ""), ("g",), POINT),
        Node("gate", "HardSigmoid", ("g",), ("h",), {"alpha": 1 / 6, "beta": 0.5}),
        Node("scale", "Mul", ("h", "c"), ("y",)),
    ]
    small = (1, 24, 1, 1)
    check(
        _after_convolution(
            nodes, {"m": small, "g": small, "h": small, "y": SHAPE}, {"w2": _weights(24, 24, 2)}
        ),
        only="conv2d global_pool elementwise",
    )


@pytest.mark.parametrize(
    ("parts", "copies"),
    [((16, 32), 0), ((16, 16, 7), 0), ((16, 24), 0), ((12, 20), None)],
    ids=["whole blocks", "the last part odd", "AVX-512 pads the last", "odd parts"],
)
def test_concatenations_of_channels_are_written_in_place(
    parts: tuple[int, ...], copies: int | None, check: Check
) -> None:
    nodes = [Node(f"b{i}", "Conv", ("c", f"w{i}", ""), (f"p{i}",), POINT) for i in range(len(parts))]
    names = tuple(f"p{i}" for i in range(len(parts)))
    nodes += [
        Node("join", "Concat", names, ("j",), {"axis": 1}),
        Node("last", "Conv", ("j", "w9", ""), ("y",), POINT),
    ]
    constants = {f"w{i}": _weights(count, 24, i + 2) for i, count in enumerate(parts)}
    constants["w9"] = _weights(16, sum(parts), 9)
    shapes: dict[str, Any] = {f"p{i}": (1, count, *SHAPE[2:]) for i, count in enumerate(parts)}
    shapes |= {"j": (1, sum(parts), *SHAPE[2:]), "y": (1, 16, *SHAPE[2:])}
    program = check(_after_convolution(nodes, shapes, constants))
    if copies is not None:
        assert _copies(program) == copies


def test_a_concatenation_inside_another_is_written_in_place_too(check: Check) -> None:
    nodes = [
        Node("a", "Relu", ("c",), ("a",)),
        Node("b", "Conv", ("a", "w1", ""), ("b",), POINT),
        Node("d", "Conv", ("a", "w2", ""), ("d",), POINT),
        Node("inner", "Concat", ("b", "d"), ("i",), {"axis": 1}),
        Node("e", "Conv", ("i", "w3", ""), ("e",), POINT),
        Node("outer", "Concat", ("i", "e", "b"), ("o",), {"axis": 1}),
        Node("last", "Conv", ("o", "w4", ""), ("y",), POINT),
    ]
    channels = {"a": 24, "b": 16, "d": 16, "i": 32, "e": 16, "o": 64, "y": 8}
    constants = {
        "w1": _weights(16, 24, 2), "w2": _weights(16, 24, 3),
        "w3": _weights(16, 32, 4), "w4": _weights(8, 64, 5),
    }  # fmt: skip
    shapes = {name: (1, count, *SHAPE[2:]) for name, count in channels.items()}
    program = check(_after_convolution(nodes, shapes, constants))
    # `b` stands in two places, so one of them is a copy.
    assert _copies(program) == 1


def test_upsampling_by_whole_factors_stays_in_blocks(check: Check) -> None:
    attributes = {
        "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
        "scales": (1.0, 1.0, 2.0, 3.0), "roi": (),
    }  # fmt: skip
    node = Node("up", "Resize", ("c",), ("y",), attributes)
    check(_after_convolution([node], {"y": (1, 24, 12, 15)}), only="conv2d upsample")


def test_a_reshape_of_pooled_features_costs_nothing(check: Check) -> None:
    nodes = [
        Node("mean", "GlobalAveragePool", ("c",), ("m",)),
        Node("flat", "Reshape", ("m",), ("f",), {"shape": (1, 24)}),
        Node("fc", "Dense", ("f", "k", ""), ("y",)),
    ]
    constants = {"k": np.random.default_rng(3).standard_normal((24, 10)).astype(np.float32)}
    program = check(_after_convolution(nodes, {"m": (1, 24, 1, 1), "f": (1, 24), "y": (1, 10)}, constants))
    assert [call.kind.split()[0] for call in program.calls] == ["conv2d", "global_pool", "dense"]


def test_a_reshape_may_be_the_output(check: Check) -> None:
    nodes = [
        Node("mean", "GlobalAveragePool", ("c",), ("m",)),
        Node("flat", "Reshape", ("m",), ("y",), {"shape": (1, 24)}),
    ]
    check(_after_convolution(nodes, {"m": (1, 24, 1, 1), "y": (1, 24)}))


def test_an_output_may_also_be_read_inside_the_graph(check: Check) -> None:
    graph = _after_convolution([Node("relu", "Relu", ("c",), ("y",))], {"y": SHAPE})
    check(graph.with_(outputs=("y", "c")))


@pytest.mark.parametrize("whole", ["x", "y"])
def test_a_view_of_a_callers_array_may_lie_anywhere(whole: str, target: Target) -> None:
    """The reshaped value shares the memory of an input, or of an output that is also read inside."""
    square = Node("square", "Mul", ("x", "x"), ("y",))
    view = Node("view", "Reshape", (whole,), ("flat",), {"shape": (1, 24, 30)})
    total = Node("total", "CumSum", ("flat", "axis"), ("z",))
    shapes = {"y": SHAPE, "flat": (1, 24, 30), "z": (1, 24, 30)}
    inputs, axis = {"x": np.zeros(SHAPE, np.float32)}, {"axis": np.array(2, np.int64)}
    graph = make_graph((square, view, total), inputs, axis, shapes)
    program = generate(graph.with_(outputs=("y", "z")), target, Tuner(target))
    callers = [arg for call in program.calls for arg in call.args if arg.place in ("input", "output")]
    assert {arg.align for arg in callers} == {4}


def test_what_no_template_takes_goes_through_the_long_tail(check: Check) -> None:
    nodes = [
        Node("soft", "Softmax", ("c",), ("s",), {"axis": 1}),
        Node("turn", "Transpose", ("s",), ("y",), {"perm": (0, 2, 3, 1)}),
    ]
    check(_after_convolution(nodes, {"s": SHAPE, "y": (1, 6, 5, 24)}))


def test_every_node_is_in_one_group_and_every_group_after_its_inputs() -> None:
    nodes = [
        Node("a", "Conv", ("c", "w1", ""), ("a",), POINT),
        Node("b", "Conv", ("c", "w2", ""), ("b",), POINT),
        Node("sum", "Add", ("a", "b"), ("s",)),
        Node("relu", "Relu", ("s",), ("y",)),
    ]
    shapes: dict[str, Any] = dict.fromkeys(("a", "b", "s", "y"), SHAPE)
    graph = _after_convolution(nodes, shapes, {"w1": _weights(24, 24, 2), "w2": _weights(24, 24, 3)})
    groups = make_groups(graph)
    assert sorted(node.name for group in groups for node in group.nodes) == ["a", "b", "conv", "relu", "sum"]
    ready = {*graph.inputs, *graph.constants}
    for group in groups:
        assert ready.issuperset(group.reads())
        ready |= {value for node in group.nodes for value in node.outputs}


def test_an_output_that_nothing_computes_is_named(check: Check) -> None:
    graph = _after_convolution([Node("relu", "Relu", ("c",), ("y",))], {"y": SHAPE})
    with pytest.raises(NotNativeError, match="'x'"):
        check(graph.with_(outputs=("y", "x")))
