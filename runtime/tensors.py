"""What a model's inputs and outputs look like, and the check that an array fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError

Array = npt.NDArray[Any]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """numpy's dtype for a dtype of the package format; it has no bfloat16, whose bits are a uint16."""
    return np.dtype("uint16" if name == "bfloat16" else name)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and element type of an input or output.

    Shapes are fixed, save that along the dimension `bounded` of an output its shape is the most there can be.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bounded: int | None = None

    def __str__(self) -> str:
        dims = (f"≤{size}" if axis == self.bounded else str(size) for axis, size in enumerate(self.shape))
        return f"{self.name}: {self.dtype.name} [{', '.join(dims)}]"

    def real(self, array: Array, size: int) -> Array:
        """The part of a whole array that is real, where `size` elements along the bounded dimension are."""
        return array[(slice(None),) * (self.bounded or 0) + (slice(size),)]


def as_input(value: object, spec: TensorSpec) -> Array:
    """`value` as a C-contiguous array of exactly the type and shape in `spec`; copied only if not contiguous.

    Takes numpy arrays and whatever speaks DLPack and lies in CPU memory. Raises InputError for all else:
    nothing is cast or reshaped in silence.
    """
    if type(value) is np.ndarray and value.dtype == spec.dtype and value.shape == spec.shape:
        return value if value.flags.c_contiguous else value.copy(order="C")
    array = _as_array(value, spec)
    _check(array, spec, "input")
    return np.array(array, order="C", copy=None, subok=False)


def as_output(value: object, spec: TensorSpec) -> Array:
    """`value`, or a view of a DLPack tensor, if results can be written straight into it.

    Raises InputError otherwise.
    """
    if not isinstance(value, np.ndarray):
        value = _from_dlpack(value, f"output {spec.name!r}")
    if value.dtype != spec.dtype or value.shape != spec.shape:
        _check(value, spec, "output")
    if not value.flags.c_contiguous:
        raise InputError(f"output {spec.name!r}: the array must be C-contiguous")
    if not value.flags.writeable:
        raise InputError(f"output {spec.name!r}: the array is read-only")
    return value


def as_frame(value: object) -> Array:
    """A camera frame: height × width × 3 bytes, RGB. Rows may be any distance apart; others are copied.

    Raises InputError.
    """
    frame = value if isinstance(value, np.ndarray) else _from_dlpack(value, "frame")
    if frame.dtype != np.uint8:
        raise InputError(f"frame: expected uint8, got {frame.dtype}; scale to 0…255 and .astype(np.uint8)")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"frame: expected (height, width, 3) in RGB, got shape {frame.shape}")
    if 0 in frame.shape:
        raise InputError(f"frame: it has no pixels, shape {frame.shape}")
    height, width, _ = frame.shape
    rows_are_plain = frame.strides[1:] == (3, 1) and (frame.strides[0] >= 3 * width or height == 1)
    return frame if rows_are_plain else frame.copy(order="C")


def _as_array(value: object, spec: TensorSpec) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"input {spec.name!r}: a masked array has no plain values; use .filled()")
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    return _from_dlpack(value, f"input {spec.name!r}")


def _from_dlpack(value: Any, what: str) -> Array:
    if not hasattr(value, "__dlpack__"):
        raise InputError(f"{what}: expected a numpy array or a DLPack tensor, got {_type_name(value)}")
    try:
        array: Array = np.from_dlpack(value)
    except Exception as error:  # another device, gradients, an unknown dtype: libraries differ
        raise InputError(f"{what}: {_type_name(value)} cannot be read through DLPack: {error}") from error
    return array


def _check(array: Array, spec: TensorSpec, what: str) -> None:
    fault = None
    if array.dtype != spec.dtype:
        fault = f"expected {spec.dtype}, got {array.dtype}; convert with .astype(np.{spec.dtype.name})"
    elif array.ndim != len(spec.shape):
        fault = f"expected {len(spec.shape)} dimensions {spec.shape}, got {array.ndim} {array.shape}"
    elif array.shape != spec.shape:
        fault = f"expected shape {spec.shape}, got {array.shape}"
    if fault is not None:
        raise InputError(f"{what} {spec.name!r}: {fault}")


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
