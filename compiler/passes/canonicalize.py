"""Bring every node into the one form that templates match on; `docs/compiler.md` lists the forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from ..errors import UnsupportedError, raise_all
from ..graph import AttributeValue, Graph, Node
from ._rewrite import Rewriter, Rule
from .canonical import elementwise, linear, rearrange, resize, shapes, windows
from .canonical.attributes import defaults

OPSET = 22
"""Version of ONNX's operators that gives a canonical graph's nodes their meaning, whatever the model used."""

_RULES: Mapping[str, Rule] = {
    **elementwise.RULES,
    **linear.RULES,
    **rearrange.RULES,
    **resize.RULES,
    **shapes.RULES,
    **windows.RULES,
}


def canonicalize(graph: Graph) -> Graph:
    """The graph in canonical form. To be applied once, to what the importer made.

    Raises:
        UnsupportedError: a node does what no canonical form can say; NotNativeError if several do.
    """
    rewriter = Rewriter(graph)
    unsupported = []
    for node in graph.nodes:
        try:
            rewriter.visit(node, _rule)
        except UnsupportedError as error:
            unsupported.append(error)
            rewriter.keep(node)
    raise_all(unsupported)
    return rewriter.finish(OPSET)


def _rule(rewriter: Rewriter, node: Node) -> bool:
    special = _RULES.get(node.op)
    return (special is not None and special(rewriter, node)) or _explicit(rewriter, node)


def _explicit(rewriter: Rewriter, node: Node) -> bool:
    """Write out the attributes' default values, and say what has changed its meaning in today's words."""
    if "::" in node.op:
        return False
    attributes = {**defaults(node.op, rewriter.opset), **node.attributes}
    if rewriter.opset < OPSET:
        modern = _MODERN.get(node.op)
        given = attributes if modern is None else modern(attributes)
        attributes = {**defaults(node.op, OPSET), **given}
        known = onnx.defs.get_schema(node.op, OPSET, "").attributes
        for name in sorted(attributes.keys() - known.keys()):
            raise UnsupportedError(node.name, node.op, f"its attribute {name!r} is no longer part of ONNX")
    inputs = node.inputs
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    rewriter.keep(node.with_(inputs=inputs, attributes=attributes))
    return True


_Attributes = Mapping[str, AttributeValue]


def _grid_sample(attributes: _Attributes) -> _Attributes:
    names = {"bilinear": "linear", "bicubic": "cubic"}
    mode = str(attributes.get("mode", "bilinear"))
    return {**attributes, "mode": names.get(mode, mode)}


def _roi_align(attributes: _Attributes) -> _Attributes:
    return {"coordinate_transformation_mode": "output_half_pixel", **attributes}


_MODERN: Mapping[str, Callable[[_Attributes], _Attributes]] = {
    "GridSample": _grid_sample,
    "RoiAlign": _roi_align,
}
