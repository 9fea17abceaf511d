"""What a model computes is the same before and after import and all passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import REPEATED, run_passes
from sanderling.compiler.verifier import verify
from sanderling.models import zoo
from tests.support.graphs import assert_equivalent

Array = npt.NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]


@pytest.mark.parametrize("name", zoo.names())
def test_zoo_model_computes_the_same(name: str) -> None:
    model = zoo.materialize(name)
    graph = run_passes(to_graph(load_onnx(model)))
    assert verify(graph, canonical=True) == []
    assert_equivalent(model, graph)


class Sketch:
    """A small model that grows step by step; `x` is its newest value."""

    def __init__(self, opset: int, shape: tuple[int, ...], seed: int) -> None:
        self.opset = opset
        self.x, self.shape = "input", shape
        self._input = helper.make_tensor_value_info("input", 1, shape)
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: list[onnx.ValueInfoProto] = []

    @property
    def rank(self) -> int:
        return len(self.shape)

    def floats(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant((self._rng.standard_normal(shape) * scale).astype(np.float32))

    def positive(self, *shape: int) -> str:
        return self.constant(self._rng.uniform(0.5, 2.0, shape).astype(np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def constant(self, array: Array) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def value(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node that is no step of its own; returns its first output."""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def step(self, op: str, *inputs: str, shape: tuple[int, ...] | None = None, **attributes: Any) -> None:
        """Add a node and go on from its output."""
        self.x = self.value(op, *inputs, **attributes)
        self.shape = self._shape_of(self.x) if shape is None else shape
        self._known.append(helper.make_tensor_value_info(self.x, 1, self.shape))

    def model(self) -> onnx.ModelProto:
        return self._model(helper.make_tensor_value_info(self.x, 1, self.shape))

    def _model(self, output: onnx.ValueInfoProto) -> onnx.ModelProto:
        known = [value for value in self._known if value.name != output.name]
        graph = helper.make_graph(
            self._nodes, "sketch", [self._input], [output], self._constants, value_info=known
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _shape_of(self, value: str) -> tuple[int, ...]:
        model = self._model(helper.make_tensor_value_info(value, 1, None))
        found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0]
        return tuple(dim.dim_value for dim in found.type.tensor_type.shape.dim)


