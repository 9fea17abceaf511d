"""`Model`: one face for every backend. It checks what comes in, and lets one thread at a time through."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from . import _core
from .backends import Backend, Row
from .errors import InputError, SanderlingError
from .manifest import Manifest
from .results import Detection, Placement, Profile
from .tensors import Array, TensorSpec, as_frame, as_input, as_output

Feeds = Mapping[str, object] | object
"""Arrays by input name, or one array for a model with one input."""


class Model:
    """A loaded model; make one with `sanderling.load`.

    Threads may share a Model: calls wait for each other. For runs at the same time, load it once per thread;
    the weights and worker threads are shared. A Model does not survive a fork: load it in the child.
    """

    def __init__(self, backend: Backend, manifest: Manifest, reason: str) -> None:
        self._backend: Backend | None = backend
        self._lock = threading.Lock()
        self._inputs = backend.inputs
        self._outputs = backend.outputs
        self._index = {spec.name: index for index, spec in enumerate(backend.outputs)}
        self._none: list[Array | None] = [None] * len(backend.outputs)
        self._placement: tuple[Placement, ...] | None = None
        self.manifest = manifest
        self.backend: str = backend.name
        self.backend_reason = reason
        self.variant = backend.variant
        self.threads = backend.threads
        self._orphan: Backend | None = None
        _MODELS.add(self)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of each input."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of each output."""
        return self._outputs

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return self.manifest.labels

    @property
    def digest(self) -> str:
        """SHA-256 of the package's manifest, hexadecimal."""
        return self.manifest.digest

    @property
    def placement(self) -> tuple[Placement, ...]:
        """Where each node runs, in the order of execution. Raises SanderlingError if the model is closed."""
        with self._lock:
            backend = self._open()
            if self._placement is None:
                self._placement = backend.placement()
            return self._placement

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, *, out: Sequence[object] | None = None
    ) -> list[Array]:
        """Run once and return the outputs in the package's order, or those named in `outputs`.

        `feeds`: arrays by input name, or one array for a model with one input. numpy arrays and CPU tensors
        that speak DLPack are read in place at any alignment; only non-contiguous ones are copied. NaN passes
        through.
        `out`: C-contiguous arrays (or DLPack tensors) that the returned outputs are written into, in the same
        order; what is returned shares their memory. Of an output whose size depends on the data the array has
        the whole `shape`, and what is returned is the part that is real.
        Raises InputError for a wrong name, rank, shape or dtype, SanderlingError if the model is closed.
        """
        arrays = self._arrays(feeds)
        wanted = None if outputs is None else self._wanted(outputs)
        given = self._none if out is None else self._given(out, wanted, arrays)
        with self._lock:
            results = self._open().run(arrays, given)
        return results if wanted is None else [results[index] for index in wanted]

    def detect(self, frame: object, *, threshold: float | None = None) -> list[Detection]:
        """Objects in a frame (height × width × 3, uint8, RGB), best first, boxes in its pixels.

        `threshold`: the least score, 0…1; None is the package's own.
        Raises InputError for a wrong frame, SanderlingError if the package is no detector or the model is
        closed.
        """
        self._need_task("detect")
        pixels = as_frame(frame)
        least = _threshold(threshold)
        with self._lock:
            rows = self._open().detect(pixels, least)
        return self._named(rows)

    def preprocess(self, frame: object) -> Array:
        """The model's input tensor for a frame (height × width × 3, uint8, RGB). Raises as `detect`."""
        self._need_task()
        pixels = as_frame(frame)
        with self._lock:
            return self._open().preprocess(pixels)

    def decode(
        self, outputs: Sequence[Array], frame_size: tuple[int, int], *, threshold: float | None = None
    ) -> list[Detection]:
        """Objects from all outputs of `run`, for a frame of (height, width) pixels. Raises as `detect`."""
        self._need_task("detect")
        if len(outputs) != len(self._outputs):
            raise InputError(f"decode takes all {len(self._outputs)} outputs, got {len(outputs)}")
        arrays = [as_input(value, spec) for value, spec in zip(outputs, self._outputs, strict=True)]
        height, width = frame_size
        if height < 1 or width < 1:
            raise InputError(f"the frame size must be positive, got {frame_size}")
        least = _threshold(threshold)
        with self._lock:
            rows = self._open().decode(arrays, height, width, least)
        return self._named(rows)

    def profile(self, feeds: Feeds | None = None, *, runs: int = 10) -> Profile:
        """Median time of every call over `runs` runs, after one to warm up; without `feeds` on zeros."""
        if runs < 1:
            raise InputError(f"runs must be at least 1, got {runs}")
        zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._inputs}
        arrays = self._arrays(zeros if feeds is None else feeds)
        with self._lock:
            return self._open().profile(arrays, runs)

    def close(self) -> None:
        """Free everything, after the run in progress. Later calls raise SanderlingError, save this one."""
        with self._lock:
            if self._backend is not None:
                self._backend.close()
            self._backend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.backend if self.variant is None else f"{self.backend}, {self.variant}"
        return f"<Model {self.manifest.name} {self.manifest.version} ({where}, {self.threads} threads)>"

    def _lose(self) -> None:
        """In a forked child: the parent's threads do not exist here, and one of them may hold the lock."""
        self._lock = threading.Lock()
        self._backend, self._orphan = None, self._backend

    def _open(self) -> Backend:
        if self._backend is None and self._orphan is not None:
            raise SanderlingError(
                "the model was loaded before this process was forked; load it in the child instead"
            )
        if self._backend is None:
            raise SanderlingError("the model is closed")
        return self._backend

    def _arrays(self, feeds: Feeds) -> list[Array]:
        specs = self._inputs
        if type(feeds) is dict or isinstance(feeds, Mapping):  # the first is much quicker
            try:
                arrays = [as_input(feeds[spec.name], spec) for spec in specs]
            except KeyError as error:
                raise InputError(f"input {error} is missing; {self._signature()}") from None
            if len(feeds) != len(specs):
                unknown = [name for name in feeds if name not in {spec.name for spec in specs}]
                raise InputError(f"unknown inputs {unknown}; {self._signature()}")
            return arrays
        if len(specs) != 1:
            raise InputError(f"a model with {len(specs)} inputs needs a dict of arrays; {self._signature()}")
        return [as_input(feeds, specs[0])]

    def _wanted(self, names: Sequence[str]) -> list[int]:
        if isinstance(names, str):
            raise InputError(f"outputs is a list of names; did you mean [{names!r}]?")
        unknown = [name for name in names if name not in self._index]
        if unknown:
            raise InputError(f"unknown outputs {unknown}; the model has {list(self._index)}")
        return [self._index[name] for name in names]

    def _given(
        self, out: Sequence[object], wanted: list[int] | None, inputs: list[Array]
    ) -> list[Array | None]:
        """The caller's arrays, one place per output of the model."""
        indices = list(range(len(self._outputs))) if wanted is None else wanted
        if isinstance(out, np.ndarray) or len(out) != len(indices) or len(set(indices)) != len(indices):
            raise InputError(f"out needs one array for each of the {len(indices)} returned outputs")
        specs = [self._outputs[index] for index in indices]
        arrays = [as_output(value, spec) for value, spec in zip(out, specs, strict=True)]
        overlap = _core.first_overlap(inputs, arrays)
        if overlap >= 0:
            raise InputError(f"output {specs[overlap].name!r}: the array overlaps an input or another output")
        result = list(self._none)
        for index, array in zip(indices, arrays, strict=True):
            result[index] = array
        return result

    def _need_task(self, task: str | None = None) -> None:
        pipeline = self.manifest.pipeline
        if pipeline is None:
            raise SanderlingError("the package has no pipeline; prepare inputs yourself and use run()")
        if task is not None and pipeline.task != task:
            raise SanderlingError(f"the package's pipeline does {pipeline.task!r}, not {task!r}")

    def _named(self, rows: list[Row]) -> list[Detection]:
        labels = self.manifest.labels
        return [
            Detection((x1, y1, x2, y2), score, label, labels[label] if label < len(labels) else str(label))
            for x1, y1, x2, y2, score, label in rows
        ]

    def _signature(self) -> str:
        return "the model takes " + ", ".join(map(str, self._inputs))


_MODELS: weakref.WeakSet[Model] = weakref.WeakSet()
_ORPHANS: list[Backend] = []  # never freed: that would wait for threads that do not exist


def _lose_models() -> None:
    for model in list(_MODELS):
        model._lose()
        if model._orphan is not None:
            _ORPHANS.append(model._orphan)


os.register_at_fork(after_in_child=_lose_models)


def _threshold(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise InputError(f"threshold must be in 0…1, got {value}")
    return value
