"""ONNX → Graph: names, types, what is folded on the way, what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from sanderling.compiler.errors import ModelError, NotNativeError, UnsupportedError
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.graph import TensorType
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.verifier import verify
from tests.support.graphs import assert_equivalent, imported, operators, parse


def test_nameless_nodes_are_counted_and_names_are_kept() -> None:
    model = parse("g (float[3] x) => (float[3] y) { a = Relu(x) b = Relu(a) c = Tanh(b) y = Relu(c) }")
    for node, name in zip(model.graph.node, ["", "own", "", "relu_0"], strict=True):
        node.name = name
    graph = to_graph(load_onnx(model))
    assert [node.name for node in graph.nodes] == ["relu_1", "own", "tanh_0", "relu_0"]
    assert to_graph(load_onnx(model)).nodes == graph.nodes


def test_names_given_twice_are_replaced() -> None:
    model = parse("g (float[3] x) => (float[3] y) { a = Relu(x) y = Relu(a) }")
    for node in model.graph.node:
        node.name = "same"
    graph = to_graph(load_onnx(model))
    assert [node.name for node in graph.nodes] == ["relu_0", "relu_1"]


def test_shape_arithmetic_is_folded() -> None:
    graph = imported(
        """g (float[2,3,4,5] x) => (float[2,3,20] y) {
            shape = Shape(x)
            zero = Constant <value_int = 0> ()
            batch = Gather(shape, zero)
            axes = Constant <value_ints = [0]> ()
            first = Unsqueeze(batch, axes)
            start = Constant <value_ints = [1]> ()
            end = Constant <value_ints = [2]> ()
            channels = Slice(shape, start, end)
            rest = Constant <value_ints = [-1]> ()
            target = Concat <axis = 0> (first, channels, rest)
            y = Reshape(x, target)
        }"""
    )
    assert operators(graph) == ["Reshape"]
    assert graph.types["y"] == TensorType("float32", (2, 3, 20))
    np.testing.assert_array_equal(graph.constants["target"], [2, 3, -1])


def test_shape_and_size_of_a_part() -> None:
    graph = imported(
        """g (float[2,3,4] x) => (int64[1] y, int64 z) {
            y = Shape <start = -2, end = -1> (x)
            z = Size(x)
        }"""
    )
    (first, second) = graph.nodes
    assert (first.op, second.op) == ("Identity", "Identity")
    np.testing.assert_array_equal(graph.constants[first.inputs[0]], [3])
    assert graph.constants[second.inputs[0]] == 24


@pytest.mark.parametrize(("condition", "op"), [(True, "Relu"), (False, "Tanh")])
def test_branch_on_a_constant_is_taken(condition: bool, op: str) -> None:
    graph = imported(
        """g (float[3] x) => (float[3] y) {
            z = Sigmoid(x)
            y = If (c) <
                then_branch = t () => (float[3] r) { a = Relu(z) r = Add(a, x) },
                else_branch = e () => (float[3] r) { a = Tanh(z) r = Add(a, x) }
            >
        }""",
        constants={"c": np.array(condition)},
    )
    assert verify(graph) == []
    assert operators(graph) == ["Sigmoid", op, "Add", "Identity"]


def test_names_of_branches_do_not_collide() -> None:
    branch = "b () => (float[3] r) { a = Relu(x) r = Add(a, x) }"
    body = f"""g (float[3] x) => (float[3] y) {{
        p = If (c) <then_branch = {branch}, else_branch = {branch}>
        q = If (c) <then_branch = {branch}, else_branch = {branch}>
        y = Add(p, q)
    }}"""
    model = parse(body, constants={"c": np.array(True)})
    graph = to_graph(load_onnx(model))
    assert verify(graph) == []
    assert_equivalent(model, run_passes(graph))


def test_branches_on_data_are_both_computed() -> None:
    model = parse(
        """g (float[3] x, bool c) => (float[3] y) {
            y = If (c) <then_branch = t () => (float[3] r) { r = Relu(x) },
                        else_branch = e () => (float[3] r) { r = Tanh(x) }>
        }"""
    )
    graph = run_passes(to_graph(load_onnx(model)))
    assert_equivalent(model, graph)
    assert operators(graph) == ["Relu", "Tanh", "Where"]


def test_branches_of_different_shapes_are_unsupported() -> None:
    with pytest.raises(UnsupportedError, match=r"the data decides what shape 'y' has") as caught:
        imported(
            """g (float[3] x, bool c) => (float[N] y) {
                y = If (c) <then_branch = t () => (float[3] r) { r = Relu(x) },
                            else_branch = e () => (float[6] r) { r = Concat <axis = 0> (x, x) }>
            }"""
        )
    assert (caught.value.node, caught.value.op) == ("if_0", "If")


def with_loop(times: str, condition: str = "") -> onnx.ModelProto:
    """y, ys = a Loop that doubles x, `times` and `condition` being names of its inputs."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["d"]),
            helper.make_node("Add", ["a", "a"], ["b"]),
            helper.make_node("Cast", ["i"], ["f"], to=1),
            helper.make_node("Mul", ["b", "f"], ["e"]),
        ],
        "body",
        [value("i", 7, []), value("c", 9, []), value("a", 1, [3])],
        [value("d", 9, []), value("b", 1, [3]), value("e", 1, [3])],
    )
    model = parse(
        "g (float[3] x, int64 n, bool t) => (float[3] y, float[4, 3] ys) { y = Relu(x) ys = Relu(x) }",
        constants={"four": np.array(4), "true": np.array(True)},
    )
    loop = helper.make_node("Loop", [times, condition, "x"], ["y", "ys"], name="loop", body=body)
    del model.graph.node[1]
    model.graph.node[0].CopyFrom(loop)
    return model


