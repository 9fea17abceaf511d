"""Templates that follow strides: matrix products, rows, maps, copies; odd sizes, moved inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sanderling.compiler.codegen import generate
from sanderling.compiler.codegen.tuning import Tuner
from sanderling.compiler.graph import Graph, Node, TensorType
from sanderling.compiler.program import Program
from sanderling.compiler.target import Target

from .conftest import Check, make_graph


class Net:
    """A graph under construction; each node's value is a further output unless it is used."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        self._rng = np.random.default_rng(7)
        self._nodes: list[Node] = []
        self._constants: dict[str, Any] = {}
        self._shapes = dict(inputs)
        self._inputs = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}

    def constant(self, *shape: int, scale: float = 1.0) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = (self._rng.standard_normal(shape) * scale).astype(np.float32)
        self._shapes[name] = shape
        return name

    def scalar(self, value: float) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = np.float32(value)
        self._shapes[name] = ()
        return name

    def op(self, op: str, inputs: str, *shapes: tuple[int, ...], **attributes: Any) -> Any:
        names = tuple(f"v{len(self._nodes)}.{index}" for index in range(len(shapes)))
        values = tuple(inputs.replace(",", " ").split())
        values += ("",) * (3 - len(values)) if op in ("Dense", "LayerNormalization", "Conv") else ()
        self._nodes.append(Node(f"{op}{len(self._nodes)}", op, values, names, attributes))
        self._shapes.update(zip(names, shapes, strict=True))
        return names[0] if len(names) == 1 else names

    def reshape(self, x: str, *shape: int) -> str:
        return str(self.op("Reshape", x, shape, shape=shape))

    def transpose(self, x: str, *perm: int) -> str:
        shape = tuple(self._shapes[x][axis] for axis in perm)
        return str(self.op("Transpose", x, shape, perm=perm))

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        shape = list(self._shapes[x])
        shape[axis] = len(range(start, end, step))
        marks = {"starts": (start,), "ends": (end,), "axes": (axis,), "steps": (step,)}
        return str(self.op("Slice", x, tuple(shape), **marks))

    def graph(self) -> Graph:
        read = {value for node in self._nodes for value in node.inputs}
        outputs = tuple(v for node in self._nodes for v in node.outputs if v not in read)
        shapes = {name: shape for name, shape in self._shapes.items() if name.startswith("v")}
        return make_graph(self._nodes, self._inputs, self._constants, shapes).with_(outputs=outputs, opset=22)


def _kinds(program: Program) -> list[str]:
    return [call.kind.split()[0] for call in program.calls]


MATRICES = {
    "square": ((2, 33, 20), (2, 20, 37), (2, 33, 37)),
    "one row": ((3, 1, 17), (3, 17, 5), (3, 1, 5)),
    "one column": ((3, 7, 17), (3, 17, 1), (3, 7, 1)),
    "inner one": ((2, 5, 1), (2, 1, 40), (2, 5, 40)),
    "no batch": ((13, 64), (64, 50), (13, 50)),
    "broadcast batch": ((4, 1, 9, 16), (3, 16, 24), (4, 3, 9, 24)),
    "shared left": ((9, 16), (5, 16, 24), (5, 9, 24)),
    "more rows than a task": ((1, 301, 8), (1, 8, 19), (1, 301, 19)),
}


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
def test_products_of_two_variables(transposed: bool, check: Check) -> None:
    shapes, steps = {}, []
    for index, (first, second, out) in enumerate(MATRICES.values()):
        turned = (*second[:-2], second[-1], second[-2])
        shapes |= {f"a{index}": first, f"b{index}": turned if transposed else second}
        steps.append((f"a{index}", f"b{index}", len(second), out))
    net = Net(**shapes)
    for first_name, second_name, rank, out in steps:
        right = second_name
        if transposed:
            right = net.transpose(second_name, *range(rank - 2), rank - 1, rank - 2)
        net.op("MatMul", f"{first_name} {right}", out)
    program = check(net.graph(), limit=2e-6)
    assert _kinds(program) == ["matmul"] * len(MATRICES)


