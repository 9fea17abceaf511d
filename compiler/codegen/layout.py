"""Where every value lives, and in which layout: row-major, in channel blocks, or both.

A value in channel blocks is `[N][C/x][H][W][x]`, x = the target's lanes. Concatenation over channels costs
nothing when each part fills whole blocks: the parts are written where the whole lies. Reshapes share the
memory of what they reshape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..graph import Graph, Node
from ..program import Place
from ..target import Target
from .groups import Group
from .workload import ceil_div


@dataclass(frozen=True, slots=True)
class Location:
    """`size` bytes at `offset` of a buffer, parameter, graph input or output."""

    place: Place
    name: str
    size: int
    offset: int = 0


def blocked_bytes(shape: Sequence[int], target: Target) -> int:
    """Size of a (N, C, …) float32 tensor in channel blocks."""
    batch, channels, *pixels = shape
    return batch * ceil_div(channels, target.lanes) * target.lanes * prod(pixels) * 4


def is_same_in_both(shape: Sequence[int], target: Target) -> bool:
    """Whether the two layouts agree byte for byte, apart from what follows the last channel."""
    if len(shape) < 3 or prod(shape[2:]) != 1:
        return False
    return shape[0] == 1 or shape[1] % target.lanes == 0


def channel_views(
    graph: Graph, groups: Sequence[Group], blocked: frozenset[str], target: Target
) -> Mapping[str, tuple[str, int]]:
    """Value → (the concatenation it is a part of, byte offset in it), for parts that can be written in place.

    `blocked`: values that some kernel writes in channel blocks.
    """
    views: dict[str, tuple[str, int]] = {}
    for group in reversed(groups):
        node = group.nodes[0]
        if not is_block_concat(graph, node, target):
            continue
        offset = 0
        for value in node.inputs:
            if (
                value in blocked
                and value not in views
                and value not in graph.outputs
                and node.inputs.count(value) == 1
            ):
                views[value] = (node.outputs[0], offset)
            offset += blocked_bytes(graph.types[value].shape, target)
    return views


def is_block_concat(graph: Graph, node: Node, target: Target) -> bool:
    """Whether the node joins channels of single images at block boundaries."""
    if node.op != "Concat" or len(graph.types[node.outputs[0]].shape) < 3 or node.attributes["axis"] != 1:
        return False
    types = [graph.types[value] for value in node.inputs]
    whole = all(kind.shape[1] % target.lanes == 0 for kind in types[:-1])
    return whole and types[0].shape[0] == 1 and all(kind.dtype == "float32" for kind in types)


def shifted(location: Location, offset: int, size: int) -> Location:
    """A part of a location."""
    return replace(location, offset=location.offset + offset, size=size)