@pytest.mark.parametrize("condition", ["", "true"])
def test_loop_of_constant_length_is_unrolled(condition: str) -> None:
    model = with_loop("four", condition)
    assert_equivalent(model, run_passes(to_graph(load_onnx(model))))


@pytest.mark.parametrize(
    ("times", "condition", "reason"),
    [("n", "", "how often"), ("four", "t", "how often"), ("", "true", "1024")],
)
def test_loop_on_data_is_unsupported(times: str, condition: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"node 'loop' \(Loop\): .*{reason}"):
        to_graph(load_onnx(with_loop(times, condition)))


def test_an_omitted_first_output_gets_a_name() -> None:
    model = parse(
        "g (float[3,1,2] x) => (float[1,1,4] h) { v, h = LSTM <hidden_size = 4> (x, w, r) }",
        constants={"w": np.ones((1, 16, 2), np.float32), "r": np.ones((1, 16, 4), np.float32)},
    )
    model.graph.node[0].output[0] = ""
    graph = to_graph(load_onnx(model))
    assert all(graph.nodes[0].outputs)
    assert verify(graph) == []


def test_all_nodes_that_are_unsupported_are_named() -> None:
    nodes = " ".join(f"y{k} = Compress(x, c)" for k in range(25))
    body = f"g (float[3] x, bool[3] c) => (float[N] z, float[N] u) {{ {nodes} z = Relu(y0) u = Unique(x) }}"
    with pytest.raises(NotNativeError, match=r"'compress_0' .*'compress_19' .*; and 6 more$") as caught:
        imported(body)
    names = [error.node for error in caught.value.nodes]
    assert names == [*(f"compress_{k}" for k in range(25)), "unique_0"]


def test_what_is_unsupported_in_canonical_form_is_all_named() -> None:
    graph = imported("g (float[3] x) => (float[3] y) { a, m = Dropout(x) y, n = Dropout(a) }")
    with pytest.raises(NotNativeError) as caught:
        run_passes(graph)
    assert [error.op for error in caught.value.nodes] == ["Dropout", "Dropout"]


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("g (float[3] x, bool[3] c) => (float[N] y) { y = Compress(x, c) }", "compress_0"),
        ("g (float[3] x, int64[1] n) => (float[N] y) { y = Reshape(x, n) }", "reshape_0"),
        ("g (float[3] x, int64[2] n) => (float[N,M] y) { y = Expand(x, n) }", "expand_0"),
    ],
)
def test_shape_that_depends_on_data_names_the_node(body: str, node: str) -> None:
    with pytest.raises(UnsupportedError, match="no shape that is known before the model runs") as caught:
        imported(body)
    assert caught.value.node == node