def test_every_way_to_multiply_gives_the_right_answer(check: Check, target: Target) -> None:
    net = Net(a=(2, 40, 21), b=(2, 21, 70), c=(2, 70, 21))
    net.op("MatMul", "a b", (2, 40, 70))
    net.op("MatMul", f"a {net.transpose('c', 0, 2, 1)}", (2, 40, 70))
    for index in range(4):

        def choose(works: Any, index: int = index) -> Any:
            found = {key: module.candidates(work, target) for key, (work, module) in works.items()}
            return {key: configs[index % len(configs)] for key, configs in found.items()}

        check(net.graph(), choose=choose)


def test_steps_after_a_product_join_it(check: Check) -> None:
    net = Net(a=(2, 3, 11, 16), b=(2, 3, 16, 21), mask=(2, 1, 1, 21), full=(2, 3, 11, 21))
    x = net.op("MatMul", "a b", (2, 3, 11, 21))
    x = net.op("Mul", f"{x} {net.scalar(0.25)}", (2, 3, 11, 21))
    x = net.op("Add", f"{x} mask", (2, 3, 11, 21))
    x = net.op("Add", f"{x} {net.constant(3, 11, 1)}", (2, 3, 11, 21))
    x = net.op("Add", f"{x} {net.constant(21)}", (2, 3, 11, 21))
    net.op("Mul", f"full {x}", (2, 3, 11, 21))
    assert _kinds(check(net.graph())) == ["matmul"]


@pytest.mark.parametrize("tokens", [5, 49])
def test_attention_has_no_copies(tokens: int, check: Check) -> None:
    heads, size = 3, 24
    width = heads * size
    net = Net(x=(2, tokens, width))
    qkv = net.op("Dense", f"x {net.constant(width, 3 * width, scale=0.1)}", (2, tokens, 3 * width))
    split = net.transpose(net.reshape(qkv, 2, tokens, 3, heads, size), 2, 0, 3, 1, 4)
    q, k, v = (net.reshape(net.slice(split, 0, part, part + 1), 2, heads, tokens, size) for part in range(3))
    scores = net.op("MatMul", f"{q} {net.transpose(k, 0, 1, 3, 2)}", (2, heads, tokens, tokens))
    scores = net.op("Mul", f"{scores} {net.scalar(size**-0.5)}", (2, heads, tokens, tokens))
    weights = net.op("Softmax", scores, (2, heads, tokens, tokens), axis=3)
    mixed = net.op("MatMul", f"{weights} {v}", (2, heads, tokens, size))
    merged = net.reshape(net.transpose(mixed, 0, 2, 1, 3), 2, tokens, width)
    out = net.op("Dense", f"{merged} {net.constant(width, width, scale=0.1)}", (2, tokens, width))
    net.op("Add", f"{out} x", (2, tokens, width))
    program = check(net.graph())
    assert set(_kinds(program)) <= {"dense", "matmul", "rows", "attention"}


ATTENTIONS = {
    "odd": ((3, 2), 19, 7, 21, 13),
    "more queries than a task": ((2,), 301, 8, 33, 16),
    "many keys": ((1, 2), 5, 20, 700, 40),
    "one query": ((4,), 1, 16, 50, 16),
    "one key": ((2,), 3, 16, 1, 16),
    "one element": ((2,), 9, 1, 17, 1),
}


@pytest.mark.parametrize("way", range(4))
def test_attention_of_any_size(way: int, check: Check, target: Target) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (batch, queries, inner, keys, width) in enumerate(ATTENTIONS.values()):
        shapes |= {f"q{index}": (*batch, queries, inner), f"k{index}": (*batch, keys, inner)}
        shapes |= {f"v{index}": (*batch, keys, width), f"m{index}": (queries, keys)}
    net = Net(**shapes)
    for index, (batch, queries, _, keys, width) in enumerate(ATTENTIONS.values()):
        rank, scores = len(batch), (*batch, queries, keys)
        turned = net.transpose(f"k{index}", *range(rank), rank + 1, rank)
        x = net.op("MatMul", f"q{index} {turned}", scores)
        x = net.op("Mul", f"{x} {net.scalar(0.3)}", scores)
        x = net.op("Add", f"{x} m{index}", scores)
        x = net.op("Add", f"{x} {net.constant(keys)}", scores)
        x = net.op("Softmax", x, scores, axis=rank + 1)
        net.op("MatMul", f"{x} v{index}", (*batch, queries, width))

    def choose(works: Any) -> Any:
        found = {key: module.candidates(work, target) for key, (work, module) in works.items()}
        return {key: configs[way % len(configs)] for key, configs in found.items()}

    program = check(net.graph(), choose=choose)
    assert _kinds(program).count("attention") == len(ATTENTIONS)


