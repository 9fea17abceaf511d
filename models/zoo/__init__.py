"""Well-known architectures for benchmarks, kept without their weights.

A graph file holds name and shape of every large tensor, so a few kilobytes stand for a network of tens of
megabytes. `materialize` fills it with He-normal values: latency does not depend on trained weights, and
activations keep a sane scale, so results can be compared between runtimes. The architectures are
torchvision's, see NOTICE.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["materialize", "names"]

_FOLDER = Path(__file__).parent
_MISSING = "weights"  # doc_string of an initializer whose values were left out
_VECTOR_SCALE = 0.02  # standard deviation of biases and other one-dimensional tensors


def names() -> tuple[str, ...]:
    """Return the architectures that `materialize` knows, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.onnx")))


def materialize(name: str, seed: int = 0) -> onnx.ModelProto:
    """Return the architecture `name` as a checked ONNX model with reproducible weights.

    Tensors of two or more dimensions are drawn from a normal distribution of variance 2 / fan-in
    (He et al., "Delving Deep into Rectifiers", ICCV 2015), in the order of the graph's initializers,
    so the same `seed` always gives the same values.

    Raises:
        ValueError: `name` is no architecture of the zoo.
    """
    import onnx
    from onnx import numpy_helper

    if name not in names():
        raise ValueError(f"unknown architecture {name!r}; the zoo has: {', '.join(names())}")
    model = onnx.load(_FOLDER / f"{name}.onnx")
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.doc_string == _MISSING:
            values = _he_normal(rng, tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.checker.check_model(model)
    return model


def _he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    scale = np.sqrt(2.0 / int(np.prod(shape[1:]))) if len(shape) > 1 else _VECTOR_SCALE
    return (rng.standard_normal(shape) * scale).astype(np.float32)
