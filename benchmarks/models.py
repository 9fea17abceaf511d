"""The models that are measured: architectures of the zoo with reproducible weights, and the bird detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanderling.models import birds, zoo

TARGETS = ("x86-64-v4", "x86-64-v3")


@dataclass(frozen=True)
class Model:
    """A model file and what lies around the model."""

    name: str
    path: Path
    pipeline: Any = None


def names() -> tuple[str, ...]:
    """Every model, in the order of the tables."""
    return (*zoo.names(), "birds")


def prepare(name: str, folder: Path) -> Model:
    """The model as a file; zoo models are filled with weights and written into `folder`."""
    if name == "birds":
        return Model(name, birds.WEIGHTS, birds.PIPELINE)
    path = folder / f"{name}.onnx"
    path.write_bytes(zoo.materialize(name).SerializeToString())
    return Model(name, path)
