"""Which template takes a group: a table from anchor to a function that makes the workload, or None where none
fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ..graph import Graph, Node
from ..target import Target
from .groups import Group
from .templates import (
    conv2d,
    dense,
    depthwise,
    elementwise,
    global_pool,
    matmul,
    permute,
    pool,
    relayout,
    rows,
    upsample,
)
from .workload import (
    Conv2d,
    Dense,
    Depthwise,
    GlobalPool,
    Map,
    MatMul,
    Permute,
    Pool,
    Relayout,
    Rows,
    Upsample,
    Window,
    Workload,
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
    Rows: rows,
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
    attributes: Any = node.attributes
    return Window(
        tuple(attributes["kernel_shape"]),
        tuple(attributes["strides"]),
        tuple(attributes["pads"]),
        tuple(attributes.get("dilations", (1, 1))),
    )


def _conv(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    node = group.anchor
    assert node is not None
    source, weight = node.inputs[0], node.inputs[1]
    shape = graph.types[source].shape
    bias = len(node.inputs) > 2 and bool(node.inputs[2])
    if len(shape) != 4 or weight not in graph.constants or (bias and node.inputs[2] not in graph.constants):
        return None
    batch, channels, height, width = shape
    out_channels = graph.types[weight].shape[0]
    groups = int(node.attributes["group"])  # type: ignore[arg-type]
    window = _window(node)
    if groups == channels == out_channels and groups > 1:
        return Depthwise(batch, channels, height, width, window, bias, group.steps)
    if groups > 1:
        blocks = (channels // groups) % target.lanes == 0 and (out_channels // groups) % target.lanes == 0
        if not blocks:
            return None
    plain = not blocked and groups == 1
    return Conv2d(batch, channels, height, width, out_channels, window, groups, plain, bias, group.steps)


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
    if len(shape) != 4 or len([value for value in node.outputs if value]) != 1:
        return None
    out = graph.types[node.outputs[0]].shape
    window = _window(node)
    if window.output(shape[2], shape[3]) != out[2:]:
        return None  # ceil_mode that explicit pads could not express
    if (
        max(window.pads[0], window.pads[2]) >= window.kernel[0]
        or max(window.pads[1], window.pads[3]) >= window.kernel[1]
    ):
        return None  # a window wholly outside has no value
    kind = "max" if node.op == "MaxPool" else "average"
    count_pad = kind == "average" and bool(node.attributes.get("count_include_pad", 0))
    return Pool(kind, *shape, window, (out[2], out[3]), count_pad, group.steps)


def _global(graph: Graph, group: Group, target: Target, blocked: bool) -> Workload | None:
    assert group.anchor is not None
    shape = graph.types[group.anchor.inputs[0]].shape
    return GlobalPool(shape[0], shape[1], shape[2] * shape[3], group.steps) if len(shape) == 4 else None


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


_Rule = Callable[[Graph, Group, Target, bool], Workload | None]
_RULES: Mapping[str, _Rule] = {
    "Conv": _conv,
    "Dense": _dense,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global,
    "Resize": _resize,
}
