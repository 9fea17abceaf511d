"""Fixed input shapes: what the user gives, and how it is laid over what the model leaves open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from ..errors import ModelError
from ..onnx_types import numpy_name

_TEXT = re.compile(r"(?P<name>.+):(?P<shape>\d+(?:x\d+)*|scalar)(?::(?P<dtype>[a-z]+\d*))?")
_DEFAULT_SIZE = 320  # only used to write an example into an error


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The shape of one model input, and optionally its element type (numpy's name) as a check."""

    shape: tuple[int, ...]
    dtype: str | None = None

    @staticmethod
    def parse(text: str) -> tuple[str, InputSpec]:
        """Read ``name:1x3x320x320:float32`` or ``name:scalar:float32``; the type may be left out.

        Raises:
            ModelError: the text has another form.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ModelError(f"cannot read input {text!r}: write it as name:1x3x320x320:float32")
        dims = [] if match["shape"] == "scalar" else match["shape"].split("x")
        return match["name"], InputSpec(tuple(int(dim) for dim in dims), match["dtype"])


def fix_inputs(graph: onnx.GraphProto, specs: Mapping[str, InputSpec]) -> None:
    """Write `specs` into the graph's inputs in place, and check that every input is then fixed.

    Raises:
        ModelError: a spec names no input or does not fit it; an input is no dense tensor of numbers; a
            dimension stays open (the text names it, and the flag that fixes it).
    """
    unknown = sorted(set(specs) - {value.name for value in graph.input})
    if unknown:
        known = ", ".join(repr(value.name) for value in graph.input) or "none"
        raise ModelError(f"the model has no input {unknown[0]!r}; its inputs: {known}")
    for value in graph.input:
        tensor = _tensor_type(value)
        dtype = numpy_name(tensor.elem_type, f"input {value.name!r}")
        if value.name in specs:
            _apply(value, dtype, specs[value.name])
        _require_fixed(value, dtype)


def _tensor_type(value: onnx.ValueInfoProto) -> Any:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        found = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional value"}
        what = found.get(kind or "", "a sparse tensor" if kind == "sparse_tensor_type" else "of unknown type")
        raise ModelError(f"input {value.name!r} is {what}; only dense tensors can be compiled")
    return value.type.tensor_type


def _apply(value: onnx.ValueInfoProto, dtype: str, spec: InputSpec) -> None:
    tensor = value.type.tensor_type
    if spec.dtype not in (None, dtype):
        raise ModelError(
            f"input {value.name!r} has type {dtype}, not {spec.dtype}; leave the type out or write {dtype}"
        )
    if any(dim < 1 for dim in spec.shape):
        raise ModelError(f"input {value.name!r}: dimensions must be at least 1, not {_times(spec.shape)}")
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(spec.shape):
        raise ModelError(
            f"input {value.name!r} has {len(tensor.shape.dim)} dimensions ({_described(tensor)}), "
            f"not {len(spec.shape)} ({_times(spec.shape)})"
        )
    del tensor.shape.dim[:]
    tensor.shape.SetInParent()
    for dim in spec.shape:
        tensor.shape.dim.add().dim_value = dim


def _require_fixed(value: onnx.ValueInfoProto, dtype: str) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelError(
            f"input {value.name!r} has no shape at all; fix it, for example with "
            f"--input {value.name}:1x3x{_DEFAULT_SIZE}x{_DEFAULT_SIZE}:{dtype}"
        )
    open_dims = [
        f"{index}" + (f" ({dim.dim_param!r})" if dim.dim_param else "")
        for index, dim in enumerate(tensor.shape.dim)
        if not _is_fixed(dim)
    ]
    if open_dims:
        example = "x".join(
            str(dim.dim_value) if _is_fixed(dim) else str(_suggestion(index, len(tensor.shape.dim)))
            for index, dim in enumerate(tensor.shape.dim)
        )
        raise ModelError(
            f"input {value.name!r} ({_described(tensor)}) leaves dimension {', '.join(open_dims)} open; "
            f"fix it, for example with --input {value.name}:{example}:{dtype}"
        )


def _suggestion(index: int, rank: int) -> int:
    """What an open dimension of an image model most often is: batch 1, 3 channels, 320 × 320."""
    if index == 0:
        return 1
    if rank == 4:
        return 3 if index == 1 else _DEFAULT_SIZE
    return 128


def _is_fixed(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return bool(dim.HasField("dim_value") and dim.dim_value > 0)


def _described(tensor: Any) -> str:
    return "×".join(
        dim.dim_param or (str(dim.dim_value) if _is_fixed(dim) else "?") for dim in tensor.shape.dim
    )


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"
