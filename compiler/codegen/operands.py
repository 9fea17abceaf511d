"""The pointer arguments of an epilogue, and where in them the vector for an output position lies (blocked
layouts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .builder import Expr, KernelBuilder, load
from .epilogue import Step

Fetch = Callable[[int], Expr]


class Operands:
    """Declares one argument for every step that takes one, in order."""

    def __init__(
        self, builder: KernelBuilder, steps: Sequence[Step], batch: int, blocks: int, whole: int, lanes: int
    ) -> None:
        sizes = {"tensor": whole, "channel": blocks * lanes, "channel_tensor": batch * blocks * lanes}
        self._lanes = lanes
        self._operands = [
            (step.operand, builder.pointer(f"operand{index}", sizes[step.operand], 4 * lanes))
            for index, step in enumerate(step for step in steps if step.takes_argument)
        ]

    def at(self, position: Expr, block: Expr, image_block: Expr, lanes: int = 0) -> Fetch:
        """For `epilogue.apply`: `position` is the element index of the output vector, `block` its channel
        block, `image_block` the same counted over the whole batch. `lanes`: how many, if not all.
        """
        return self.at_channel(position, block * self._lanes, image_block * self._lanes, lanes or self._lanes)

    def at_channel(self, position: Expr, channel: Expr, image_channel: Expr, lanes: int) -> Fetch:
        """As `at`, for a vector that begins with any channel: `channel` and `image_channel` count lanes."""
        where = {"tensor": position, "channel": channel, "channel_tensor": image_channel}

        def fetch(index: int) -> Expr:
            operand, buffer = self._operands[index]
            return load(buffer, where[operand], lanes)

        return fetch