def custom(declared: bool) -> onnx.ModelProto:
    model = parse("g (float[1,3] x) => (float[1,3] y) { z = Relu(x) y = Relu(z) }")
    model.opset_import.append(helper.make_opsetid("custom", 1))
    model.graph.node[0].domain, model.graph.node[0].op_type = "custom", "Special"
    if declared:
        model.graph.value_info.append(helper.make_tensor_value_info("z", 1, [1, 3]))
    return model


def test_operator_of_another_domain_stays_if_its_type_is_declared() -> None:
    graph = run_passes(to_graph(load_onnx(custom(declared=True))))
    assert operators(graph) == ["custom::Special", "Relu"]


def test_operator_of_another_domain_is_named_if_its_type_is_not() -> None:
    with pytest.raises(UnsupportedError, match=r"'special_0' .custom::Special.: .*operator domain"):
        to_graph(load_onnx(custom(declared=False)))


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("g (float[2,3] x, float[4,5] z) => (float[2,5] y) { y = MatMul(x, z) }", "matmul_0"),
        ("g (float[2,3] x, float[2,4] z) => (float[2,4] y) { y = Add(x, z) }", "add_0"),
        ("g (float[1,3,8,8] x, float[4,3,9,9] w) => (float[1,4,1,1] y) { y = Conv(x, w) }", "conv_0"),
        ("g (float[1,3,8,8] x, float[4,2,1,1] w) => (float[1,4,8,8] y) { y = Conv(x, w) }", "conv_0"),
        (
            "g (float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { y = Conv <group = 0> (x, w) }",
            "conv_0",
        ),
        (
            "g (float[2,3] x) => (float[7] y) { s = Constant <value_ints = [7]> () y = Reshape(x, s) }",
            "reshape_0",
        ),
        ("g (float[2,3] x) => (float[2,3] y) { y = Transpose <perm = [0, 0]> (x) }", "transpose_0"),
        ("g (float[2,3] x, float[2,4] z) => (float[4,3] y) { y = Concat <axis = 0> (x, z) }", "concat_0"),
    ],
)
def test_shapes_that_contradict_each_other_name_the_node(body: str, node: str) -> None:
    with pytest.raises(ModelError, match=node):
        run_passes(imported(body))


@pytest.mark.parametrize(
    "body",
    [
        "g (float[1] x) => (float[N,M] y) { y = ConstantOfShape(n) }",
        "g (float[1] x) => (float[N,M] y) { z = ConstantOfShape(n) y = Mul(x, z) }",
        "g (float[1] x) => (float[N,M] y) { y = Expand(x, n) }",
        "g (float[1,1] x) => (float[N,M] y) { y = Tile(x, n) }",
    ],
)
def test_enormous_tensors_are_refused_without_being_made(body: str) -> None:
    with pytest.raises(UnsupportedError, match="would have 43980465111040 bytes"):
        imported(body, constants={"n": np.array([1 << 20, 10 << 20], np.int64)})


def test_enormous_input_is_refused() -> None:
    with pytest.raises(ModelError, match="'x' of shape"):
        imported("g (float[1,3,100000,100000] x) => (float[1,3,100000,100000] y) { y = Relu(x) }")


def test_constants_of_moderate_size_are_not_multiplied() -> None:
    # Each of the 200 results would have 8 MB.
    body = " ".join(f"c{i} = ConstantOfShape(n)" for i in range(200))
    total = "y = Sum(x, " + ", ".join(f"c{i}" for i in range(200)) + ")"
    graph = imported(
        f"g (float[1] x) => (float[2097152] y) {{ {body} {total} }}",
        constants={"n": np.array([2 << 20], np.int64)},
    )
    assert sum(array.nbytes for array in graph.constants.values()) <= 65 << 20
    assert verify(graph) == []


def test_division_by_zero_among_constants_is_survived() -> None:
    graph = imported(
        """g (float[3] x) => (int64[1] y) {
            y = Div(a, b)
        }""",
        constants={"a": np.array([1]), "b": np.array([0])},
    )
    assert verify(graph) == []


