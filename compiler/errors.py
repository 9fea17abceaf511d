"""Errors of the compiler. Their text names the cause and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from sanderling.runtime.errors import SanderlingError


class CompileError(SanderlingError):
    """The model cannot be compiled as asked."""


class ModelError(CompileError):
    """The model file itself is wrong: not ONNX, truncated, inconsistent, or reaching outside its folder."""


class UnsupportedError(CompileError):
    """A valid model uses something that has no native kernel; `node`, `op` and `reason` say what."""

    def __init__(self, node: str, op: str, reason: str) -> None:
        super().__init__(f"node {node!r} ({op}): {reason}")
        self.node, self.op, self.reason = node, op, reason


class NotNativeError(CompileError):
    """Nodes that have no native kernel on a target."""

    def __init__(self, nodes: Sequence[UnsupportedError]) -> None:
        super().__init__("; ".join(map(str, nodes)))
        self.nodes = tuple(nodes)
