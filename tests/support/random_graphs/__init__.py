"""Random ONNX graphs of everything that image models use. The same seed gives the same graph for ever.

    random_graph(7)      # the graph of seed 7
    random_graphs()      # a hypothesis strategy of the same graphs, which shrinks

A graph is a row of *steps*; a step is one function that adds one node or a whole block to a `Sketch`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

from . import blocks, choosing, elementwise, layers, movement, transformers
from .sketch import Array, Pick, Sketch, Value

__all__ = ["OPERATORS", "OPSETS", "feeds", "operators", "random_graph", "random_graphs"]

OPSETS = range(11, 23)
_LEAST_NODES, _MOST_NODES = 5, 40

# Families in turn, so that none crowds out another. Below, every step, so that none is forgotten.
_FAMILIES = (
    layers.STEPS,
    (*blocks.STEPS, *transformers.STEPS),
    elementwise.STEPS,
    movement.STEPS,
    layers.STEPS,
    choosing.STEPS,
    elementwise.STEPS,
)
_EVERY_STEP = (
    *dict.fromkeys(step for family in _FAMILIES for step in family),
    *(*elementwise.EACH, *layers.EACH, *movement.EACH, *choosing.EACH),
)
_DEALT = 5  # steps that a graph begins with, by its number

OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitwiseAnd
    BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos
    Cosh CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool
    Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression Not OneHot Or PRelu Pad Pow Range
    Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize RoiAlign Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh
    Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905 - a table is easier to read
)
"""What the graphs are made of."""


def random_graph(seed: int) -> onnx.ModelProto:
    """The graph of a seed, 0 or more; its operator set version is 11 + seed % 12."""
    # random() is promised to give the same numbers in every version of Python; randrange() is not.
    chance = random.Random(seed)
    return _grown(lambda n: int(chance.random() * n), seed, f"graph_{seed}")


@st.composite
def random_graphs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> onnx.ModelProto:
    """The same graphs, made of hypothesis's choices."""
    number = draw(st.integers(0, len(OPSETS) * len(_EVERY_STEP)))
    return _grown(lambda n: int(draw(st.integers(0, n - 1))), number, "graph")


def _grown(pick: Pick, number: int, name: str) -> onnx.ModelProto:
    s = Sketch(pick, OPSETS[number % len(OPSETS)])
    wanted = s.between(_LEAST_NODES, _MOST_NODES - 10)
    families = s.permutation(len(_FAMILIES))
    dealt = [_EVERY_STEP[(number * _DEALT + k) % len(_EVERY_STEP)] for k in range(_DEALT)]
    for turn in count():
        if len(s.nodes) >= wanted:
            break
        step = dealt.pop() if dealt else s.one_of(_FAMILIES[families[turn % len(families)]])
        made = step(s)
        s.live.extend(made if isinstance(made, list) else [made])
    return s.model(_outputs(s), name)


def _outputs(s: Sketch) -> list[Value]:
    """What nobody reads (or some of it: others are dead branches), and perhaps a value that is read."""
    made = {name for node in s.nodes for name in node.output}
    live = [value for value in s.live if value.name in made]
    ends = [value for value in live if value.name not in s.used]
    outputs = [value for value in ends if value is ends[-1] or not s.chance(20)] if ends else live[-1:]
    inner = [value for value in live if value.name in s.used and value not in outputs]
    if inner and s.chance(30):
        outputs.append(s.one_of(inner))
    return outputs[-6:]


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Normal numbers for float inputs; 0 or 1, which every index may be, for integers."""
    rng = np.random.RandomState(seed)
    found = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        numbers = rng.standard_normal(shape) if dtype.kind == "f" else rng.randint(0, 2, shape)
        found[value.name] = np.asarray(numbers, dtype)
    return found
