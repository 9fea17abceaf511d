"""Operators that only move data, and normalisations over groups of channels, in the words of simpler ones."""

from __future__ import annotations

from math import prod

import numpy as np

from ...graph import Node, TensorType
from .._rewrite import Rewriter
from .attributes import integer, number, text

# Dimensions of the channels, of both block axes and of height and width before, and their order afterwards.
_TO_SPACE = {
    "DCR": ((0, 1, 2), (0, 3, 4, 1, 5, 2)),
    "CRD": ((2, 0, 1), (0, 1, 4, 2, 5, 3)),
}


def depth_to_space(rewriter: Rewriter, node: Node) -> bool:
    """Reshape, Transpose, Reshape."""
    x, y = node.inputs[0], node.outputs[0]
    batch, channels, height, width = rewriter.shape(x)
    size = integer(node, "blocksize", 1)
    order, perm = _TO_SPACE[text(node, "mode", "DCR")]
    parts = (size, size, channels // (size * size))
    cut = (batch, *(parts[index] for index in order), height, width)
    return _rearrange(rewriter, node, x, y, cut, perm)


def space_to_depth(rewriter: Rewriter, node: Node) -> bool:
    """Reshape, Transpose, Reshape."""
    x, y = node.inputs[0], node.outputs[0]
    batch, channels, height, width = rewriter.shape(x)
    size = integer(node, "blocksize", 1)
    cut = (batch, channels, height // size, size, width // size, size)
    return _rearrange(rewriter, node, x, y, cut, (0, 3, 5, 1, 2, 4))


def _rearrange(
    rewriter: Rewriter, node: Node, x: str, y: str, cut: tuple[int, ...], perm: tuple[int, ...]
) -> bool:
    dtype = rewriter.types[x].dtype
    turned = tuple(cut[axis] for axis in perm)
    parts = rewriter.value(f"{y}_cut", TensorType(dtype, cut))
    moved = rewriter.value(f"{y}_moved", TensorType(dtype, turned))
    rewriter.emit("Reshape", (x,), parts, name=f"{node.name}_cut", shape=cut)
    rewriter.emit("Transpose", (parts,), moved, name=f"{node.name}_move", perm=perm)
    rewriter.emit("Reshape", (moved,), y, name=node.name, shape=rewriter.shape(y))
    return True


def instance_normalization(rewriter: Rewriter, node: Node) -> bool:
    """Groups of one channel."""
    return _normalize(rewriter, node, rewriter.shape(node.inputs[0])[1])


def group_normalization(rewriter: Rewriter, node: Node) -> bool:
    """With a scale and a bias for each channel; before version 21, for each group."""
    return _normalize(rewriter, node, integer(node, "num_groups", 1))


def _normalize(rewriter: Rewriter, node: Node, groups: int) -> bool:
    """Each group is a row of a LayerNormalization; scale and bias of each channel follow."""
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    batch, channels = type_.shape[:2]
    rows = TensorType(type_.dtype, (batch, groups, prod(type_.shape[1:]) // groups))
    grouped = rewriter.emit(
        "Reshape", (x,), rewriter.value(f"{y}_groups", rows), name=f"{node.name}_groups", shape=rows.shape
    )
    ones = rewriter.constant(f"{y}_ones", np.ones(rows.shape[2:], type_.dtype))
    normal = rewriter.emit(
        "LayerNormalization", (grouped, ones, ""), rewriter.value(f"{y}_rows", rows),
        name=f"{node.name}_rows", axis=2, epsilon=number(node, "epsilon", 1e-5),
    )  # fmt: skip
    whole = rewriter.emit(
        "Reshape", (normal,), rewriter.value(f"{y}_whole", type_), name=f"{node.name}_whole",
        shape=type_.shape,
    )  # fmt: skip
    shape = (channels, *(1,) * (len(type_.shape) - 2))
    scale, bias = (_shaped(rewriter, node, value, shape) for value in node.inputs[1:3])
    scaled = rewriter.emit(
        "Mul", (whole, scale), rewriter.value(f"{y}_scaled", type_), name=f"{node.name}_scale"
    )
    rewriter.emit("Add", (scaled, bias), y, name=node.name)
    return True


def _shaped(rewriter: Rewriter, node: Node, value: str, shape: tuple[int, ...]) -> str:
    """A vector as one value per channel of a tensor with channels first."""
    size, channels = rewriter.types[value].size, shape[0]
    if value in rewriter.constants:
        each = np.repeat(rewriter.constants[value], channels // size)
        return rewriter.constant(f"{value}_channels", each.reshape(shape))
    if size < channels:
        value = _repeated(rewriter, node, value, channels // size)
    made = rewriter.value(f"{value}_channels", TensorType(rewriter.types[value].dtype, shape))
    return rewriter.emit("Reshape", (value,), made, name=f"{node.name}_channels", shape=shape)


def _repeated(rewriter: Rewriter, node: Node, value: str, times: int) -> str:
    """Each element of a vector so many times in a row."""
    type_ = rewriter.types[value]
    column, each = (TensorType(type_.dtype, (type_.size, width)) for width in (1, times))
    made = rewriter.value(f"{value}_column", column)
    rewriter.emit("Reshape", (value,), made, name=f"{node.name}_column", shape=column.shape)
    wide = rewriter.value(f"{value}_each", each)
    return rewriter.emit("Expand", (made,), wide, name=f"{node.name}_each", shape=each.shape)


RULES = {
    "DepthToSpace": depth_to_space,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "SpaceToDepth": space_to_depth,
}
