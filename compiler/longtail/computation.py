"""The mathematics of one node, ready for fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .stage import AnyStage, Expr, Tensor


@dataclass(frozen=True)
class Computation:
    """Stages in order. They read `inputs` and `constants` and fill `outputs` (by the graph's names)."""

    stages: tuple[AnyStage, ...]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    constants: tuple[Tensor, ...] = ()

    def tensors(self) -> dict[Expr, Tensor]:
        """Every tensor by its buffer."""
        made = (out for stage in self.stages for out in stage.outs)
        return {tensor.buffer: tensor for tensor in (*self.inputs.values(), *self.constants, *made)}