def test_output_that_is_an_input_is_refused() -> None:
    model = parse("g (float[3] x) => (float[3] y) { y = Relu(x) }")
    model.graph.output.append(model.graph.input[0])
    with pytest.raises(ModelError, match="output 'x' is an input"):
        to_graph(load_onnx(model))


def test_constant_output_is_handed_out_and_still_read_inside() -> None:
    model = parse(
        "g (float[3] x) => (float[3] y, float[3] c) { c = Add(a, a) y = Add(x, c) }",
        constants={"a": np.ones(3, "f")},
    )
    graph = to_graph(load_onnx(model))
    assert verify(graph) == []
    assert_equivalent(model, run_passes(graph))


def test_quantised_weights_stay_integers_beside_quantised_activations() -> None:
    weights = {"w": np.ones((4, 3, 1, 1), np.int8), "s": np.float32(0.5), "z": np.int8(0)}
    graph = imported(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
            q = QuantizeLinear(x, s, z)
            d = DequantizeLinear(q, s, z)
            f = DequantizeLinear(w, s, z)
            y = Conv(d, f)
        }""",
        constants=weights,
    )
    assert operators(graph) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"]
    alone = imported(
        "g (float[1,3,8,8] x) => (float[1,4,8,8] y) { f = DequantizeLinear(w, s, z) y = Conv(x, f) }",
        constants=weights,
    )
    assert operators(alone) == ["Conv"]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("opset", [11, 17, 22])
def test_windows_that_start_in_the_padding_are_not_counted(op: str, opset: int) -> None:
    model = parse(
        f"g (float[1,1,4,4] x) => (float[1,1,N,M] y) {{"
        f" y = {op} <kernel_shape = [3, 3], strides = [3, 3], pads = [1, 1, 2, 2], ceil_mode = 1> (x) }}",
        opset,
    )
    graph = run_passes(to_graph(load_onnx(model)))
    assert_equivalent(model, graph)


def test_damaged_models_are_refused_or_compiled_and_nothing_else() -> None:
    whole = parse(
        """g (float[1,4,6,6] x) => (float[1,2] y) {
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2], group = 2> (x, w)
            b = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (a)
            s = Constant <value_ints = [0, -1]> ()
            c = Reshape(b, s)
            d = Softmax <axis = 1> (c)
            y = Gemm <transB = 1> (d, m)
        }""",
        constants={"w": np.ones((2, 2, 3, 3), "f"), "m": np.ones((2, 8), "f")},
    ).SerializeToString()
    rng = np.random.default_rng(0)
    outcomes = {"compiled": 0, "refused": 0}
    for _ in range(1500):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        try:
            run_passes(to_graph(load_onnx(bytes(damaged))))
            outcomes["compiled"] += 1
        except (ModelError, UnsupportedError):
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize("opset", [12, 13, 16])
def test_comparisons_have_a_shape_in_every_version(opset: int) -> None:
    graph = imported("g (float[2,3] x, float[3] y) => (bool[2,3] z) { z = GreaterOrEqual(x, y) }", opset)
    assert graph.types["z"] == TensorType("bool", (2, 3))


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("g (float[2,4,3] x) => (float[2,4,3] y) { a = MeanVarianceNormalization(x) y = Relu(a) }", 13),
        (
            """g (float[2,4,3] x, float[4] s) => (float[2,4,3] y) {
                a = GroupNormalization <num_groups = 2> (x, s, s) y = Relu(a)
            }""",
            21,
        ),
    ],
)
def test_normalisation_keeps_the_shape(body: str, opset: int) -> None:
    graph = imported(body, opset)
    assert graph.types["a"] == graph.types["x"]


def test_sizes_by_scales_are_those_of_single_precision() -> None:
    model = parse(
        "g (float[1,1,10,10] x) => (float[1,1,h,w] y) { y = Resize(x, , s) }",
        constants={"s": np.array([1, 1, 0.7, 1.1], np.float32)},
    )
    assert to_graph(load_onnx(model)).types["y"].shape == (1, 1, 7, 11)
