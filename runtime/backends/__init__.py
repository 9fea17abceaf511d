"""What can execute a model. `Backend` is the face that `Model` needs; one module each implements it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..results import Placement, Profile
from ..tensors import Array, TensorSpec

Row = tuple[float, float, float, float, float, int]
"""One detection: x1, y1, x2, y2 in pixels of the frame, score, class."""


class Backend(Protocol):
    """A loaded model. Arrays have been checked against `inputs` and `outputs`; one call at a time."""

    name: str
    variant: str | None
    threads: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array | None]) -> list[Array]:
        """Every output, in order, written into the given array where there is one."""

    def placement(self) -> tuple[Placement, ...]:
        """Where each node runs, in the order of execution."""

    def profile(self, inputs: Sequence[Array], runs: int) -> Profile:
        """Times of every call."""

    def preprocess(self, frame: Array) -> Array:
        """The input tensor for a frame."""

    def detect(self, frame: Array, threshold: float | None) -> list[Row]:
        """Frame to detections, best first. `threshold` None is the package's."""

    def decode(self, outputs: Sequence[Array], height: int, width: int, threshold: float | None) -> list[Row]:
        """Outputs to detections in a frame of the given size."""

    def close(self) -> None:
        """Free everything; the backend is not used afterwards."""
