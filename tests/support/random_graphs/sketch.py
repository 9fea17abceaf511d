"""A random ONNX graph under construction: values with known types, and the words of each operator set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Pick = Callable[[int], int]
"""n → a number from 0 to n−1. The only source of chance, so whatever gives it decides the graph."""

T = TypeVar("T")
LIMIT = 8.0  # what a step may hand on: more would drown small terms in rounding
ELEMENTS = 1 << 14  # of a value that a step may enlarge


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        shape: −1 where it depends on the data; no step works on such a value.
        bound: about the largest magnitude; for integers, no element is negative or reaches it.
        varied: its rows differ, so that dividing by their deviation does not enlarge rounding errors.
        array: the elements, if they do not depend on the graph's inputs.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    bound: float = 1.0
    varied: bool = True
    array: Array | None = field(default=None, compare=False)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _type(value: Value) -> onnx.TypeProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    shape = [size if size >= 0 else None for size in value.shape]
    proto: onnx.TypeProto = helper.make_tensor_type_proto(kind, shape)
    return proto


class Sketch:
    """Grows by `add`. `live` are the values that later steps may work on, the newest last."""

    def __init__(self, pick: Pick, opset: int) -> None:
        self.pick, self.opset = pick, opset
        self.live: list[Value] = []
        self.inputs: list[Value] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.used: set[str] = set()
        self._names = 0
        # The legacy generator's numbers are frozen for ever.
        self._rng = np.random.RandomState(pick(1 << 16))

    # --- chance ---

    def one_of(self, items: Sequence[T]) -> T:
        return items[self.pick(len(items))]

    def between(self, low: int, high: int) -> int:
        """Both ends included."""
        return low + self.pick(high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.pick(100) >= 100 - percent  # so that the simplest choice, 0, says no

    def some_axes(self, rank: int) -> list[int]:
        """At least one axis, in order, some counted from the end."""
        axes = [axis for axis in range(rank) if self.chance(50)] or [self.pick(rank)]
        return [axis - rank if self.chance(30) else axis for axis in axes]

    def permutation(self, count: int) -> list[int]:
        rest = list(range(count))
        return [rest.pop(self.pick(len(rest))) for _ in range(count)]

    # --- values ---

    def new_name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}_{self._names}"

    def input(self, shape: Sequence[int], dtype: str = "float32", bound: float = 3.0) -> Value:
        value = Value(f"input_{len(self.inputs)}", tuple(shape), dtype, bound)
        self.inputs.append(value)
        return value

    def constant(self, array: Array, bound: float | None = None) -> Value:
        """An initializer, or a Constant node."""
        array = np.asarray(array)
        largest = float(np.max(np.abs(array.astype(np.float64)), initial=0.0))
        value = Value(self.new_name("c"), array.shape, array.dtype.name, largest, False, array)
        tensor = numpy_helper.from_array(array, value.name)
        if self.chance(12):
            self.nodes.append(helper.make_node("Constant", [], [value.name], value=tensor))
        else:
            self.constants.append(tensor)
        return value if bound is None else replace(value, bound=bound)

    def ints(self, *values: int) -> Value:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float, dtype: Any = np.float32) -> Value:
        return self.constant(np.array(value, dtype))

    def normal(self, *shape: int, scale: float = 1.0) -> Value:
        return self.constant((self._rng.standard_normal(shape) * scale).astype(np.float32))

    def positive(self, *shape: int) -> Value:
        return self.constant(self._rng.uniform(0.5, 2.0, shape).astype(np.float32))

    def indices(self, high: int, *shape: int) -> Array:
        found: Array = np.asarray(self._rng.randint(0, high, shape), np.int64)
        return found

    def weights(self, *shape: int, inputs: int) -> Value:
        """Of a sum over `inputs` products: keeps magnitudes as they are."""
        return self.normal(*shape, scale=1 / math.sqrt(max(inputs, 1)))

    def find(
        self, wanted: Callable[[Value], bool] = lambda _: True, dtype: str = "float32", limit: int = ELEMENTS
    ) -> Value | None:
        """A live value, most likely the newest that fits; None if none does."""
        fitting = [v for v in self.live if v.dtype == dtype and v.size <= limit and wanted(v)]
        if not fitting:
            return None
        return self.tamed(fitting[-1] if not self.chance(40) else self.one_of(fitting[::-1]))

    def value(self, low: int = 1, high: int = 6, limit: int = ELEMENTS) -> Value:
        """A float value of any rank within bounds; a new input if there is none."""
        found = self.find(lambda v: low <= v.rank <= high, limit=limit)
        return found or self.input([self.between(1, 7) for _ in range(max(low, 2))])

    def image(self, low: int = 1, high: int = 64, limit: int = ELEMENTS) -> Value:
        """[N, C, H, W], H and W from `low` to `high`."""
        found = self.find(
            lambda v: v.rank == 4 and low <= min(v.shape[2:]) and max(v.shape[2:]) <= high, limit=limit
        )
        if found:
            return found
        sides = [self.between(low, min(high, low + 10)) for _ in "HW"]
        return self.input([self.between(1, 2), self.between(1, 12), *sides])

    def tamed(self, x: Value) -> Value:
        """Brought back to magnitudes of about one where it has grown."""
        if x.dtype != "float32" or x.bound <= LIMIT:
            return x
        match self.pick(3):
            case 0:
                return self.add("Tanh", x, bound=1.0)
            case 1:
                return self.add("Clip", x, self.scalar(-2.0), self.scalar(3.0), bound=3.0)
            case _:
                return self.add("Mul", x, self.scalar(1 / x.bound), bound=1.0)

    # --- nodes ---

    def add(self, op: str, *inputs: Value | None, **options: Any) -> Value:
        return self.split_node(op, *inputs, outputs=1, **options)[0]

    def split_node(
        self,
        op: str,
        *inputs: Value | None,
        outputs: int,
        bound: float | None = None,
        varied: bool | None = None,
        array: Array | None = None,
        like: Value | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """Add a node; its outputs with the types that ONNX's shape inference finds.

        Without `bound` and `varied` an output is as its float inputs are. `array`: the known elements of the
        first output. `like` has the output's type, for operators that shape inference does not know.
        """
        given = [value for value in inputs if value is not None]
        self.used.update(value.name for value in given)
        names = [self.new_name(op.lower()) for _ in range(outputs)]
        words = {key: value for key, value in attributes.items() if value is not None}
        name = "" if self.chance(20) else f"{op}_{len(self.nodes)}"
        node = helper.make_node(
            op, [v.name if v is not None else "" for v in inputs], names, name=name, **words
        )
        self.nodes.append(node)
        floats = [value for value in given if value.dtype == "float32" and value.array is None]
        if bound is None:
            bound = max((value.bound for value in given if value.dtype == "float32"), default=1.0)
        if varied is None:
            varied = any(value.varied for value in floats)
        found = [like] if like else self._inferred(node, given)
        return [
            replace(value, name=output, bound=bound, varied=varied, array=array if index == 0 else None)
            for index, (output, value) in enumerate(zip(names, found, strict=True))
        ]

    def _inferred(self, node: onnx.NodeProto, inputs: Sequence[Value]) -> list[Value]:
        types = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, self.opset, ""),
            node,
            {value.name: _type(value) for value in inputs},
            {v.name: numpy_helper.from_array(v.array, v.name) for v in inputs if v.array is not None},
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=8,
        )
        found = []
        for output in node.output:
            tensor = types[output].tensor_type
            if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
                raise AssertionError(f"no shape at version {self.opset} of\n{node}")
            shape = tuple(dim.dim_value for dim in tensor.shape.dim)
            found.append(Value(output, shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name))
        return found

    # --- operators that changed their words ---

    def _axes(self, op: str, x: Value, axes: Sequence[int] | None, since: int, **options: Any) -> Value:
        if axes is None:
            return self.add(op, x, **options)
        if self.opset >= since:
            return self.add(op, x, self.ints(*axes), **options)
        return self.add(op, x, axes=list(axes), **options)

    def squeeze(self, x: Value, axes: Sequence[int] | None) -> Value:
        return self._axes("Squeeze", x, axes, 13)

    def unsqueeze(self, x: Value, axes: Sequence[int], **options: Any) -> Value:
        return self._axes("Unsqueeze", x, axes, 13, **options)

    def reduce(self, op: str, x: Value, axes: Sequence[int] | None, keepdims: int, **options: Any) -> Value:
        since = 13 if op == "ReduceSum" else 18
        return self._axes(op, x, axes, since, keepdims=keepdims, **options)

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        if self.opset >= 13:
            return self.split_node("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)
        return self.split_node("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))

    def reshape(self, x: Value, *shape: int) -> Value:
        return self.add("Reshape", x, self.ints(*shape))

    def slice(
        self, x: Value, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
    ) -> Value:
        plain = list(steps) == [1] * len(steps) and self.chance(50)
        inputs = [self.ints(*starts), self.ints(*ends), self.ints(*axes)]
        return self.add("Slice", x, *inputs, *([] if plain else [self.ints(*steps)]))

    # --- the model ---

    def model(self, outputs: Sequence[Value], name: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            name,
            [onnx.ValueInfoProto(name=v.name, type=_type(v)) for v in self.inputs],
            [onnx.ValueInfoProto(name=v.name, type=_type(v)) for v in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return model
