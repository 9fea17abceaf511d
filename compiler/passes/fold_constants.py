"""Compute, once and here, what depends on constants only.

The model file decides what is computed, so both memory and time are bounded: a result may be a few times
larger than what it is made from, all results together have a budget, and operators whose reference is slow
are computed for small tensors only. What is not computed simply stays in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from ..evaluate import run_reference
from ..exporter import node_graph, to_onnx
from ..graph import Array, Graph, Node, TensorType
from ._rewrite import Rewriter, rewrite

_ALWAYS_BYTES = 16 << 20  # a single result may be this large whatever it is made from
_GROWTH = 4  # or this many times what it is made from (8-bit weights become 32-bit ones)
_BUDGET_BYTES = 64 << 20  # all results together, and
_BUDGET_GROWTH = 8  # this many times the model's own constants: few weights go through more steps than that
_SLOW_ELEMENTS = 1 << 16

_NEVER = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# fmt: off
_FAST = frozenset(
    {
        "Abs", "Add", "Cast", "Clip", "Concat", "ConstantOfShape", "Dense", "DequantizeLinear",
        "Div", "Equal", "Exp", "Expand", "Flatten", "Gather", "Gemm", "Greater", "Identity", "Less",
        "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Pad", "Pow", "QuantizeLinear", "Range",
        "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape",
        "Sigmoid", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose",
        "Unsqueeze", "Where",
    }
)
# fmt: on


@dataclass
class Folder:
    """What may be computed at compile time, and how much of it is left.

    Attributes:
        given: bytes of the constants that the model came with.
        keep: operators to leave as they are.
    """

    given: int = 0
    keep: frozenset[str] = frozenset()
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._left = _BUDGET_BYTES + _BUDGET_GROWTH * self.given

    def allows(self, op: str, inputs: Mapping[str, Array], outputs: Mapping[str, TensorType | None]) -> bool:
        """Whether the operator may be computed from these inputs, all it has."""
        if op in _NEVER or op in self.keep or "::" in op:
            return False
        known = [type_ for type_ in outputs.values() if type_ is not None]
        largest = max((array.size for array in inputs.values()), default=0)
        largest = max([largest, *(type_.size for type_ in known)])
        if largest > _SLOW_ELEMENTS and (op not in _FAST or len(known) < len(outputs)):
            return False
        made_from = sum(array.nbytes for array in inputs.values())
        made = sum(type_.nbytes for type_ in known)
        return made <= min(self._left, max(_ALWAYS_BYTES, _GROWTH * made_from))

    def compute(self, model: ModelProto, outputs: Mapping[str, TensorType | None]) -> dict[str, Array] | None:
        """Results of an allowed computation, or None if the reference cannot do it as the types say."""
        try:
            found = run_reference(model)
        except Exception:  # the reference is plain Python that raises whatever it raises: then the node stays
            return None
        self._left -= sum(array.nbytes for array in found.values())
        for name, type_ in outputs.items():
            array = found[name]
            if array.dtype == object or type_ not in (None, TensorType(str(array.dtype), array.shape)):
                return None
        return found


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes whose inputs are all constant by their results."""
    given = sum(array.nbytes for array in graph.constants.values())
    folder = Folder(given, keep=frozenset({"DequantizeLinear", "Identity"}))

    def rule(rewriter: Rewriter, node: Node) -> bool:
        inputs = {name: rewriter.constants.get(name) for name in node.inputs if name}
        known = {name: array for name, array in inputs.items() if array is not None}
        outputs = {name: rewriter.types[name] for name in node.outputs if name}
        if len(known) < len(inputs) or not inputs or rewriter.is_output(*outputs):
            return False
        if not folder.allows(node.op, known, outputs):
            return False
        found = folder.compute(to_onnx(node_graph(rewriter.view(), node)), outputs)
        if found is None:
            return False
        for name in outputs:
            rewriter.forward(name, rewriter.constant(name, found[name]))
        return True

    return rewrite(graph, rule)
