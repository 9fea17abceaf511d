"""Resize: one scale for each dimension, however ONNX was told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UnsupportedError
from ...graph import Node
from .._rewrite import Rewriter
from .attributes import axis, constant, constant_integers, defaults, integers, text

_ADDED = {"antialias": 0, "exclude_outside": 0, "extrapolation_value": 0.0}  # since versions 13 and 18


def resize(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    before, after = rewriter.shape(x), rewriter.shape(y)
    if min(before) == 0:
        raise UnsupportedError(node.name, node.op, "its input is empty")
    attributes = {**_ADDED, **defaults("Resize", rewriter.opset), **node.attributes}
    axes = [axis(a, len(before)) for a in integers(node, "axes", tuple(range(len(before))))]
    attributes["roi"] = _region(rewriter, node, axes, len(before))
    for dropped in ("axes", "keep_aspect_ratio_policy"):
        attributes.pop(dropped, None)
    scales = _scales(rewriter, node, axes, before, after)
    if all(scale == 1.0 for scale in scales) or (before == after and not attributes["roi"]):
        # Where no size changes, ONNX Runtime copies, whatever the scales.
        rewriter.emit("Identity", (x,), y, name=node.name)
    else:
        rewriter.emit("Resize", (x,), y, name=node.name, **{**attributes, "scales": scales})
    return True


def _scales(
    rewriter: Rewriter, node: Node, axes: Sequence[int], before: Sequence[int], after: Sequence[int]
) -> tuple[float, ...]:
    given = constant(rewriter, node, 2, "scales")
    sizes = constant_integers(rewriter, node, 3, "sizes")
    scales = [1.0] * len(before)
    if not sizes and given is not None and given.size:
        for along, scale in zip(axes, given.reshape(-1), strict=True):
            scales[along] = float(scale)
        return tuple(scales)
    wanted = [
        float(np.float32(size) / np.float32(before[along]))
        for along, size in zip(axes, sizes or [after[along] for along in axes], strict=True)
    ]
    policy = text(node, "keep_aspect_ratio_policy", "stretch")
    common = {"not_larger": min, "not_smaller": max}.get(policy)
    for along, scale in zip(axes, wanted, strict=True):
        scales[along] = scale if common is None else common(wanted)
    return tuple(scales)


def _region(rewriter: Rewriter, node: Node, axes: Sequence[int], rank: int) -> tuple[float, ...]:
    """Where tf_crop_and_resize looks: starts, then ends, of all dimensions; otherwise nothing."""
    if text(node, "coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return ()
    given = constant(rewriter, node, 1, "region of interest")
    region = [0.0] * rank + [1.0] * rank
    if given is not None and given.size:
        for index, along in enumerate(axes):
            region[along] = float(given.reshape(-1)[index])
            region[along + rank] = float(given.reshape(-1)[index + len(axes)])
    return tuple(region)


RULES = {"Resize": resize}
