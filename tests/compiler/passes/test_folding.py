"""Constants, scales, shifts and padding go into the operator they belong to, and only where they may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.graph import TensorType
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.passes.canonicalize import canonicalize
from sanderling.compiler.passes.fold_constants import Folder, fold_constants
from sanderling.compiler.passes.share import share
from sanderling.compiler.verifier import verify
from tests.support.graphs import assert_equivalent, operators, parse

F = np.float32
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(F)


CHANNELS = {"scale": floats(4), "bias": floats(4), "mean": floats(4), "var": np.abs(floats(4)) + F(0.5)}
CONV = {"w": floats(4, 3, 3, 3)}
BN = "BatchNormalization"

# inputs and outputs, body, constants, operators afterwards
AFFINE: list[tuple[str, str, dict[str, Any], list[str]]] = [
    (
        "[1,3,6,6] x, [1,4,4,4] y",
        f"a = Conv(x, w) y = {BN}(a, scale, bias, mean, var)",
        {**CONV, **CHANNELS},
        ["Conv"],
    ),
    (
        "[1,3,6,6] x, [1,4,4,4] y",
        f"a = Conv(x, w, b) c = {BN}(a, scale, bias, mean, var) d = Mul(c, m) y = Add(d, s)",
        {**CONV, **CHANNELS, "b": floats(4), "m": floats(1, 4, 1, 1), "s": F(2)},
        ["Conv"],
    ),
    (
        "[1,4,6,6] x, [1,4,4,4] y",
        f"a = Conv <group = 2> (x, w) y = {BN}(a, scale, bias, mean, var)",
        {"w": floats(4, 2, 3, 3), **CHANNELS},
        ["Conv"],
    ),
    (
        "[1,4,3,3] x, [1,4,5,5] y",
        f"a = ConvTranspose <group = 2> (x, w) y = {BN}(a, scale, bias, mean, var)",
        {"w": floats(4, 2, 3, 3), **CHANNELS},
        ["ConvTranspose"],
    ),
    (
        "[2,3] x, [2,4] y",
        f"a = MatMul(x, w) y = {BN}(a, scale, bias, mean, var)",
        {"w": floats(3, 4), **CHANNELS},
        ["Dense"],
    ),
    (
        "[5,2,3] x, [5,2,4] y",
        "a = MatMul(x, w) y = Add(b, a)",
        {"w": floats(3, 4), "b": floats(4)},
        ["Dense"],
    ),
    (
        "[2,3] x, [2,4] y",
        "a = Gemm <transB = 1> (x, w, b) c = Mul(a, m) y = Sub(c, s)",
        {"w": floats(4, 3), "b": floats(4), "m": floats(1, 4), "s": floats(1)},
        ["Dense"],
    ),
    (
        "[1,4,6,6] x, [1,4,6,6] y",
        f"a = Relu(x) y = {BN}(a, scale, bias, mean, var)",
        CHANNELS,
        ["Relu", "Mul", "Add"],
    ),
    # Not the same for a whole channel
    ("[1,3,6,6] x, [1,4,4,4] y", "a = Conv(x, w) y = Mul(a, m)", {**CONV, "m": floats(4)}, ["Conv", "Mul"]),
    (
        "[1,3,6,6] x, [1,4,4,4] y",
        "a = Conv(x, w) y = Add(a, m)",
        {**CONV, "m": floats(4, 4, 4)},
        ["Conv", "Add"],
    ),
    (
        "[4,3] x, [4,4] y",
        "a = MatMul(x, w) y = Add(a, m)",
        {"w": floats(3, 4), "m": floats(4, 1)},
        ["Dense", "Add"],
    ),
    # Makes the result larger
    (
        "[1,3,6,6] x, [2,4,4,4] y",
        "a = Conv(x, w) y = Mul(a, m)",
        {**CONV, "m": floats(2, 1, 1, 1)},
        ["Conv", "Mul"],
    ),
    (
        "[1,3,6,6] x, [1,1,4,4,4] y",
        "a = Conv(x, w) y = Mul(a, m)",
        {**CONV, "m": floats(1, 1, 1, 1, 1)},
        ["Conv", "Mul"],
    ),
    # Somebody else needs the convolution's own result
    (
        "[1,3,6,6] x, [1,4,4,4] y",
        "a = Conv(x, w) b = Mul(a, m) y = Add(a, b)",
        {**CONV, "m": F(3)},
        ["Conv", "Mul", "Add"],
    ),
]

PAD = {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "zero": F(0), "lowest": F(-np.inf), "one": F(1)}
PADDED: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("[1,3,6,6] x, [1,4,5,7] y", "a = Pad(x, p) y = Conv(a, w)", {**CONV, **PAD}, ["Conv"]),
    (
        "[1,3,6,6] x, [1,4,7,9] y",
        "a = Pad(x, p) y = Conv <pads = [1, 1, 1, 1]> (a, w)",
        {**CONV, **PAD},
        ["Conv"],
    ),
    (
        "[1,3,6,6] x, [1,3,5,7] y",
        "a = Pad(x, p, lowest) y = MaxPool <kernel_shape = [3, 3]> (a)",
        PAD,
        ["MaxPool"],
    ),
    (
        "[1,3,6,6] x, [1,3,5,7] y",
        "a = Pad(x, p) y = AveragePool <kernel_shape = [3, 3]> (a)",
        PAD,
        ["AveragePool"],
    ),
    (
        "[1,3,6,6] x, [1,3,7,9] y",
        (
            "a = Pad(x, p) "
            "y = AveragePool <kernel_shape = [4, 4], pads = [1, 1, 2, 2], count_include_pad = 1> (a)"
        ),
        PAD,
        ["AveragePool"],
    ),
    ("[1,3,6,6] x, [1,4,5,7] y", "a = Pad(x, p, one) y = Conv(a, w)", {**CONV, **PAD}, ["Pad", "Conv"]),
    (
        "[1,3,6,6] x, [1,4,5,7] y",
        'a = Pad <mode = "edge"> (x, p) y = Conv(a, w)',
        {**CONV, **PAD},
        ["Pad", "Conv"],
    ),
    (
        "[1,3,6,6] x, [1,3,5,7] y",
        "a = Pad(x, p) y = MaxPool <kernel_shape = [3, 3]> (a)",
        PAD,
        ["Pad", "MaxPool"],
    ),
    (
        "[1,3,6,6] x, [1,3,7,9] y",
        "a = Pad(x, p) y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a)",
        PAD,
        ["Pad", "AveragePool"],
    ),
    (
        "[1,3,6,6] x, [1,3,6,8] y",
        "a = Pad(x, p, lowest) y = MaxPool <kernel_shape = [2, 2]> (a)",
        PAD,
        ["Pad", "MaxPool"],
    ),
    (
        "[1,2,4,4] x, [1,4,2,2] y",
        "a = Pad(x, q) y = Conv(a, w)",
        {**CONV, "q": np.array([0, 0, 0, 0, 0, 1, 0, 0])},
        ["Pad", "Conv"],
    ),
]


def model(interface: str, body: str, constants: Any) -> Any:
    x, y = interface.split(", ")
    return parse(f"g (float{x}) => (float{y}) {{ {body} }}", 17, constants)


@pytest.mark.parametrize(("interface", "body", "constants", "ops"), [*AFFINE, *PADDED])
def test_folding(interface: str, body: str, constants: Any, ops: list[str]) -> None:
    given = model(interface, body, constants)
    graph = run_passes(to_graph(load_onnx(given)))
    assert operators(graph) == ops
    assert_equivalent(given, graph, tolerance=1e-5)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**16))
def test_batch_normalisation_folds_for_any_grouping(
    group: int, per_group: int, inputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    channels = group * per_group
    constants = {
        "w": rng.standard_normal((channels, inputs, 2, 2)).astype(F),
        **{name: rng.uniform(0.5, 2, channels).astype(F) for name in ("scale", "bias", "mean", "var")},
    }
    given_model = model(
        f"[1,{group * inputs},4,4] x, [1,{channels},3,3] y",
        f"a = Conv <group = {group}> (x, w) y = {BN}(a, scale, bias, mean, var)",
        constants,
    )
    graph = run_passes(to_graph(load_onnx(given_model)))
    assert operators(graph) == ["Conv"]
    assert_equivalent(given_model, graph, tolerance=1e-5)


def test_constants_that_a_pass_makes_are_folded() -> None:
    imported = to_graph(
        load_onnx(
            parse(
                "g (float[3] x) => (float[3] y) { a = Identity(x) y = Mul(a, c) }",
                constants={"c": F([1, 2, 3])},
            )
        )
    )
    graph = canonicalize(imported)
    constant = graph.with_(
        inputs=(),
        constants={**graph.constants, "x": F([2, 2, 2])},
        nodes=tuple(node.with_(op="Neg") if node.op == "Identity" else node for node in graph.nodes),
    )
    folded = fold_constants(constant)
    # An output must be made by a node, so the last one stays.
    assert operators(folded) == ["Mul"]
    np.testing.assert_array_equal(folded.constants[folded.nodes[0].inputs[0]], [-2, -2, -2])


BIG = TensorType("float32", (3 << 20,))


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "allowed"),
    [
        ("Add", {"a": np.ones(3, F)}, {"y": TensorType("float32", (3,))}, True),
        ("ConstantOfShape", {"a": np.array([3 << 20])}, {"y": BIG}, True),
        ("ConstantOfShape", {"a": np.array([30 << 20])}, {"y": TensorType("float32", (30 << 20,))}, False),
        ("Cast", {"a": np.ones(20 << 20, np.int8)}, {"y": TensorType("float32", (20 << 20,))}, True),
        ("Resize", {"a": np.ones(3, F)}, {"y": BIG}, False),
        ("NonZero", {"a": np.ones(3, F)}, {"y": None}, True),
        ("NonZero", {"a": np.ones(1 << 20, F)}, {"y": None}, False),
        ("RandomNormalLike", {"a": np.ones(3, F)}, {"y": TensorType("float32", (3,))}, False),
        ("custom::Add", {"a": np.ones(3, F)}, {"y": TensorType("float32", (3,))}, False),
    ],
)
def test_folder_bounds_memory_and_time(op: str, inputs: Any, outputs: Any, allowed: bool) -> None:
    given_bytes = sum(array.nbytes for array in inputs.values())
    assert Folder(given_bytes).allows(op, inputs, outputs) is allowed


def test_folder_has_a_budget_for_everything_together() -> None:
    folder = Folder()
    constants = {"a": np.ones(2 << 20, F)}
    model = parse(f"g () => (float[{2 << 20}] y) {{ y = Neg(a) }}", constants=constants)
    outputs = {"y": TensorType("float32", (2 << 20,))}
    computed = 0
    while folder.allows("Neg", constants, outputs):
        assert folder.compute(model, outputs) is not None
        computed += 1
    assert computed == 8


def test_folder_keeps_what_it_is_told_to() -> None:
    assert not Folder(keep=frozenset({"Cast"})).allows(
        "Cast", {"a": np.ones(1)}, {"y": TensorType("float32", (1,))}
    )


SHARED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a = Relu(x) b = Relu(x) y = Add(a, b)", {}, ["Relu", "Add"]),
    ("a = Relu(x) b = Relu(x) c = Tanh(a) d = Tanh(b) y = Add(c, d)", {}, ["Relu", "Tanh", "Add"]),
    ("a = Mul(x, k) b = Mul(x, l) y = Add(a, b)", {"k": F(3), "l": F(3)}, ["Mul", "Add"]),
    ("a = Mul(x, k) b = Mul(x, l) y = Add(a, b)", {"k": F(3), "l": F([3, 4, 5])}, ["Mul", "Mul", "Add"]),
    ("a = Elu <alpha = 0.5> (x) b = Elu <alpha = 1.0> (x) y = Add(a, b)", {}, ["Elu", "Elu", "Add"]),
    (
        "a = RandomNormalLike <seed = 1.0> (x) b = RandomNormalLike <seed = 1.0> (x) y = Sub(a, b)",
        {},
        ["RandomNormalLike", "RandomNormalLike", "Sub"],
    ),
]


@pytest.mark.parametrize(("body", "constants", "ops"), SHARED)
def test_what_is_the_same_is_computed_once(body: str, constants: Any, ops: list[str]) -> None:
    given_model = model("[3] x, [3] y", body, constants)
    graph = canonicalize(to_graph(load_onnx(given_model)))
    for _ in range(2):
        graph = share(graph)
    assert verify(graph, canonical=True) == []
    assert operators(graph) == ops


def test_outputs_are_never_shared_away() -> None:
    given_model = parse("g (float[3] x) => (float[3] y, float[3] z) { y = Relu(x) z = Relu(x) }")
    graph = run_passes(to_graph(load_onnx(given_model)))
    assert graph.outputs == ("y", "z")
    assert run_onnxruntime(given_model, {"x": F([1, -1, 2])}).keys() == {"y", "z"}
    assert_equivalent(given_model, graph)
