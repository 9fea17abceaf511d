"""The package's portable ONNX form, run by ONNX Runtime on the CPU (extra `onnx`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import vision
from ..errors import PackageError, SanderlingError
from ..manifest import PipelineSpec
from ..ort import onnxruntime_module
from ..package import MODEL, Package
from ..results import Placement, Profile
from ..tensors import Array, TensorSpec
from . import Row


class OnnxRuntimeBackend:
    """Raises SanderlingError if ONNX Runtime is not installed or refuses the model."""

    name = "onnxruntime"
    variant: str | None = None

    def __init__(self, package: Package, threads: int) -> None:
        if MODEL not in package.entries:
            raise PackageError(f"the package has no {MODEL}, so only its compiled variants can run")
        self._model = package.read_checked(MODEL)
        self.threads = threads
        self.inputs = package.manifest.inputs
        self.outputs = package.manifest.outputs
        self._pipeline = package.manifest.pipeline
        self._session = _session(self._model, threads, None)
        self._refuse_other_tensors()
        self._placement: tuple[Placement, ...] | None = None

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array | None]) -> list[Array]:
        feeds = {spec.name: array for spec, array in zip(self.inputs, inputs, strict=True)}
        try:
            results = self._session.run([spec.name for spec in self.outputs], feeds)
        except Exception as error:  # ONNX Runtime's own classes derive from nothing narrower
            raise SanderlingError(f"ONNX Runtime: {error}") from error
        return [
            result if array is None else _written(spec, array, result)
            for spec, array, result in zip(self.outputs, outputs, results, strict=True)
        ]

    def placement(self) -> tuple[Placement, ...]:
        """As ONNX Runtime executes them, known only after its optimizer: from one profiled run on zeros."""
        if self._placement is None:
            (events,) = self._events([np.zeros(spec.shape, spec.dtype) for spec in self.inputs], 1)
            self._placement = tuple(Placement(node, self.name, kind) for node, kind, _ in events)
        return self._placement

    def profile(self, inputs: Sequence[Array], runs: int) -> Profile:
        _, *measured = self._events(inputs, runs + 1)  # the first warms up
        times = [[microseconds for *_, microseconds in events] for events in measured]
        return Profile.of_runs([(node, kind) for node, kind, _ in measured[0]], times)

    def preprocess(self, frame: Array) -> Array:
        stage = self._stages().input
        shape = next(spec.shape for spec in self.inputs if spec.name == stage.name)
        return vision.preprocess(stage, shape, frame)

    def detect(self, frame: Array, threshold: float | None) -> list[Row]:
        results = self.run([self.preprocess(frame)], [None] * len(self.outputs))
        return self.decode(results, frame.shape[0], frame.shape[1], threshold)

    def decode(self, outputs: Sequence[Array], height: int, width: int, threshold: float | None) -> list[Row]:
        pipeline = self._stages()
        shape = next(spec.shape for spec in self.inputs if spec.name == pipeline.input.name)
        size = vision.image_size(pipeline.input, shape)
        placement = vision.place(pipeline.input.resize, size, (height, width))
        arrays = {spec.name: array for spec, array in zip(self.outputs, outputs, strict=True)}
        return vision.decode(pipeline.output, arrays, placement, (height, width), threshold)

    def close(self) -> None:
        del self._session

    def _stages(self) -> PipelineSpec:
        if self._pipeline is None:
            raise SanderlingError("the package has no pipeline")
        return self._pipeline

    def _refuse_other_tensors(self) -> None:
        for what, listed, found in (
            ("inputs", self.inputs, self._session.get_inputs()),
            ("outputs", self.outputs, self._session.get_outputs()),
        ):
            names = [spec.name for spec in listed], [node.name for node in found]
            if sorted(names[0]) != sorted(names[1]):
                raise PackageError(f"{MODEL} has the {what} {names[1]}, but the manifest lists {names[0]}")

    def _events(self, inputs: Sequence[Array], runs: int) -> list[list[tuple[str, str, float]]]:
        """Of every run: node, operator and microseconds of each executed kernel."""
        import tempfile

        feeds = {spec.name: array for spec, array in zip(self.inputs, inputs, strict=True)}
        with tempfile.TemporaryDirectory() as folder:
            session = _session(self._model, self.threads, Path(folder) / "profile")
            for _ in range(runs):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
        kernels = [
            (event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], float(event["dur"]))
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        ]
        each = len(kernels) // runs
        return (
            [kernels[i : i + each] for i in range(0, each * runs, each)]
            if each
            else [[] for _ in range(runs)]
        )


def _written(spec: TensorSpec, array: Array, result: Array) -> Array:
    """The part of a caller's array that the result fills."""
    part = array if spec.bounded is None else spec.real(array, result.shape[spec.bounded])
    np.copyto(part, result, casting="no")
    return part


def _session(model: bytes, threads: int, profile: Path | None) -> Any:
    try:
        onnxruntime = onnxruntime_module()
    except ImportError:
        raise SanderlingError(
            "ONNX Runtime is not installed; it comes with `pip install 'sanderling[onnx]'`"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; nothing is printed
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes derive from nothing narrower
        raise SanderlingError(f"ONNX Runtime refuses {MODEL}: {error}") from error
