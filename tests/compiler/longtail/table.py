"""One row per thing an operator can do: operator, inputs, constants, attributes, operator set version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    op: str
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, array.shape)) for array in self.inputs.values())
        words = "-".join(f"{key}={value}" for key, value in self.attributes.items())
        return "-".join(filter(None, (self.op, shapes, words)))


_RNG = np.random.default_rng(1)


def _real(*shape: int) -> Array:
    return _RNG.standard_normal(shape).astype(np.float32)


def _positive(*shape: int) -> Array:
    return np.abs(_real(*shape)) + np.float32(0.1)


def _inside(*shape: int) -> Array:
    return _real(*shape).clip(-0.9, 0.9)


def _whole(high: int, *shape: int) -> Array:
    return _RNG.integers(0, high, shape)


def _truth(*shape: int) -> Array:
    return _RNG.random(shape) > 0.5


def _ints(*values: int) -> Array:
    return np.array(values, np.int64)


def _floats(*values: float) -> Array:
    return np.array(values, np.float32)


def _scalar(value: float) -> Array:
    return np.array(value, np.float32)


_UNARY = {
    _real: """Abs Neg Ceil Floor Round Exp Sigmoid Tanh Erf Sin Cos Tan Sinh Cosh Asinh Atan Relu LeakyRelu
        Elu Selu Softplus Softsign HardSigmoid HardSwish Mish Sign IsNaN ThresholdedRelu Celu Gelu Shrink
        LogSoftmax Hardmax GlobalAveragePool GlobalMaxPool Identity LpNormalization""",
    _positive: "Log Sqrt Reciprocal",
    _inside: "Asin Acos Atanh",
}
_REDUCTIONS = """ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceSumSquare"""


def elementwise() -> list[Case]:
    cases = [Case(op, {"x": make(2, 3, 7, 11)}) for make, ops in _UNARY.items() for op in ops.split()]
    cases += [
        Case(op, {"x": _real(2, 3, 5, 33), "z": _positive(3, 1, 1)})
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "PRelu")
    ]
    cases += [
        Case(op, {"x": _whole(4, 2, 33).astype(np.float32), "z": _whole(4, 33).astype(np.float32)})
        for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
    ]
    cases += [Case(op, {"x": _truth(2, 33), "z": _truth(33)}) for op in ("And", "Or", "Xor")]
    cases += [
        Case(op, {"x": _whole(99, 2, 33), "z": _whole(99, 33)})
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mul")
    ]
    kinds = [np.float32, np.float64, np.float16, np.int8, np.int32, np.int64, np.bool_]
    cases += [
        Case("Cast", {"x": _real(3, 50) * 40}, attributes={"to": code}) for code in (1, 3, 6, 7, 9, 10, 11)
    ]
    cases += [
        Case("Cast", {"x": (_real(3, 50) * 9).astype(kind)}, attributes={"to": 1}) for kind in kinds[1:]
    ]
    return [
        *cases,
        Case("Acosh", {"x": _positive(3, 50) + 1}),
        Case("Not", {"x": _truth(3, 50)}),
        Case("BitwiseNot", {"x": _whole(99, 3, 50)}),
        Case("Add", {"x": _real(4, 33), "z": _real(33)}),
        Case("Add", {"x": _real(40000), "z": _real(40000)}),
        Case("Div", {"x": _whole(99, 4, 33) - 50, "z": _whole(9, 33) + 1}),
        Case("Pow", {"x": _positive(4, 33), "z": _real(33)}),
        Case("Pow", {"x": _real(4, 33)}, {"z": _scalar(2.0)}),
        Case("Pow", {"x": _real(4, 33), "z": _whole(5, 33)}),
        Case("Pow", {"x": _whole(9, 33), "z": _whole(5, 33)}),
        Case("Mod", {"x": _real(4, 33) * 9, "z": _positive(33)}, attributes={"fmod": 1}),
        Case("Mod", {"x": _whole(99, 4, 33) - 50, "z": _whole(9, 33) + 1}),
        Case("Clip", {"x": _real(2, 33)}, {"low": _scalar(-0.5), "high": _scalar(0.5)}),
        Case("Clip", {"x": _real(2, 33)}, {"low": _scalar(-0.5)}),
        Case("Where", {"c": _truth(3, 33), "x": _real(2, 3, 33), "z": _real(33)}),
        *(
            Case("IsInf", {"x": _floats(*([1, np.inf, -np.inf, np.nan] * 5))}, attributes=signs)
            for signs in ({}, {"detect_positive": 0}, {"detect_negative": 0})
        ),
        Case("QuantizeLinear", {"x": _real(3, 40)}, {"s": _scalar(0.02), "z": np.array(128, np.uint8)}),
        Case(
            "DequantizeLinear",
            {"x": _whole(255, 3, 40).astype(np.uint8)},
            {"s": _scalar(0.02), "z": np.array(128, np.uint8)},
        ),
    ]


def normalization() -> list[Case]:
    cases = [Case("Softmax", {"x": _real(3, 40, 21)}, attributes={"axis": axis}) for axis in (0, 1, -1)]
    for op in _REDUCTIONS.split():
        cases += [
            Case(op, {"x": _positive(3, 10, 37)}, {"axes": _ints(2)}),
            Case(op, {"x": _positive(3, 4, 37)}, {"axes": _ints(1)}, attributes={"keepdims": 0}),
            Case(op, {"x": _positive(3, 4, 37)}, {"axes": _ints(0, 2)}),
            Case(op, {"x": _positive(3, 4, 5)}),
        ]
    for op in ("ArgMax", "ArgMin"):
        cases += [
            Case(op, {"x": _real(3, 10, 37)}, attributes={"axis": 1}),
            Case(op, {"x": _real(3, 37)}, attributes={"axis": 1, "keepdims": 0}),
            Case(
                op,
                {"x": _whole(3, 3, 37).astype(np.float32)},
                attributes={"axis": 1, "select_last_index": 1},
            ),
        ]
    image = _real(2, 6, 9, 9)
    scale, bias = _real(6), _real(6)
    return [
        *cases,
        Case("Softmax", {"x": _real(2, 3000)}),
        Case("Softmax", {"x": _real(12, 300)}),
        Case("LayerNormalization", {"x": _real(3, 40, 50), "s": _real(50), "b": _real(50)}),
        Case("LayerNormalization", {"x": _real(3, 40, 50), "s": _real(40, 50)}, attributes={"axis": 1}),
        Case("InstanceNormalization", {"x": image, "s": scale, "b": bias}),
        Case(
            "GroupNormalization",
            {"x": image, "s": scale, "b": bias},
            opset=21,
            attributes={"num_groups": 3},
        ),
        Case("BatchNormalization", {"x": image}, {"s": scale, "b": bias, "m": _real(6), "v": _positive(6)}),
        Case("MeanVarianceNormalization", {"x": image}),
        Case("LRN", {"x": image}, attributes={"size": 3}),
        Case("ReduceSum", {"x": _whole(9, 3, 50)}, {"axes": _ints(1)}),
        Case("ReduceMax", {"x": np.full((3, 50), -np.inf, np.float32)}, {"axes": _ints(1)}),
        Case("CumSum", {"x": _real(3, 20)}, {"axis": np.array(1)}),
        Case(
            "CumSum", {"x": _real(3, 20, 7)}, {"axis": np.array(1)}, attributes={"exclusive": 1, "reverse": 1}
        ),
        Case("TopK", {"x": _real(3, 20)}, {"k": _ints(4)}, outputs=2),
        Case(
            "TopK",
            {"x": _whole(4, 3, 20, 5).astype(np.float32)},
            {"k": _ints(7)},
            2,
            attributes={"axis": 1, "largest": 0},
        ),
    ]


def movement() -> list[Case]:
    image = _real(2, 3, 9, 21)
    pads = _ints(0, 0, 1, 2, 0, 0, 3, 4)
    modes = ("constant", "reflect", "edge", "wrap")
    return [
        Case(
            "Concat",
            {"a": _real(2, 3, 20), "b": _real(2, 1, 20), "c": _real(2, 7, 20)},
            attributes={"axis": 1},
        ),
        Case("Concat", {"a": _real(2, 3, 20), "b": _real(2, 3, 40)}, attributes={"axis": 2}),
        Case("Concat", {"a": _real(1, 300, 70), "b": _real(1, 200, 70)}, attributes={"axis": 1}),
        Case("Concat", {f"a{k}": _real(2, 3, 20) for k in range(30)}, attributes={"axis": 1}),
        Case("Split", {"x": _real(2, 9, 20)}, {"s": _ints(2, 3, 4)}, 3, attributes={"axis": 1}),
        Case("Split", {"x": _real(2, 9, 20)}, outputs=3, attributes={"axis": 1, "num_outputs": 3}),
        Case(
            "Slice",
            {"x": _real(4, 9, 20)},
            {"s": _ints(1, 2), "e": _ints(4, 19), "a": _ints(0, 2), "t": _ints(1, 3)},
        ),
        Case("Slice", {"x": _real(4, 20)}, {"s": _ints(-1), "e": _ints(-99), "a": _ints(1), "t": _ints(-1)}),
        *(Case("Pad", {"x": image}, {"p": pads}, attributes={"mode": mode}) for mode in modes),
        Case("Pad", {"x": image}, {"p": pads, "v": _scalar(1.5)}),
        Case("Pad", {"x": _real(2, 9)}, {"p": _ints(0, -1, 0, 2)}),
        Case("Gather", {"x": _real(9, 20), "i": _whole(9, 3, 2)}, attributes={"axis": 0}),
        Case("Gather", {"x": _real(4, 20), "i": _whole(20, 3) - 10}, attributes={"axis": 1}),
        Case("Gather", {"x": _real(4, 20)}, {"i": np.array(3)}, attributes={"axis": 1}),
        Case("GatherElements", {"x": _real(4, 20), "i": _whole(4, 3, 20)}, attributes={"axis": 0}),
        Case("GatherND", {"x": _real(4, 5, 20), "i": _whole(4, 3, 2)}),
        Case(
            "ScatterElements",
            {"x": _real(4, 20), "i": np.array([[1, 0, 2], [3, 2, 0]]), "u": _real(2, 3)},
            attributes={"axis": 1},
        ),
        Case("ScatterND", {"x": _real(8, 20), "i": np.array([[4], [3], [1]]), "u": _real(3, 20)}),
        Case("Transpose", {"x": image}, attributes={"perm": [0, 2, 3, 1]}),
        Case("Transpose", {"x": _real(40, 21)}, attributes={"perm": [1, 0]}),
        Case("Reshape", {"x": _real(2, 3, 20)}, {"s": _ints(6, -1)}),
        Case("Flatten", {"x": _real(2, 3, 20)}),
        Case("Expand", {"x": _real(3, 1, 20)}, {"s": _ints(2, 3, 4, 20)}),
        Case("Tile", {"x": _real(3, 20)}, {"r": _ints(2, 3)}),
        Case("DepthToSpace", {"x": _real(1, 8, 5, 6)}, attributes={"blocksize": 2}),
        Case("DepthToSpace", {"x": _real(1, 8, 5, 6)}, attributes={"blocksize": 2, "mode": "CRD"}),
        Case("SpaceToDepth", {"x": _real(1, 3, 8, 6)}, attributes={"blocksize": 2}),
        Case("Trilu", {"x": _real(9, 20)}, attributes={"upper": 0}),
        Case("OneHot", {"i": _whole(5, 3, 4)}, {"d": np.array(5), "v": _floats(0, 1)}),
        Case("GridSample", {"x": _real(1, 3, 8, 9), "g": _real(1, 5, 6, 2) * np.float32(0.5)}),
    ]


def windows() -> list[Case]:
    cases = [
        Case(
            "Resize",
            {"x": _real(1, 3, 5, 7)},
            {"": np.zeros(0, np.float32), " ": np.zeros(0, np.float32), "size": _ints(1, 3, 11, 9)},
            attributes={"mode": mode, "coordinate_transformation_mode": where},
        )
        for mode in ("nearest", "linear", "cubic")
        for where in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ]
    cases += [
        Case(
            "Resize",
            {"x": _real(1, 3, 9, 7)},
            {"": np.zeros(0, np.float32), " ": np.zeros(0, np.float32), "size": _ints(1, 3, 4, 19)},
            attributes={"mode": mode, "antialias": 1},
        )
        for mode in ("linear", "cubic")
    ]
    for op in ("MaxPool", "AveragePool", "LpPool"):
        cases += [
            Case(
                op,
                {"x": _real(1, 3, 14, 20)},
                attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            ),
            Case(
                op,
                {"x": _real(1, 3, 14, 20)},
                attributes={"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
            ),
        ]
    pool = _real(1, 3, 15, 20)
    return [
        *cases,
        Case(
            "AveragePool",
            {"x": pool},
            attributes={
                "kernel_shape": [3, 3],
                "strides": [2, 2],
                "pads": [1, 0, 1, 1],
                "count_include_pad": 1,
            },
        ),
        Case(
            "AveragePool", {"x": pool}, attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
        ),
        Case("AveragePool", {"x": _real(1, 3, 8, 8, 8)}, attributes={"kernel_shape": [2, 2, 2]}),
        Case("MaxPool", {"x": pool}, attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        Case("MaxPool", {"x": pool}, attributes={"kernel_shape": [3, 3], "dilations": [2, 2]}),
        Case("MaxPool", {"x": _real(1, 3, 40)}, attributes={"kernel_shape": [3], "strides": [2]}),
        Case(
            "Conv",
            {"x": _real(1, 4, 9, 20), "w": _real(6, 4, 3, 3), "b": _real(6)},
            attributes={"pads": [1, 1, 1, 1]},
        ),
        Case(
            "Conv",
            {"x": _real(1, 4, 19, 20), "w": _real(6, 2, 3, 3)},
            attributes={"group": 2, "strides": [2, 2], "dilations": [2, 2]},
        ),
        Case(
            "Conv",
            {"x": _real(1, 6, 9, 9), "w": _real(6, 1, 3, 3)},
            attributes={"group": 6, "auto_pad": "SAME_UPPER"},
        ),
        Case("Conv", {"x": _real(2, 4, 50), "w": _real(6, 4, 3), "b": _real(6)}, attributes={"pads": [1, 1]}),
        Case(
            "Conv",
            {"x": _real(1, 2, 5, 6, 7), "w": _real(4, 2, 3, 3, 3), "b": _real(4)},
            attributes={"pads": [1] * 6},
        ),
        Case("Conv", {"x": _real(1, 4, 9, 20)}, {"w": _real(6, 4, 3, 3), "b": _real(6)}),
        Case(
            "ConvTranspose",
            {"x": _real(1, 3, 7, 7), "w": _real(3, 5, 3, 3), "b": _real(5)},
            attributes={"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        ),
        Case(
            "ConvTranspose",
            {"x": _real(1, 4, 7, 7), "w": _real(4, 2, 2, 2)},
            attributes={"strides": [2, 2], "group": 2},
        ),
        Case("ConvTranspose", {"x": _real(1, 3, 17), "w": _real(3, 5, 3)}, attributes={"strides": [2]}),
        Case("MatMul", {"x": _real(2, 3, 17, 30), "w": _real(2, 3, 30, 21)}),
        Case("MatMul", {"x": _real(2, 17, 30), "w": _real(30, 21)}),
        Case("MatMul", {"x": _real(30), "w": _real(30, 21)}),
        Case("MatMul", {"x": _real(17, 30), "w": _real(30)}),
        Case(
            "Gemm",
            {"x": _real(17, 30), "w": _real(21, 30), "b": _real(21)},
            attributes={"transB": 1, "alpha": 0.5, "beta": 2.0},
        ),
        Case("Gemm", {"x": _real(30, 17), "w": _real(30, 21)}, attributes={"transA": 1}),
        Case(
            "MatMulInteger",
            {"x": _whole(255, 9, 20).astype(np.uint8), "w": _whole(255, 20, 7).astype(np.uint8)},
        ),
        Case("Einsum", {"x": _real(2, 3, 17), "w": _real(2, 17, 5)}, attributes={"equation": "bij,bjk->bik"}),
    ]