def test_attention_whose_weights_are_an_output_is_not_joined(check: Check) -> None:
    net = Net(q=(2, 9, 8), k=(2, 8, 11), v=(2, 11, 5))
    weights = net.op("Softmax", net.op("MatMul", "q k", (2, 9, 11)), (2, 9, 11), axis=2)
    y = net.op("MatMul", f"{weights} v", (2, 9, 5))
    program = check(net.graph().with_(outputs=(y, weights)))
    assert _kinds(program) == ["matmul", "rows", "matmul"]


def test_dense_takes_residuals_scales_and_both_gelus(check: Check) -> None:
    net = Net(x=(21, 40), r=(21, 37))
    for approximate in ("none", "tanh"):
        y = net.op("Dense", f"x {net.constant(40, 37)}", (21, 37))
        y = net.op("Mul", f"{y} {net.constant(37)}", (21, 37))
        y = net.op("Gelu", y, (21, 37), approximate=approximate)
        net.op("Add", f"{y} r", (21, 37))
    program = check(net.graph())
    assert _kinds(program) == ["dense", "dense"]


def test_a_vector_per_channel_after_dense_belongs_to_the_last_axis(check: Check) -> None:
    net = Net(x=(1, 6, 5, 6))
    y = net.op("Dense", f"x {net.constant(6, 6)}", (1, 6, 5, 6))
    y = net.op("Relu", y, (1, 6, 5, 6))
    y = net.op("Mul", f"{y} {net.constant(1, 6, 1, 1)}", (1, 6, 5, 6))
    net.op("Mul", f"{y} {net.constant(6)}", (1, 6, 5, 6))
    check(net.graph())


LENGTHS = (1, 3, 16, 49, 64, 77, 197, 260)


def test_rows_of_any_length(check: Check) -> None:
    net = Net(**{f"x{length}": (3, 5, length) for length in LENGTHS})
    for length in LENGTHS:
        shape = (3, 5, length)
        net.op("Softmax", f"x{length}", shape, axis=2)
        scale, bias = net.constant(length), net.constant(length)
        net.op("LayerNormalization", f"x{length} {scale} {bias}", shape, axis=2, epsilon=1e-5)
        net.op("LayerNormalization", f"x{length} {scale}", shape, axis=2, epsilon=1e-3)
    program = check(net.graph())
    assert set(_kinds(program)) == {"rows"}


def test_softmax_over_other_axes(check: Check) -> None:
    shapes = [((2, 5, 7, 9), 1), ((3, 11, 40), 1), ((21, 33), 0), ((2, 6, 4, 1), 1)]
    net = Net(**{f"x{index}": shape for index, (shape, _) in enumerate(shapes)})
    for index, (shape, axis) in enumerate(shapes):
        net.op("Softmax", f"x{index}", shape, axis=axis)
    assert set(_kinds(check(net.graph()))) <= {"rows", "columns"}


def test_softmax_of_masked_rows_has_no_subnormal_numbers(check: Check) -> None:
    net = Net(x=(4, 40))
    net.op("Softmax", net.op("Mul", f"x {net.scalar(200.0)}", (4, 40)), (4, 40), axis=1)
    check(net.graph())


