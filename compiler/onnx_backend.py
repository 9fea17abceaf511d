"""`onnx.backend.base.Backend`: ONNX's own test suite, and whoever speaks its interface, can drive us."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from sanderling.runtime.errors import TargetError
from sanderling.runtime.loading import load
from sanderling.runtime.model import Model
from sanderling.runtime.tensors import Array

from .driver import compile as compile_model
from .errors import NotNativeError, UnsupportedError

# A test wants a result, not the best kernels.
_OPTIONS: Mapping[str, Any] = {"tune": "none", "verify": False, "name": "model"}


class SanderlingRep(BackendRep):  # type: ignore[misc]  # onnx has no types
    """A compiled and loaded model."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, inputs: Any, **_: Any) -> tuple[Array, ...]:
        """Outputs as a named tuple. `inputs`: arrays in the model's order, one array, or arrays by name."""
        names = [spec.name for spec in self.model.inputs]
        if isinstance(inputs, Mapping):
            feeds = dict(inputs)
        else:
            values = inputs if isinstance(inputs, Sequence) else [inputs]
            feeds = dict(zip(names, values, strict=True))
        results = self.model.run({name: np.asarray(value) for name, value in feeds.items()})
        made: tuple[Array, ...] = namedtupledict("Outputs", [spec.name for spec in self.model.outputs])(
            *results
        )
        return made


class SanderlingBackend(Backend):  # type: ignore[misc]  # onnx has no types
    """Compiles for this machine's CPU. What has no native kernel counts as not implemented."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **_: Any) -> bool:
        """Whether the model compiles; it is compiled to find out."""
        try:
            cls.prepare(model, device).model.close()
        except BackendIsNotSupposedToImplementIt:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **options: Any) -> SanderlingRep:
        """Compile and load; `options` are those of `sanderling.compiler.compile`.

        Raises BackendIsNotSupposedToImplementIt, naming the node, for what has no native kernel, CompileError
        for a wrong model.
        """
        if not cls.supports_device(device):
            raise BackendIsNotSupposedToImplementIt(f"device {device!r}; only CPU is supported")
        super().prepare(model, device)  # ONNX's checker
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.sand"
            try:
                compile_model(model, output=path, **{**_OPTIONS, **options})
                return SanderlingRep(load(path, backend="native"))
            except (UnsupportedError, NotNativeError, TargetError) as error:
                raise BackendIsNotSupposedToImplementIt(str(error)) from error

    @classmethod
    def run_model(
        cls, model: ModelProto, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[Array, ...]:
        """Compile, load and run once."""
        rep = cls.prepare(model, device, **options)
        with rep.model:
            return rep.run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return bool(Device(device).type == DeviceType.CPU)


is_compatible = SanderlingBackend.is_compatible
prepare = SanderlingBackend.prepare
run_model = SanderlingBackend.run_model
supports_device = SanderlingBackend.supports_device
