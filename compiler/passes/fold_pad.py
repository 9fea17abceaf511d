"""Put an explicit Pad into the padding of the operator after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..graph import AttributeValue, Graph, Node
from ._rewrite import Rewriter, rewrite

_Attributes = Mapping[str, Any]


def _convolution(node: _Attributes, pad: _Attributes, dtype: str) -> dict[str, AttributeValue] | None:
    return {} if pad["value"] == 0.0 else None


def _maximum(node: _Attributes, pad: _Attributes, dtype: str) -> dict[str, AttributeValue] | None:
    """What a maximum pads with is below everything."""
    kind = np.dtype(dtype)
    lowest = np.finfo(kind).min if kind.kind == "f" else np.iinfo(kind).min
    return {} if pad["value"] <= lowest else None


def _average(node: _Attributes, pad: _Attributes, dtype: str) -> dict[str, AttributeValue] | None:
    """An explicit Pad is counted in the average, so all of the padding must be."""
    if pad["value"] != 0.0 or (any(node["pads"]) and not node["count_include_pad"]):
        return None
    return {"count_include_pad": 1}


_ALLOWED: Mapping[str, Callable[[_Attributes, _Attributes, str], dict[str, AttributeValue] | None]] = {
    "AveragePool": _average,
    "Conv": _convolution,
    "MaxPool": _maximum,
}


def fold_pad(graph: Graph) -> Graph:
    """Fold Pad of the spatial dimensions with a fitting constant into Conv, MaxPool and AveragePool."""

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if node.op not in _ALLOWED:
            return False
        before = rewriter.producer(node.inputs[0])
        if before is None or before.op != "Pad":
            return False
        pad: Any = before.attributes
        old: Any = node.attributes
        rank = len(rewriter.shape(node.inputs[0]))
        outside = (*pad["pads"][:2], *pad["pads"][rank : rank + 2])
        inside = (*pad["pads"][2:rank], *pad["pads"][rank + 2 :])
        changes = _ALLOWED[node.op](old, pad, rewriter.types[node.outputs[0]].dtype)
        if pad["mode"] != "constant" or any(outside) or min(inside) < 0 or changes is None:
            return False
        pads = tuple(have + more for have, more in zip(old["pads"], inside, strict=True))
        # A pooling window that saw nothing but padding would have no value.
        if node.op != "Conv" and any(
            size >= kernel for size, kernel in zip(pads, old["kernel_shape"] * 2, strict=True)
        ):
            return False
        inputs = (before.inputs[0], *node.inputs[1:])
        rewriter.emit(node.op, inputs, node.outputs[0], name=node.name, **{**old, **changes, "pads": pads})
        return True

    return rewrite(graph, rule)