def test_normalisation_over_two_axes_and_into_windows(check: Check) -> None:
    net = Net(x=(1, 8, 8, 20), y=(2, 6, 7))
    scale = net.constant(20)
    x = net.op("LayerNormalization", f"x {scale}", (1, 8, 8, 20), axis=3, epsilon=1e-5)
    x = net.transpose(net.reshape(x, 1, 2, 4, 2, 4, 20), 0, 1, 3, 2, 4, 5)
    net.op("Dense", f"{net.reshape(x, 4, 16, 20)} {net.constant(20, 9)}", (4, 16, 9))
    net.op("LayerNormalization", f"y {net.constant(6, 7)}", (2, 6, 7), axis=1, epsilon=1e-5)
    program = check(net.graph())
    assert sorted(_kinds(program)) == ["dense", "rows", "rows"], "windows are written where they are read"


PERMUTATIONS = [
    ((5, 37), (1, 0)),
    ((2, 17, 33), (0, 2, 1)),
    ((3, 20, 4, 18), (3, 1, 0, 2)),
    ((1, 40, 9, 9), (0, 2, 3, 1)),
    ((2, 3, 4, 5, 6), (4, 2, 0, 3, 1)),
    ((2, 9, 3, 64), (2, 0, 1, 3)),
]


def test_transposes_are_one_copy(check: Check) -> None:
    net = Net(**{f"x{index}": shape for index, (shape, _) in enumerate(PERMUTATIONS)})
    for index, (_, perm) in enumerate(PERMUTATIONS):
        net.transpose(f"x{index}", *perm)
    program = check(net.graph())
    assert _kinds(program) == ["copy"] * len(PERMUTATIONS)


def test_moves_are_composed_before_anything_is_copied(check: Check) -> None:
    net = Net(x=(2, 12, 10))
    y = net.reshape(net.transpose(net.slice("x", 1, 2, 12, 2), 0, 2, 1), 20, 5)
    net.slice(net.op("Expand", net.reshape(y, 20, 1, 5), (20, 3, 5), shape=(20, 3, 5)), 0, 10, 20)
    assert _kinds(check(net.graph())) == ["copy"]


def test_depth_to_space_and_back_is_one_copy_each(check: Check) -> None:
    net = Net(x=(1, 12, 5, 7))
    y = net.transpose(net.reshape("x", 1, 2, 2, 3, 5, 7), 0, 3, 4, 1, 5, 2)
    y = net.op("Relu", net.reshape(y, 1, 3, 10, 14), (1, 3, 10, 14))
    net.reshape(net.transpose(net.reshape(y, 1, 3, 5, 2, 7, 2), 0, 3, 5, 1, 2, 4), 1, 12, 5, 7)
    assert len(check(net.graph()).calls) <= 3


def test_concatenations_are_written_in_place(check: Check) -> None:
    net = Net(x=(2, 6, 10), y=(2, 3, 10))
    parts = net.op("Relu", "x", (2, 6, 10)), net.op("Exp", "y", (2, 3, 10)), net.constant(2, 1, 10)
    z = net.op("Concat", " ".join(parts), (2, 10, 10), axis=1)
    z = net.op("Concat", f"{z} {net.op('Neg', 'y', (2, 3, 10))}", (2, 13, 10), axis=1)
    net.op("Softmax", z, (2, 13, 10), axis=2)
    program = check(net.graph())
    assert _kinds(program).count("copy") == 1, "the constant only"


def test_a_part_that_reads_from_the_whole_is_copied(check: Check) -> None:
    net = Net(x=(2, 8, 6))
    a = net.op("Relu", "x", (2, 8, 6))
    z = net.op("Concat", f"{net.slice(a, 1, 3, 8)} {net.slice(a, 1, 0, 3)}", (2, 8, 6), axis=1)
    net.op("Concat", f"{net.slice(z, 2, 2, 6)} {net.slice(z, 2, 0, 2)}", (2, 8, 6), axis=2)
    check(net.graph())


BROADCASTS = [
    ((2, 9, 17), (17,)), ((2, 9, 17), (9, 1)), ((2, 9, 17), (2, 1, 1)), ((2, 9, 17), (2, 9, 17)),
    ((3, 4, 5, 6), (4, 1, 6)), ((1, 20, 7, 7), (1, 1, 7, 7)), ((70,), (1,)), ((2, 3, 2, 3, 40), (2, 1, 40)),
]  # fmt: skip


