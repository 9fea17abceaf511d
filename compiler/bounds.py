"""Sizes that depend on the data: through which operators a bound passes, and along which dimension.

A bounded value has its upper bound as fixed shape, and padding where the data ends (docs/adr/0006). Whatever
reads it must neither mix padding into the rest nor fail on it; a rule of this table says so for each
operator, in ONNX's own form. No rule: no native code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .canonical import BINARY, COMPARISONS, REDUCTIONS, UNARY
from .errors import ModelError
from .graph import Array, Bound, Node, TensorType

Shape = tuple[int, ...]

MOST = 1 << 16  # more than any detector keeps; whatever follows computes that many, real or not


class RefusedError(ValueError):
    """The operator cannot work on a bounded value; the text is a clause that says why."""


@dataclass(frozen=True, slots=True)
class Passed:
    """All outputs are bounded along `axis` by `count`, or by `limit` if that is less."""

    axis: int
    count: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    node: Node
    types: Mapping[str, TensorType]
    constants: Mapping[str, Array]
    bounds: Mapping[str, Bound]

    def bound(self, position: int) -> Bound | None:
        return self.bounds.get(self.input(position))

    def input(self, position: int) -> str:
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def shape(self, position: int) -> Shape:
        return self.types[self.node.inputs[position]].shape

    @property
    def out(self) -> Shape:
        return self.types[next(filter(None, self.node.outputs))].shape

    def only(self) -> Bound:
        """The bound of the first input, the only one that may have one."""
        first, *others = (self.bound(position) for position in range(len(self.node.inputs)))
        if first is None or any(others):
            raise RefusedError("only its first input may be bounded")
        return first

    def numbers(self, name: str, position: int, default: Sequence[int] | None) -> list[int]:
        """Integers that are an attribute in some versions of ONNX and an input in others."""
        if name in self.node.attributes:
            return [int(number) for number in np.asarray(self.node.attributes[name]).reshape(-1)]
        value = self.input(position)
        if value in self.constants:
            return [int(number) for number in self.constants[value].reshape(-1)]
        if value or default is None:
            raise RefusedError(f"its {name} are not constant")
        return list(default)

    def axis(self, default: int, rank: int) -> int:
        axis: Any = self.node.attributes.get("axis", default)
        return int(axis) % max(rank, 1)


def follow(
    node: Node,
    types: Mapping[str, TensorType],
    constants: Mapping[str, Array],
    bounds: Mapping[str, Bound],
) -> Passed | None:
    """What the bounds of a node's inputs become; None if none of them is bounded.

    `types` are of inputs and outputs. Raises RefusedError.
    """
    bounded = [value for value in node.inputs if value in bounds]
    if not bounded:
        return None
    rule = _RULES.get(node.op)
    try:
        if rule is None:
            raise RefusedError("no rule says what it makes of elements that are only padding")
        return rule(_Step(node, types, constants, bounds))
    except RefusedError as reason:
        first = bounded[0]
        axis = bounds[first].axis
        size = types[first].shape[axis]
        raise RefusedError(
            f"the size of {first!r} along dimension {axis} depends on the data (at most {size}), and {reason}"
        ) from None


def most_found(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, Array]
) -> tuple[Shape, int]:
    """Largest shape of what NonMaxSuppression or NonZero finds, and its dimension that depends on the data.

    Raises ModelError for inputs that cannot be, RefusedError if there is no sane limit.
    """
    shape, axis = _FINDERS[node.op](node, types, constants)
    if shape[axis] > MOST:
        raise RefusedError(f"it may find {shape[axis]:,} elements; up to {MOST:,} are supported")
    return shape, axis


def _boxes(node: Node, types: Mapping[str, TensorType], constants: Mapping[str, Array]) -> tuple[Shape, int]:
    boxes, scores = (types[value].shape for value in node.inputs[:2])
    if len(boxes) != 3 or len(scores) != 3 or boxes[2] != 4 or boxes[:2] != (scores[0], scores[2]):
        raise ModelError(
            f"node {node.name!r} (NonMaxSuppression) takes boxes [batch, N, 4] and scores "
            f"[batch, classes, N], not {list(boxes)} and {list(scores)}"
        )
    most = node.inputs[2] if len(node.inputs) > 2 else ""
    if most and most not in constants:
        raise RefusedError(
            "max_output_boxes_per_class depends on the data, so there may be any number of boxes"
        )
    kept = min(max(int(constants[most].reshape(-1)[0]), 0), boxes[1]) if most else 0
    return (max(kept * scores[0] * scores[1], 1), 3), 0


def _elements(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, Array]
) -> tuple[Shape, int]:
    shape = types[node.inputs[0]].shape
    if not shape:
        raise RefusedError("a scalar has no indices")
    return (len(shape), max(types[node.inputs[0]].size, 1)), 1


_FINDERS = {"NonMaxSuppression": _boxes, "NonZero": _elements}


def _common(step: _Step, places: Mapping[str, int], rank: int) -> Passed:
    """Inputs that are broadcast: one count, and one dimension, counted from the last."""
    found = {step.bounds[value].count for value in places}, {axis - rank for axis in places.values()}
    if len(found[0]) > 1 or len(found[1]) > 1:
        raise RefusedError("its inputs depend on the data in different ways")
    (count,), (axis,) = found
    return Passed(axis + rank, count)


def _elementwise(step: _Step) -> Passed:
    inputs = [value for value in step.node.inputs if value]
    rank = len(step.out)
    places = {
        value: step.bounds[value].axis + rank - len(step.types[value].shape)
        for value in inputs
        if value in step.bounds
    }
    passed = _common(step, places, rank)
    for value in inputs:
        shape = (1,) * (rank - len(step.types[value].shape)) + step.types[value].shape
        if value not in places and shape[passed.axis] != 1:
            raise RefusedError(f"it is combined with {value!r}, whose size is fixed")
    divisor = step.input(1)
    integers = step.types[inputs[0]].dtype.startswith(("int", "uint"))
    if step.node.op in ("Div", "Mod") and integers and divisor in places:
        raise RefusedError("an integer would be divided by padding")
    return passed


def _rows_before(step: _Step, default: int) -> Passed:
    """Operators that work along `axis` and, some of them, all dimensions behind it."""
    bound = step.only()
    if bound.axis >= step.axis(default, len(step.shape(0))):
        raise RefusedError("it works along that dimension")
    return Passed(bound.axis, bound.count)


def _softmax(step: _Step) -> Passed:
    return _rows_before(step, 1)  # the default of old versions; new ones work along less


def _normalization(step: _Step) -> Passed:
    return _rows_before(step, -1)


def _reduced(step: _Step) -> Passed:
    bound, rank = step.only(), len(step.shape(0))
    axes = {axis % rank for axis in step.numbers("axes", 1, ())}
    if not axes and not step.node.attributes.get("noop_with_empty_axes", 0):
        axes = set(range(rank))
    return _without(bound, axes, bool(step.node.attributes.get("keepdims", 1)))


def _arg(step: _Step) -> Passed:
    keeps = bool(step.node.attributes.get("keepdims", 1))
    return _without(step.only(), {step.axis(0, len(step.shape(0)))}, keeps)


def _without(bound: Bound, axes: set[int], keeps: bool) -> Passed:
    if bound.axis in axes:
        raise RefusedError("it works along that dimension")
    return Passed(bound.axis if keeps else bound.axis - sum(axis < bound.axis for axis in axes), bound.count)


def _other_axis(step: _Step, default: int = 0) -> Passed:
    bound = step.only()
    return _without(bound, {step.axis(default, len(step.shape(0)))}, True)


def _top_k(step: _Step) -> Passed:
    return _other_axis(step, -1)


def _concat(step: _Step) -> Passed:
    axis = step.axis(0, len(step.out))
    passed = _elementwise_like(step)
    if passed.axis == axis:
        raise RefusedError("it joins others to its end")
    return passed


def _elementwise_like(step: _Step) -> Passed:
    """All inputs bounded alike."""
    rank = len(step.out)
    if any(value not in step.bounds for value in step.node.inputs):
        raise RefusedError("it is joined with values whose size is fixed")
    return _common(step, {value: step.bounds[value].axis for value in step.node.inputs}, rank)


def _gather(step: _Step) -> Passed:
    rank = len(step.shape(0))
    axis, data, indices = step.axis(0, rank), step.bound(0), step.bound(1)
    if data is not None and data.axis == axis:
        # Indices that were counted off the same data point at what is there; fixed ones might not.
        if indices is None:
            raise RefusedError("fixed indices may point at padding")
        data = None
    if data is not None and indices is not None:
        raise RefusedError("so does that of its indices")
    if indices is not None:
        return Passed(axis + indices.axis, indices.count)
    assert data is not None
    return Passed(data.axis if data.axis < axis else data.axis + len(step.shape(1)) - 1, data.count)


def _gather_nd(step: _Step) -> Passed:
    indices = step.bound(1)
    if step.bound(0) is not None or indices is None or step.node.attributes.get("batch_dims", 0):
        raise RefusedError("only its indices may be bounded, and none of them belong together")
    if indices.axis == len(step.shape(1)) - 1:
        raise RefusedError("it is the length of an index")
    return Passed(indices.axis, indices.count)


def _gather_elements(step: _Step) -> Passed:
    data, indices = step.bound(0), step.bound(1)
    if indices is None or (data is not None and data != indices):
        raise RefusedError("its indices are bounded otherwise")
    if indices.axis == step.axis(0, len(step.shape(1))) and data is not None:
        raise RefusedError("it works along that dimension")
    return Passed(indices.axis, indices.count)


def _slice(step: _Step) -> Passed:
    bound, shape = step.only(), step.shape(0)
    starts, ends = step.numbers("starts", 1, None), step.numbers("ends", 2, None)
    axes = [axis % len(shape) for axis in step.numbers("axes", 3, range(len(starts)))]
    steps = step.numbers("steps", 4, [1] * len(starts))
    if bound.axis not in axes:
        return Passed(bound.axis, bound.count)
    place = axes.index(bound.axis)
    start, end, stride = starts[place], ends[place], steps[place]
    if start != 0 or stride != 1 or end < 1:
        raise RefusedError("it takes other elements than the first")
    return Passed(bound.axis, bound.count, end if end < shape[bound.axis] else None)


def _pad(step: _Step) -> Passed:
    bound, shape = step.only(), step.shape(0)
    pads = step.numbers("pads", 1, None)
    axes = [axis % len(shape) for axis in step.numbers("axes", 3, range(len(shape)))]
    given = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    if given.get(bound.axis, (0, 0)) != (0, 0):
        raise RefusedError("it is padded further along it")
    return Passed(bound.axis, bound.count)


def _transpose(step: _Step) -> Passed:
    bound, rank = step.only(), len(step.shape(0))
    return Passed(step.numbers("perm", 1, range(rank)[::-1]).index(bound.axis), bound.count)


def _squeeze(step: _Step) -> Passed:
    bound, shape = step.only(), step.shape(0)
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    return _without(bound, {axis % len(shape) for axis in step.numbers("axes", 1, ones)}, False)


def _unsqueeze(step: _Step) -> Passed:
    bound, rank = step.only(), len(step.out)
    new = {axis % rank for axis in step.numbers("axes", 1, None)}
    return Passed([axis for axis in range(rank) if axis not in new][bound.axis], bound.count)


def _reshape(step: _Step) -> Passed:
    """The dimension must stay what it is, and the new shape must leave its size open (-1 or 0)."""
    wanted = step.numbers("shape", 1, None)
    copied = None if step.node.attributes.get("allowzero", 0) else step.only().axis
    return _kept(step, [a for a, size in enumerate(wanted) if size == -1 or (size == 0 and a == copied)])


def _flatten(step: _Step) -> Passed:
    return _kept(step, range(len(step.out)))


def _kept(step: _Step, openings: Sequence[int]) -> Passed:
    bound, shape, out = step.only(), step.shape(0), step.out
    before = math.prod(shape[: bound.axis])
    places = [axis for axis in openings if out[axis] == shape[bound.axis] and math.prod(out[:axis]) == before]
    if len(places) != 1:
        raise RefusedError(f"its shape {list(out)} does not keep that dimension")
    return Passed(places[0], bound.count)


def _expand(step: _Step) -> Passed:
    bound, rank, before = step.only(), len(step.out), len(step.shape(0))
    wanted = step.numbers("shape", 1, None)
    axis = bound.axis + rank - before
    place = axis - (rank - len(wanted))
    if place >= 0 and wanted[place] != 1:
        raise RefusedError("it is expanded to a fixed size")
    return Passed(axis, bound.count)


def _tile(step: _Step) -> Passed:
    bound = step.only()
    if step.numbers("repeats", 1, None)[bound.axis] != 1:
        raise RefusedError("it is repeated along it")
    return Passed(bound.axis, bound.count)


def _matmul(step: _Step) -> Passed:
    bound, rank = step.only(), len(step.shape(0))
    if len(step.shape(1)) > 2 or bound.axis == rank - 1 or step.node.attributes.get("transA", 0):
        raise RefusedError("it is not only the number of rows")
    return Passed(bound.axis, bound.count)


_UNARY_HERE = ("BitwiseNot", "Cast", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "IsInf", "IsNaN",
               "LeakyRelu", "Selu", "ThresholdedRelu")  # fmt: skip
_MANY = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mean", "Mod", "Sum", "Where")

_RULES: Mapping[str, Callable[[_Step], Passed]] = {
    **dict.fromkeys((*UNARY, *BINARY, *COMPARISONS, *_UNARY_HERE, *_MANY), _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _softmax),
    **dict.fromkeys(("Gemm", "MatMul"), _matmul),
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "LayerNormalization": _normalization,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _other_axis,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
