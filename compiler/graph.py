"""The compiler's graph: small, typed, immutable. Passes are functions Graph → Graph.

Node operators are ONNX's own; one of another domain is called ``domain::Operator``. After
`passes.canonicalize` they are in canonical form, which is what grouping and templates match on (see
`docs/compiler.md`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (numpy's name, e.g. ``float32``) and fixed shape of a value."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Bound:
    """Along `axis` a shape is an upper bound; the scalar int64 value `count` holds how much of it is real."""

    axis: int
    count: str


@dataclass(frozen=True)
class Node:
    """One operator. An omitted optional input is the empty string, as in ONNX."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=lambda: MappingProxyType({}))

    def with_(self, **changes: Any) -> Node:
        return replace(self, **changes)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; every value has a type; constants are values with known contents.

    `bounds` are those of outputs whose size depends on the data (docs/adr/0006). What they count with are
    outputs, too, behind the model's own, so that every pass keeps them.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, Array]
    opset: int
    bounds: Mapping[str, Bound] = field(default_factory=lambda: MappingProxyType({}))

    def with_(self, **changes: Any) -> Graph:
        return replace(self, **changes)

    @property
    def results(self) -> tuple[str, ...]:
        """The model's own outputs."""
        counts = {bound.count for bound in self.bounds.values()}
        return tuple(value for value in self.outputs if value not in counts)

    def real(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The model's own outputs out of all: of each the part that is real."""
        return {name: self._cut(name, values) for name in self.results}

    def _cut(self, name: str, values: Mapping[str, Array]) -> Array:
        bound = self.bounds.get(name)
        if bound is None:
            return values[name]
        return values[name][(slice(None),) * bound.axis + (slice(int(values[bound.count])),)]

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Value name → the nodes that read it, in order, each once."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                if value:
                    found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}