def convolution(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank != 4:
        return
    channels = sketch.shape[1]
    group = draw(st.sampled_from([1, channels]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    window = {"strides": draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))}
    window |= draw(
        st.sampled_from([{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [2, 1, 1, 2]}])
    )
    if "pads" in window:
        window["dilations"] = dilations
        if any(
            (k - 1) * d + 1 > size for k, d, size in zip(kernel, dilations, sketch.shape[2:], strict=True)
        ):
            return
    weights = sketch.floats(group * draw(st.integers(1, 2)), channels // group, *kernel)
    bias = [sketch.floats(*sketch_shape(sketch, weights)[:1])] if draw(st.booleans()) else []
    sketch.step("Conv", sketch.x, weights, *bias, group=group, **window)


def sketch_shape(sketch: Sketch, constant: str) -> tuple[int, ...]:
    return tuple(sketch._constants[int(constant[1:])].dims)


def transposed_convolution(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank != 4 or max(sketch.shape) > 12:
        return
    channels = sketch.shape[1]
    window = draw(
        st.sampled_from(
            [
                {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
                {"strides": [2, 1], "auto_pad": "SAME_UPPER"},
                {"strides": [2, 1], "auto_pad": "SAME_LOWER"},
                {"dilations": [2, 1]},
            ]
        )
    )
    sketch.step("ConvTranspose", sketch.x, sketch.floats(channels, 2, 3, 2), **window)


def batch_normalization(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank < 2:
        return
    n = sketch.shape[1]
    inputs = (sketch.floats(n), sketch.floats(n), sketch.floats(n), sketch.positive(n))
    sketch.step("BatchNormalization", sketch.x, *inputs, epsilon=1e-3)


def pooling(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank != 4 or min(sketch.shape[2:]) < 3:
        return
    window: dict[str, Any] = {"kernel_shape": draw(st.sampled_from([[2, 2], [3, 2], [3, 3]]))}
    window["strides"] = draw(st.sampled_from([[1, 1], [2, 2], [2, 1]]))
    window["ceil_mode"] = draw(st.integers(0, 1))
    window |= draw(st.sampled_from([{}, {"pads": [1, 0, 0, 1]}, {"pads": [1, 1, 1, 1]}]))
    if any(_starts_late(window, axis, size) for axis, size in enumerate(sketch.shape[2:])):
        return
    if draw(st.booleans()):
        sketch.step("MaxPool", sketch.x, **window)
    else:
        # With padding counted and a window that ceil_mode adds, the specification and ONNX Runtime disagreed
        # before version 19.
        counted = 0 if window["ceil_mode"] and sketch.opset < 19 else draw(st.integers(0, 1))
        sketch.step("AveragePool", sketch.x, count_include_pad=counted, **window)


def _starts_late(window: dict[str, Any], axis: int, size: int) -> bool:
    """Whether ceil_mode adds a window in the padding, which ONNX's own shape inference miscounts."""
    pads, stride = window.get("pads", [0] * 4), window["strides"][axis]
    places = -(-(size + pads[axis] + pads[axis + 2] - window["kernel_shape"][axis]) // stride)
    return bool(window["ceil_mode"]) and places * stride >= size + pads[axis]


def global_pooling(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank == 4:
        sketch.step(draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"])), sketch.x)


def reduction(sketch: Sketch, draw: Draw) -> None:
    op = draw(st.sampled_from(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"]))
    axes = draw(
        st.lists(st.integers(-sketch.rank, sketch.rank - 1), unique_by=lambda a: a % sketch.rank, min_size=1)
    )
    keep = draw(st.integers(0, 1))
    if not keep and len(axes) == sketch.rank:
        keep = 1
    as_input = sketch.opset >= 18 or (sketch.opset >= 13 and op == "ReduceSum")
    if as_input:
        sketch.step(op, sketch.x, sketch.ints(*axes), keepdims=keep)
    else:
        sketch.step(op, sketch.x, axes=axes, keepdims=keep)


def padding(sketch: Sketch, draw: Draw) -> None:
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge"]))
    low = -1 if mode == "constant" and min(sketch.shape) > 2 else 0
    limit = 2 if mode != "reflect" else min(2, min(sketch.shape) - 1)
    pads = draw(st.lists(st.integers(low, limit), min_size=2 * sketch.rank, max_size=2 * sketch.rank))
    sketch.step(
        "Pad", sketch.x, sketch.ints(*pads), sketch.scalar(draw(st.sampled_from([0.0, 1.5]))), mode=mode
    )


def reshaping(sketch: Sketch, draw: Draw) -> None:
    match draw(st.integers(0, 4)):
        case 0:
            sketch.step("Flatten", sketch.x, axis=draw(st.integers(0, sketch.rank)))
        case 1:
            sketch.step("Reshape", sketch.x, sketch.ints(0, -1))
        case 2:
            axes = [0, -1]
            if sketch.opset >= 13:
                sketch.step("Unsqueeze", sketch.x, sketch.ints(*axes))
            else:
                sketch.step("Unsqueeze", sketch.x, axes=axes)
        case 3:
            sketch.step("Squeeze", sketch.x)
        case 4:  # as exporters write x.view(x.shape[0], -1)
            first = sketch.value("Gather", sketch.value("Shape", sketch.x), sketch.ints(0))
            rest = math.prod(sketch.shape[1:])
            target = sketch.value("Concat", first, sketch.ints(-1), axis=0)
            sketch.step("Reshape", sketch.x, target, shape=(sketch.shape[0], rest))
    if not sketch.shape:
        sketch.step("Reshape", sketch.x, sketch.ints(1, 1))


def transposition(sketch: Sketch, draw: Draw) -> None:
    sketch.step("Transpose", sketch.x, perm=draw(st.permutations(range(sketch.rank))))


def cutting(sketch: Sketch, draw: Draw) -> None:
    axis = draw(st.integers(-sketch.rank, sketch.rank - 1))
    size = sketch.shape[axis]
    if draw(st.booleans()):
        start = draw(st.integers(0, size - 1))
        bounds = draw(
            st.sampled_from(
                [(start, 2**62, 1), (start - size, size, 2), (-1, -(2**62), -1), (size - 1, -size - 1, -2)]
            )
        )
        inputs = [sketch.ints(value) for value in (bounds[0], bounds[1], axis, bounds[2])]
        sketch.step("Slice", sketch.x, *inputs)
    else:
        sketch.step("Gather", sketch.x, sketch.constant(np.array(-1, np.int64)), axis=axis)
        if not sketch.shape:
            sketch.step("Reshape", sketch.x, sketch.ints(1))


def splitting(sketch: Sketch, draw: Draw) -> None:
    axis = draw(st.integers(-sketch.rank, sketch.rank - 1))
    size = sketch.shape[axis]
    if size < 2:
        return
    sizes = (1, size - 1)
    if sketch.opset >= 13:
        first = sketch.value("Split", sketch.x, sketch.ints(*sizes), outputs=2, axis=axis)
    else:
        first = sketch.value("Split", sketch.x, outputs=2, axis=axis, split=sizes)
    sketch.step("Concat", first[:-1] + "1", first, sketch.x, axis=axis)


def resizing(sketch: Sketch, draw: Draw) -> None:
    if sketch.rank != 4 or max(sketch.shape) > 16:
        return
    mode = draw(
        st.sampled_from(
            [
                {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
                {"mode": "nearest"},
                {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            ]
        )
    )
    n, c, height, width = sketch.shape
    roi = "" if sketch.opset >= 13 else sketch.constant(np.zeros(0, np.float32))
    if draw(st.booleans()):
        scales = draw(st.sampled_from([(2.0, 2.0), (1.5, 2.0), (1.0, 3.0)]))
        sketch.step("Resize", sketch.x, roi, sketch.constant(np.array((1, 1, *scales), np.float32)), **mode)
    else:
        empty = "" if sketch.opset >= 13 else sketch.constant(np.zeros(0, np.float32))
        sketch.step("Resize", sketch.x, roi, empty, sketch.ints(n, c, height + 1, 2 * width), **mode)


def product(sketch: Sketch, draw: Draw) -> None:
    width = sketch.shape[-1]
    if sketch.rank == 2 and draw(st.booleans()):
        transposed = draw(st.integers(0, 1))
        weights = sketch.floats(5, width) if transposed else sketch.floats(width, 5)
        rows = sketch.shape[0]
        bias = draw(st.sampled_from([(), (5,), (1, 5), (rows, 1), (1,), (rows, 5)]))
        inputs = [sketch.x, weights, *([sketch.floats(*bias)] if bias else [])]
        sketch.step("Gemm", *inputs, transB=transposed, alpha=0.5, beta=draw(st.sampled_from([1.0, 2.0])))
    else:
        sketch.step("MatMul", sketch.x, sketch.floats(width, 4))


def arithmetic(sketch: Sketch, draw: Draw) -> None:
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
    shape = draw(st.sampled_from(["scalar", "channel", "last", "full"]))
    if shape == "channel" and sketch.rank > 1:
        operand = sketch.positive(sketch.shape[1], *(1,) * (sketch.rank - 2))
    elif shape == "last":
        operand = sketch.positive(sketch.shape[-1])
    elif shape == "full":
        operand = sketch.positive(*sketch.shape)
    else:
        operand = sketch.scalar(draw(st.sampled_from([0.0, 1.0, 1 / 6, 3.0])) if op not in ("Div",) else 6.0)
    if op != "Div" and draw(st.booleans()):
        sketch.step(op, operand, sketch.x)
    else:
        sketch.step(op, sketch.x, operand)


def several(sketch: Sketch, draw: Draw) -> None:
    op = draw(st.sampled_from(["Sum", "Mean", "Max", "Min"]))
    others = [sketch.value("Relu", sketch.x), sketch.floats(*sketch.shape)]
    sketch.step(op, *draw(st.permutations([sketch.x, *others])))


def softmax(sketch: Sketch, draw: Draw) -> None:
    op = draw(st.sampled_from(["Softmax", "LogSoftmax"]))
    attributes = draw(st.sampled_from([{}, {"axis": -1}, {"axis": 0}, {"axis": sketch.rank - 1}]))
    if not attributes and sketch.rank < 2:
        return
    sketch.step(op, sketch.x, **attributes)


def activation(sketch: Sketch, draw: Draw) -> None:
    op, attributes = draw(
        st.sampled_from(
            [
                ("Relu", {}),
                ("Sigmoid", {}),
                ("Tanh", {}),
                ("LeakyRelu", {"alpha": 0.2}),
                ("LeakyRelu", {}),
                ("HardSigmoid", {}),
                ("Elu", {}),
                ("Softplus", {}),
                ("Identity", {}),
            ]
        )
    )
    sketch.step(op, sketch.x, **attributes)


def clipping(sketch: Sketch, draw: Draw) -> None:
    low, high = draw(st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (0.0, math.inf), (-0.5, None), (None, 2.0)]))
    inputs = ["" if bound is None else sketch.scalar(bound) for bound in (low, high)]
    sketch.step("Clip", sketch.x, *inputs)


def decomposed(sketch: Sketch, draw: Draw) -> None:
    """Activations and normalisations as exporters write them."""
    x = sketch.x
    match draw(st.integers(0, 5)):
        case 0:
            sketch.step("Mul", sketch.value("Sigmoid", x), x)
        case 1:
            shifted = sketch.value("Add", x, sketch.scalar(3.0))
            clipped = sketch.value("Clip", shifted, sketch.scalar(0.0), sketch.scalar(6.0))
            sketch.step("Div", sketch.value("Mul", x, clipped), sketch.scalar(6.0))
        case 2:
            shifted = sketch.value("Add", sketch.scalar(3.0), x)
            clipped = sketch.value("Clip", shifted, sketch.scalar(0.0), sketch.scalar(6.0))
            sketch.step("Mul", sketch.value("Div", clipped, sketch.scalar(6.0)), x)
        case 3:
            erf = sketch.value("Erf", sketch.value("Div", x, sketch.scalar(math.sqrt(2))))
            product = sketch.value("Mul", x, sketch.value("Add", erf, sketch.scalar(1.0)))
            sketch.step("Mul", product, sketch.scalar(0.5))
        case 4:
            cube = sketch.value("Mul", sketch.value("Pow", x, sketch.scalar(3.0)), sketch.scalar(0.044715))
            inner = sketch.value("Mul", sketch.value("Add", x, cube), sketch.scalar(math.sqrt(2 / math.pi)))
            outer = sketch.value("Add", sketch.value("Tanh", inner), sketch.scalar(1.0))
            sketch.step("Mul", sketch.value("Mul", sketch.scalar(0.5), x), outer)
        case 5:
            if sketch.opset >= 18:
                mean = sketch.value("ReduceMean", x, sketch.ints(-1))
            else:
                mean = sketch.value("ReduceMean", x, axes=[-1])
            centred = sketch.value("Sub", x, mean)
            square = sketch.value("Pow", centred, sketch.scalar(2.0))
            if sketch.opset >= 18:
                variance = sketch.value("ReduceMean", square, sketch.ints(-1))
            else:
                variance = sketch.value("ReduceMean", square, axes=[-1])
            # A generous epsilon: rows of one element have no variance at all.
            deviation = sketch.value("Sqrt", sketch.value("Add", variance, sketch.scalar(0.1)))
            normal = sketch.value("Div", centred, deviation)
            scaled = sketch.value("Mul", normal, sketch.floats(sketch.shape[-1]))
            sketch.step("Add", scaled, sketch.floats(sketch.shape[-1]))


def spreading(sketch: Sketch, draw: Draw) -> None:
    if math.prod(sketch.shape) > 4096:
        return
    if draw(st.booleans()):
        sketch.step(
            "Tile",
            sketch.x,
            sketch.ints(*draw(st.lists(st.integers(1, 2), min_size=sketch.rank, max_size=sketch.rank))),
        )
    else:
        sketch.step("Expand", sketch.x, sketch.ints(2, *sketch.shape))


def residual(sketch: Sketch, draw: Draw) -> None:
    sketch.step("Add", sketch.value("Sigmoid", sketch.x), sketch.x)


def dropout(sketch: Sketch, draw: Draw) -> None:
    sketch.step("Dropout", sketch.x)


STEPS = (
    activation,
    arithmetic,
    batch_normalization,
    clipping,
    convolution,
    cutting,
    decomposed,
    dropout,
    global_pooling,
    padding,
    pooling,
    product,
    reduction,
    residual,
    reshaping,
    resizing,
    several,
    softmax,
    splitting,
    spreading,
    transposed_convolution,
    transposition,
)


@st.composite
def models(draw: Draw) -> onnx.ModelProto:
    opset = draw(st.sampled_from([11, 12, 13, 17, 18, 19, 21, 22]))
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        draw(st.integers(3, 9)),
        draw(st.integers(3, 9)),
    )
    sketch = Sketch(opset, shape, draw(st.integers(0, 2**16)))
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        if sketch.rank <= 6 and math.prod(sketch.shape) <= 1 << 16:
            step(sketch, draw)
    if sketch.x == "input":
        sketch.step("Relu", "input")
    return sketch.model()


def check(model: onnx.ModelProto) -> None:
    imported = to_graph(load_onnx(model))
    assert verify(imported) == []
    graph = run_passes(imported)
    assert verify(graph, canonical=True) == []
    assert all(step(graph) is graph for step in REPEATED)
    assert_equivalent(model, graph, tolerance=2e-5)


@settings(max_examples=150)
@given(models())
def test_small_models_compute_the_same(model: onnx.ModelProto) -> None:
    check(model)


@pytest.mark.slow
@settings(max_examples=5000)
@given(models())
def test_many_small_models_compute_the_same(model: onnx.ModelProto) -> None:
    check(model)
