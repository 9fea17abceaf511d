"""Reading attributes and constant inputs of nodes that are not canonical yet."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, helper

from ...errors import UnsupportedError
from ...graph import Array, AttributeValue, Node
from .._rewrite import Rewriter


@cache
def defaults(op: str, opset: int) -> dict[str, AttributeValue]:
    """The attributes that the operator has when a node does not give them."""
    found: dict[str, AttributeValue] = {}
    for name, attribute in onnx.defs.get_schema(op, opset, "").attributes.items():
        default = attribute.default_value
        if default.type != AttributeProto.UNDEFINED:
            value: Any = helper.get_attribute_value(default)
            found[name] = tuple(map(_plain, value)) if _is_list(value) else _plain(value)
    return found


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _is_list(value: Any) -> bool:
    return not isinstance(value, int | float | str | bytes)


def number(node: Node, name: str, default: float) -> float:
    value: Any = node.attributes.get(name, default)
    return float(value)


def integer(node: Node, name: str, default: int) -> int:
    value: Any = node.attributes.get(name, default)
    return int(value)


def integers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value: Any = node.attributes.get(name, default)
    return tuple(int(item) for item in value)


def text(node: Node, name: str, default: str) -> str:
    return str(node.attributes.get(name, default))


def given(node: Node, index: int) -> str:
    """Name of an optional input, or the empty string."""
    return node.inputs[index] if index < len(node.inputs) else ""


def constant(rewriter: Rewriter, node: Node, index: int, what: str) -> Array | None:
    """Value of an input that must be constant; None if it is omitted.

    Raises:
        UnsupportedError: it is computed while the model runs.
    """
    name = given(node, index)
    if not name:
        return None
    if name not in rewriter.constants:
        raise UnsupportedError(node.name, node.op, f"its {what} ({name!r}) must be constant")
    return rewriter.constants[name]


def constant_integers(rewriter: Rewriter, node: Node, index: int, what: str) -> tuple[int, ...] | None:
    array = constant(rewriter, node, index, what)
    return None if array is None else tuple(int(item) for item in array.reshape(-1))


def axis(value: int, rank: int) -> int:
    """An axis counted from the front."""
    return value + rank if value < 0 else value
