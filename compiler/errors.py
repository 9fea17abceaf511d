"""Errors of the compiler. Their text names the cause and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from sanderling.runtime.errors import SanderlingError

_NAMED = 20  # nodes that one text names


class CompileError(SanderlingError):
    """The model cannot be compiled as asked."""


class ModelError(CompileError):
    """The model file itself is wrong: not ONNX, truncated, inconsistent, or reaching outside its folder."""


class UnsupportedError(CompileError):
    """A valid model uses something that has no native kernel; `node`, `op` and `reason` say what."""

    def __init__(self, node: str, op: str, reason: str) -> None:
        super().__init__(f"node {node!r} ({op}): {reason}")
        self.node, self.op, self.reason = node, op, reason


class NotNativeError(UnsupportedError):
    """Several nodes that have no native kernel. `node`, `op` and `reason` are those of the first."""

    def __init__(self, nodes: Sequence[UnsupportedError]) -> None:
        super().__init__(nodes[0].node, nodes[0].op, nodes[0].reason)
        self.nodes = tuple(nodes)

    def __str__(self) -> str:
        more = len(self.nodes) - _NAMED
        return "; ".join(map(str, self.nodes[:_NAMED])) + (f"; and {more} more" if more > 0 else "")


def raise_all(errors: Sequence[UnsupportedError]) -> None:
    """Raise what was found: the error itself if it is the only one."""
    if errors:
        raise errors[0] if len(errors) == 1 else NotNativeError(errors)
