"""Resize: one scale for each dimension, however ONNX was told."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedError
from ...graph import Node
from .._rewrite import Rewriter
from .attributes import axis, constant, constant_integers, defaults, integers, text


def resize(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    before, after = rewriter.shape(x), rewriter.shape(y)
    attributes = {**defaults("Resize", rewriter.opset), **node.attributes}
    transformation = attributes["coordinate_transformation_mode"]
    if transformation in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        raise UnsupportedError(
            node.name, node.op, f"coordinate transformation {transformation} has no kernel"
        )
    if text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError(node.name, node.op, "only the aspect ratio policy 'stretch' has a kernel")
    if min(before) == 0:
        raise UnsupportedError(node.name, node.op, "its input is empty")
    axes = integers(node, "axes", tuple(range(len(before))))
    given = constant(rewriter, node, 2, "scales")
    sizes = constant_integers(rewriter, node, 3, "sizes")
    scales = [1.0] * len(before)
    for index, along in enumerate(axis(a, len(before)) for a in axes):
        if sizes is None and given is not None and given.size:
            scales[along] = float(given.reshape(-1)[index])
        else:
            scales[along] = float(np.float32(after[along]) / np.float32(before[along]))
    for dropped in ("axes", "extrapolation_value", "keep_aspect_ratio_policy"):
        attributes.pop(dropped, None)
    attributes.setdefault("antialias", 0)
    if all(scale == 1.0 for scale in scales):
        rewriter.emit("Identity", (x,), y, name=node.name)
    else:
        rewriter.emit("Resize", (x,), y, name=node.name, **{**attributes, "scales": tuple(scales)})
    return True


RULES = {"Resize": resize}