def test_operands_broadcast(check: Check) -> None:
    net = Net(**{f"x{i}": shape for i, (shape, _) in enumerate(BROADCASTS)}, **{
        f"y{i}": other for i, (_, other) in enumerate(BROADCASTS)
    })  # fmt: skip
    for index, (shape, other) in enumerate(BROADCASTS):
        x = net.op("Add", f"x{index} y{index}", shape)
        x = net.op("Sub", f"{net.constant(*other)} {x}", shape)
        net.op("Sigmoid", x, shape)
    program = check(net.graph())
    assert _kinds(program) == ["elementwise"] * len(BROADCASTS)


def test_blocked_and_moved_operands_meet(check: Check) -> None:
    point = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    net = Net(x=(1, 8, 6, 6), rows=(1, 36, 24), map=(1, 1, 6, 6))
    c = net.op("Conv", f"x {net.constant(24, 8, 1, 1)}", (1, 24, 6, 6), **point)
    d = net.reshape(net.transpose("rows", 0, 2, 1), 1, 24, 6, 6)
    first = net.op("Exp", net.op("Mul", f"{c} map", (1, 24, 6, 6)), (1, 24, 6, 6))
    net.op("Add", f"{c} {d}", (1, 24, 6, 6))
    net.op("Mul", f"{first} {net.constant(1, 24, 6, 1)}", (1, 24, 6, 6))
    check(net.graph())


CHANNELS = [(20, 12), (58, 58), (16, 16), (7, 24, 9)]


@pytest.mark.parametrize("parts", CHANNELS, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_channels_are_joined_shuffled_and_split_in_blocks(
    parts: tuple[int, ...], batch: int, check: Check
) -> None:
    point = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    total = sum(parts)
    groups = next(g for g in (2, 4, 5) if total % g == 0)
    net = Net(x=(batch, 6, 3, 5))
    made = [
        net.op("Conv", f"x {net.constant(count, 6, 1, 1)}", (batch, count, 3, 5), **point) for count in parts
    ]
    for _ in range(2):
        y = net.op("Concat", " ".join(made), (batch, total, 3, 5), axis=1)
        y = net.transpose(net.reshape(y, batch, groups, total // groups, 3, 5), 0, 2, 1, 3, 4)
        y = net.reshape(y, batch, total, 3, 5)
        shapes = [(batch, count, 3, 5) for count in parts]
        first, *rest = net.op("Split", y, *shapes, axis=1, split=parts)
        weights = net.constant(parts[0], parts[0], 1, 1, scale=0.3)
        made = [net.op("Conv", f"{first} {weights}", shapes[0], **point), *rest]
    net.op("Conv", f"{made[0]} {net.constant(3, parts[0], 1, 1)}", (batch, 3, 3, 5), **point)
    last = net.slice(made[-1], 1, 1, parts[-1], 2)
    net.op("Conv", f"{last} {net.constant(3, parts[-1] // 2, 1, 1)}", (batch, 3, 3, 5), **point)
    program = check(net.graph())
    copies = _kinds(program).count("copy")
    assert copies <= 4 + 3 * len(parts), [call.node for call in program.calls]


def test_integers_are_only_viewed_where_nothing_needs_a_copy(target: Target) -> None:
    nodes = [
        Node("flat", "Reshape", ("i",), ("f",), {"shape": (12,)}),
        Node("turn", "Transpose", ("i",), ("t",), {"perm": (1, 0)}),
        Node("real", "Cast", ("t",), ("y",), {"to": 1}),
        Node("other", "Cast", ("f",), ("z",), {"to": 1}),
    ]
    types = {"i": TensorType("int32", (3, 4)), "f": TensorType("int32", (12,))}
    types |= {"t": TensorType("int32", (4, 3)), "y": TensorType("float32", (4, 3))}
    types |= {"z": TensorType("float32", (12,))}
    graph = Graph("integers", tuple(nodes), ("i",), ("y", "z"), types, {}, 17)
    program = generate(graph, target, Tuner(target))
    assert not any(call.kind.startswith("copy") for call in program.calls)
