"""Which template takes a group: a table from anchor to a function that makes the workload, or None where none
fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import ModuleType
from typing import Any, Literal

from ..graph import Graph, Node
from ..target import Target
from .groups import Group
from .segments import columns as window_columns
from .segments import window_axes
from .templates import (
    attention,
    columns,
    conv2d,
    dense,
    depthwise,
    elementwise,
    global_pool,
    matmul,
    permute,
    pool,
    regroup,
    relayout,
    rows,
    upsample,
)
from .workload import (
    Attention,
    Columns,
    Conv2d,
    Dense,
    Depthwise,
    GlobalPool,
    Map,
    MatMul,
    Permute,
    Pool,
    Regroup,
    Relayout,
    Rows,
    Upsample,
    Window,
    Workload,
    spatial,
)

TEMPLATES: Mapping[type, ModuleType] = {
    Conv2d: conv2d,
    Depthwise: depthwise,
    Dense: dense,
    Pool: pool,
    GlobalPool: global_pool,
    Map: elementwise,
    Permute: permute,
    MatMul: matmul,
    Attention: attention,
    Rows: rows,
    Columns: columns,
    Regroup: regroup,
    Upsample: upsample,
    Relayout: relayout,
}


def match(graph: Graph, group: Group, target: Target, *, blocked_source: bool) -> Workload | None:
    """The workload of a group for this target, or None if no template takes it.

    `blocked_source`: the group's source exists in channel blocks.
    """
    types = [graph.types[v] for node in group.nodes for v in (*node.inputs, *node.outputs) if v]
    if any(kind.dtype != "float32" for kind in types):
        return None
    rule = _RULES.get(group.anchor.op) if group.anchor is not None else None
    return rule(graph, group, target, blocked_source) if rule else None


def _window(node: Node) -> Window:
    a: Any = node.attributes
    return Window.of(a["kernel_shape"], a["strides"], a["pads"], a.get("dilations", ()))


def _conv(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    node = group.anchor
    assert node is not None
    shape, out = graph.types[node.inputs[0]].shape, graph.types[node.outputs[0]].shape
    has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
    constants = all(value in graph.constants for value in node.inputs[1:] if value)
    if not 3 <= len(shape) <= 5 or not constants:
        return None
    groups: int = node.attributes["group"]  # type: ignore[assignment]
    transposed = spatial(out[2:]) if node.op == "ConvTranspose" else None
    window, size = _window(node), spatial(shape[2:])
    inner, outer = shape[1] // groups, out[1] // groups
    if groups > 1 and depthwise.takes(inner, outer, target):
        return Depthwise(shape[0], groups, size, window, has_bias, group.steps, inner, outer, transposed)
    return Conv2d(
        shape[0], shape[1], size, out[1], window, groups, not blocked, has_bias, group.steps, transposed
    )


def _dense(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    node = group.anchor
    assert node is not None
    shape = graph.types[node.inputs[0]].shape
    weight = graph.types[node.inputs[1]].shape
    bias = len(node.inputs) > 2 and bool(node.inputs[2])
    rows = graph.types[node.inputs[0]].size // shape[-1]
    return Dense(rows, weight[0], weight[1], bias, group.steps)


def _pool(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    node = group.anchor
    assert node is not None
    shape = graph.types[node.inputs[0]].shape
    if not 3 <= len(shape) <= 5:
        return None
    window, size = _window(node), spatial(shape[2:])
    axes = [window_columns(axis)[0] for axis in window_axes(window, size)]
    if not all(any(axis.inside(at)) for axis in axes for at in range(axis.count)):
        return None  # a window wholly outside has no value
    count_pad = bool(node.attributes.get("count_include_pad", 0))
    return Pool(_POOLS[node.op], shape[0], shape[1], size, window, count_pad, group.steps)


def _global(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    assert group.anchor is not None
    shape = graph.types[group.anchor.inputs[0]].shape
    if not 3 <= len(shape) <= 5:
        return None
    return GlobalPool(_POOLS[group.anchor.op], shape[0], shape[1], prod(shape[2:]), group.steps)


def _resize(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    node = group.anchor
    assert node is not None
    shape, out = graph.types[node.inputs[0]].shape, graph.types[node.outputs[0]].shape
    if len(shape) != 4 or shape[:2] != out[:2] or out[2] % shape[2] or out[3] % shape[3] or not blocked:
        return None
    rule = (
        node.attributes.get("mode"),
        node.attributes.get("coordinate_transformation_mode", "half_pixel"),
        node.attributes.get("nearest_mode", "round_prefer_floor"),
    )
    # For whole factors these agree: output i shows input i // factor.
    if rule[0] != "nearest" or rule[1:] not in {
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
        ("pytorch_half_pixel", "round_prefer_floor"),
        ("pytorch_half_pixel", "round_prefer_ceil"),
    }:
        return None
    return Upsample(*shape, (out[2] // shape[2], out[3] // shape[3]), group.steps)


_POOLS: Mapping[str, Literal["max", "average"]] = {
    "MaxPool": "max",
    "AveragePool": "average",
    "GlobalMaxPool": "max",
    "GlobalAveragePool": "average",
}
_Rule = Callable[[Graph, Group, Target, bool], Workload | None]
_RULES: Mapping[str, _Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Dense": _dense,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "Resize": _resize,
}
