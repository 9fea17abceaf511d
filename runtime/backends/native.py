"""Compiled kernels, run by the C++ runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _core
from ..codes import DTYPES
from ..package import Package
from ..results import Placement, Profile
from ..tensors import Array, TensorSpec, numpy_dtype
from . import Row


class NativeBackend:
    """A variant of the package on the process's thread pool. Raises TargetError if this CPU cannot run it."""

    name = "native"

    def __init__(self, package: Package, variant: str | None, threads: int) -> None:
        self._session = _core.Session(package.core, variant, threads)
        self.variant: str | None = self._session.variant()
        self.threads = threads
        self.inputs = tuple(_spec(*row) for row in self._session.inputs())
        self.outputs = tuple(_spec(*row) for row in self._session.outputs())
        self._bounded = [index for index, spec in enumerate(self.outputs) if spec.bounded is not None]
        pipeline = package.manifest.pipeline
        names = [spec.name for spec in self.inputs]
        self._image = names.index(pipeline.input.name) if pipeline and pipeline.input.name in names else 0

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array | None]) -> list[Array]:
        results = [
            np.empty(spec.shape, spec.dtype) if array is None else array
            for spec, array in zip(self.outputs, outputs)  # noqa: B905  (checked by the caller)
        ]
        self._session.run(inputs, results)
        for index in self._bounded:
            results[index] = self.outputs[index].real(results[index], self._session.count(index))
        return results

    def placement(self) -> tuple[Placement, ...]:
        return tuple(Placement(node, self.name, kind) for node, kind, _ in self._session.calls())

    def profile(self, inputs: Sequence[Array], runs: int) -> Profile:
        results = [np.empty(spec.shape, spec.dtype) for spec in self.outputs]
        self._session.run(inputs, results)  # warm
        times = [[t / 1e3 for t in self._session.profile(inputs, results)] for _ in range(runs)]
        return Profile.of_runs([call[:2] for call in self._session.calls()], times)

    def preprocess(self, frame: Array) -> Array:
        spec = self.inputs[self._image]
        result = np.empty(spec.shape, spec.dtype)
        self._session.preprocess(frame, self._image, result)
        return result

    def detect(self, frame: Array, threshold: float | None) -> list[Row]:
        return self._session.detect(frame, -1.0 if threshold is None else threshold)

    def decode(self, outputs: Sequence[Array], height: int, width: int, threshold: float | None) -> list[Row]:
        return self._session.decode(outputs, height, width, -1.0 if threshold is None else threshold)

    def close(self) -> None:
        self._session.close()


def _spec(name: str, dtype: int, shape: tuple[int, ...], bounded: int) -> TensorSpec:
    return TensorSpec(name, shape, numpy_dtype(DTYPES[dtype]), None if bounded < 0 else bounded)
