"""Channels that only change their order or their tensor: concatenation, splitting and shuffling in blocks.

Blocks of channels cannot be cut at any channel by strides. So a value whose pixels stay where they are is
followed channel by channel: each of its channels is a channel of some *root*, a value that a kernel writes.
Who reads it in blocks gets one copy, made by the `regroup` template, however many nodes lie between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Graph, Node

Pick = tuple[str, int]
_MAX_VECTORS = 4  # that one vector of the copy is put together from

Ids = npt.NDArray[np.int64]


class Channels:
    """For every value [N, channels …, H, W] that is known, which root's channel each of its channels is."""

    def __init__(self, graph: Graph, lanes: int) -> None:
        self._graph, self._lanes = graph, lanes
        self._table: list[Pick] = []
        self._ids: dict[str, Ids] = {}
        self._picks: dict[str, tuple[Pick, ...]] = {}

    def root(self, value: str) -> None:
        """A kernel writes the value in blocks."""
        shape = self._graph.types[value].shape
        if len(shape) != 4:
            return
        count = shape[1]
        first = len(self._table)
        self._table.extend((value, channel) for channel in range(count))
        self._ids[value] = np.arange(first, first + count)

    def follow(self, node: Node) -> None:
        """Learns the outputs of a node that moves channels, if it moves nothing else."""
        rule = _RULES.get(node.op)
        if rule is None or any(self._graph.types[v].dtype != "float32" for v in node.inputs[:1]):
            return
        found = rule(self._graph, node, self._ids)
        for value, ids in zip(node.outputs, found or (), strict=False):
            if value:
                self._learn(value, ids)

    def picks(self, value: str) -> tuple[Pick, ...] | None:
        """What a copy of the value in blocks is put together from; None for roots and unknown values."""
        return self._picks.get(value)

    def _learn(self, value: str, ids: Ids) -> None:
        self._ids[value] = ids
        if len(self._graph.types[value].shape) != 4:
            return
        self._picks[value] = tuple(self._table[index] for index in ids.reshape(-1))
        if _vectors(self._picks[value], self._lanes) > _MAX_VECTORS:
            self.root(value)  # those that read it read the copy


def _vectors(picks: tuple[Pick, ...], lanes: int) -> int:
    """The most vectors that one vector of the copy needs."""
    parts = [picks[at : at + lanes] for at in range(0, len(picks), lanes)]
    return max(len({(root, channel // lanes) for root, channel in part}) for part in parts)


def _reshape(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    ids, before, after = _given(graph, node, known)
    if ids is None or len(after) < 4 or (after[0], *after[-2:]) != (before[0], *before[-2:]):
        return None
    return [ids.reshape(after[1:-2])]


def _transpose(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    ids, before, _ = _given(graph, node, known)
    perm: Any = node.attributes["perm"]
    rank = len(before)
    if ids is None or perm[0] != 0 or tuple(perm[-2:]) != (rank - 2, rank - 1):
        return None
    return [ids.transpose([axis - 1 for axis in perm[1:-2]])]


def _split(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    ids, before, _ = _given(graph, node, known)
    axis: Any = node.attributes["axis"]
    sizes: Any = node.attributes["split"]
    if ids is None or not 1 <= axis < len(before) - 2:
        return None
    return list(np.split(ids, np.cumsum(sizes)[:-1], axis - 1))


def _slice(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    ids, before, _ = _given(graph, node, known)
    a: Any = node.attributes
    if ids is None or any(not 1 <= axis < len(before) - 2 for axis in a["axes"]):
        return None
    for start, end, axis, step in zip(a["starts"], a["ends"], a["axes"], a["steps"], strict=True):
        ids = np.take(ids, list(range(start, end, step)), axis - 1)
    return [ids]


def _gather(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    ids, before, _ = _given(graph, node, known)
    axis: Any = node.attributes["axis"]
    indices = graph.constants.get(node.inputs[1])
    if ids is None or indices is None or indices.ndim != 1 or not 1 <= axis < len(before) - 2:
        return None
    return [np.take(ids, indices, axis - 1)]


def _concat(graph: Graph, node: Node, known: Mapping[str, Ids]) -> list[Ids] | None:
    axis: Any = node.attributes["axis"]
    rank = len(graph.types[node.outputs[0]].shape)
    if not 1 <= axis < rank - 2 or any(value not in known for value in node.inputs):
        return None
    return [np.concatenate([known[value] for value in node.inputs], axis - 1)]


def _given(
    graph: Graph, node: Node, known: Mapping[str, Ids]
) -> tuple[Ids | None, tuple[int, ...], tuple[int, ...]]:
    shapes = graph.types[node.inputs[0]].shape, graph.types[node.outputs[0]].shape
    return known.get(node.inputs[0]), *shapes


_RULES = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
}
