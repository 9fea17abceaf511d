"""What `lower_node` promises besides the numbers: names, places, sizes, alignment, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanderling.compiler.errors import UnsupportedError
from sanderling.compiler.evaluate import evaluate
from sanderling.compiler.graph import Graph, Node, TensorType
from sanderling.compiler.longtail import lower_node
from sanderling.compiler.target import find_target
from tests.compiler.longtail.machine import TARGETS, run_graph

TARGET = find_target(TARGETS[-1])


def graph_of(
    op: str,
    shapes: dict[str, tuple[int, ...]],
    out: tuple[int, ...],
    constants: dict[str, Any] | None = None,
    dtype: str = "float32",
    **attributes: Any,
) -> Graph:
    """One canonical node from the inputs (then the constants) to ``y``."""
    known = constants or {}
    types = {name: TensorType(dtype, shape) for name, shape in {**shapes, "y": out}.items()}
    types |= {name: TensorType(str(array.dtype), array.shape) for name, array in known.items()}
    node = Node("the node", op, (*shapes, *known), ("y",), attributes)
    return Graph("test", (node,), tuple(shapes), ("y",), types, known, 22)


def check(graph: Graph, folder: Path, seed: int = 0) -> None:
    """Positive numbers: a sum that cancels would measure the order of summation."""
    rng = np.random.default_rng(seed)
    feeds = {name: rng.random(graph.types[name].shape, np.float32) for name in graph.inputs}
    expected, found = evaluate(graph, feeds), run_graph(graph, feeds, TARGET, folder, seed)
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)


CANONICAL = [
    graph_of("Clip", {"x": (3, 40)}, (3, 40), min=-0.5, max=0.5),
    graph_of("Silu", {"x": (3, 40)}, (3, 40)),
    graph_of("HardSwish", {"x": (3, 40)}, (3, 40)),
    graph_of("Reshape", {"x": (3, 40)}, (6, 20), shape=(6, 20)),
    graph_of("Slice", {"x": (3, 40)}, (3, 5), starts=(30,), ends=(20,), axes=(1,), steps=(-2,)),
    graph_of("Pad", {"x": (3, 40)}, (4, 42), pads=(1, 2, 0, 0), mode="constant", value=2.0),
    graph_of("ReduceMean", {"x": (3, 40)}, (3, 1), axes=(1,), keepdims=1),
    graph_of("Tile", {"x": (3, 40)}, (6, 40), repeats=(2, 1)),
]


@pytest.mark.parametrize("graph", CANONICAL, ids=lambda graph: graph.nodes[0].op)
def test_canonical_forms_are_understood(graph: Graph, tmp_path: Path) -> None:
    check(graph, tmp_path)


def test_arguments_carry_the_names_of_values_and_what_lies_anywhere_is_not_aligned() -> None:
    weights = np.ones((64, 48), np.float32)
    graph = graph_of("MatMul", {"x": (32, 64)}, (32, 48), {"w": weights})
    lowered = lower_node(graph, graph.nodes[0], TARGET, "k", frozenset({"x"}))
    (call,) = lowered.calls
    found = {arg.name: (arg.place, arg.access, arg.align, arg.size) for arg in call.args}
    assert found == {
        "x": ("buffer", "read", 4, 32 * 64 * 4),
        "w": ("param", "read", 64, weights.nbytes),
        "y": ("buffer", "write", 64, 32 * 48 * 4),
    }
    assert lowered.buffers == {}
    assert lowered.params == {"w": weights} or lowered.params["w"] is weights
    assert [kernel.symbol for kernel in lowered.kernels] == [call.symbol] == ["k"]
    assert (call.node, call.kind, call.flops) == ("the node", "MatMul", 2 * 32 * 64 * 48)
    assert 1 <= call.grain <= call.tasks


def test_long_rows_keep_their_intermediates_in_scratch_and_short_ones_on_the_stack() -> None:
    for length, scratch in ((5000, True), (100, False)):
        graph = graph_of("Softmax", {"x": (64, length)}, (64, length), axis=-1)
        lowered = lower_node(graph, graph.nodes[0], TARGET, "k")
        (call,) = lowered.calls
        args = [arg for arg in call.args if arg.place == "scratch"]
        assert bool(args) == scratch
        assert all(arg.offset % arg.align == 0 and arg.access == "both" for arg in args)
        assert lowered.scratch_bytes == sum(-(-arg.size // 64) * 64 for arg in args)


def test_temporaries_are_named_after_the_symbol_and_written_before_they_are_read() -> None:
    graph = graph_of("Conv", {"x": (1, 4, 40, 40), "w": (8, 4, 3, 3)}, (1, 8, 40, 40), pads=(1, 1, 1, 1))
    lowered = lower_node(graph, graph.nodes[0], TARGET, "k7")
    assert lowered.buffers
    assert all(name.startswith("k7.") for name in lowered.buffers)
    written: set[str] = set()
    for call in lowered.calls:
        for arg in call.args:
            if arg.name in lowered.buffers and arg.access == "read":
                assert arg.name in written
        written |= {arg.name for arg in call.args if arg.access == "write"}
    assert written == {*lowered.buffers, "y"}


def test_what_has_no_elements_needs_no_kernel() -> None:
    graph = graph_of("Relu", {"x": (0, 4)}, (0, 4))
    assert lower_node(graph, graph.nodes[0], TARGET, "k").calls == ()


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (graph_of("NonZero", {"x": (3, 4)}, (2, 4)), "depends on the data"),
        (graph_of("Det", {"x": (3, 3)}, ()), "no kernel for this operator"),
        (graph_of("Relu", {"x": (3, 3)}, (3, 3), dtype="bfloat16"), "bfloat16"),
        (graph_of("Erf", {"x": (3, 3)}, (3, 3), dtype="float64"), "float64"),
        (graph_of("CumSum", {"x": (3, 3), "axis": ()}, (3, 3)), "axis must be a constant"),
    ],
    ids=lambda value: value.nodes[0].op if isinstance(value, Graph) else "",
)
def test_what_cannot_be_lowered_says_why(graph: Graph, words: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        lower_node(graph, graph.nodes[0], TARGET, "k")
    assert caught.value.node == "the node"
    assert caught.value.op == graph.nodes[0].op
    assert words in caught.value.reason


def test_indices_from_data_never_leave_the_tensor(tmp_path: Path) -> None:
    graph = graph_of("Gather", {"x": (5, 3), "i": (4,)}, (4, 3), axis=0)
    graph = graph.with_(types={**graph.types, "i": TensorType("int64", (4,))})
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    wild = np.array([2**62, -(2**62), 7, 1])
    found = run_graph(graph, {"x": x, "i": wild}, TARGET, tmp_path)["y"]
    np.testing.assert_array_equal(found, x[[4, 0, 4, 1]])


lengths = st.integers(1, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shapes")


@given(rows=lengths, columns=lengths, axis=st.integers(0, 1), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_softmax_of_any_shape(folder: Path, rows: int, columns: int, axis: int, seed: int) -> None:
    check(graph_of("Softmax", {"x": (rows, columns)}, (rows, columns), axis=axis), folder, seed=seed)


@given(shape=st.tuples(lengths, lengths, lengths), axes=st.sets(st.integers(0, 2), min_size=1))
@settings(max_examples=12)
def test_sums_over_any_axes(folder: Path, shape: tuple[int, int, int], axes: set[int]) -> None:
    out = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    check(graph_of("ReduceSum", {"x": shape}, out, axes=tuple(sorted(axes)), keepdims=1), folder)


@given(batch=st.integers(1, 3), m=lengths, k=lengths, n=lengths)
@settings(max_examples=12)
def test_matrix_products_of_any_shape(folder: Path, batch: int, m: int, k: int, n: int) -> None:
    check(graph_of("MatMul", {"x": (batch, m, k), "w": (batch, k, n)}, (batch, m, n)), folder)


@given(parts=st.lists(lengths, min_size=1, max_size=4), rows=lengths, axis=st.integers(0, 1))
@settings(max_examples=12)
def test_concatenation_cuts_vectors_where_inputs_meet(
    folder: Path, parts: list[int], rows: int, axis: int
) -> None:
    shapes = {f"x{k}": (part, rows) if axis == 0 else (rows, part) for k, part in enumerate(parts)}
    out = (sum(parts), rows) if axis == 0 else (rows, sum(parts))
    check(graph_of("Concat", shapes, out, axis=axis), folder)


@given(
    shape=st.tuples(st.integers(1, 5), lengths),
    pads=st.tuples(*[st.integers(0, 20)] * 4),
)
@settings(max_examples=12)
def test_padding_of_any_width(folder: Path, shape: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
    out = (shape[0] + pads[0] + pads[2], shape[1] + pads[1] + pads[3])
    check(graph_of("Pad", {"x": shape}, out, pads=pads, mode="constant", value=1.0), folder)


@given(left=st.tuples(lengths, lengths), wide=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=12)
def test_broadcasting_in_any_direction(folder: Path, left: tuple[int, int], wide: tuple[bool, bool]) -> None:
    right = tuple(extent if keep else 1 for extent, keep in zip(left, wide, strict=True))
    check(graph_of("Mul", {"x": left, "z": right}, left), folder)
