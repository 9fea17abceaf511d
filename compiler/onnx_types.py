"""ONNX's element types and tensors in numpy's words, with every size checked before memory is asked for."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import ModelError
from .graph import Array, TensorType

_MAX_ELEMENTS = 1 << 40  # far above any tensor that fits a model, far below what overflows
_PACKED_BITS = {  # element types of which several share a byte
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
}


def numpy_name(elem_type: int, where: str) -> str:
    """Numpy's name of an ONNX element type. Raises ModelError, naming `where`, if there is none."""
    if elem_type == TensorProto.STRING:
        raise ModelError(f"{where} holds strings; only tensors of numbers can be compiled")
    try:
        return str(helper.tensor_dtype_to_np_dtype(elem_type))
    except KeyError:
        raise ModelError(f"{where} has no known element type (number {elem_type})") from None


def elem_type(dtype: str) -> int:
    """The ONNX element type of a numpy name."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def type_proto(type_: TensorType) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(elem_type(type_.dtype), type_.shape)


def static_type(proto: onnx.TypeProto, where: str) -> TensorType | None:
    """The type of a dense tensor whose shape is completely known, else None."""
    if proto.WhichOneof("value") != "tensor_type" or not proto.tensor_type.HasField("shape"):
        return None
    dims = proto.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    dtype = numpy_name(proto.tensor_type.elem_type, where)
    return TensorType(dtype, tuple(dim.dim_value for dim in dims))


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes that the tensor's shape and type need in a file. Raises ModelError if the shape is senseless."""
    where = f"tensor {tensor.name!r}"
    dtype = numpy_name(tensor.data_type, where)
    count = 1
    for dim in tensor.dims:
        if dim < 0:
            raise ModelError(f"{where} has a negative dimension: {list(tensor.dims)}")
        count *= dim
        if count > _MAX_ELEMENTS:
            raise ModelError(f"{where} claims the impossible shape {list(tensor.dims)}")
    if tensor.data_type in _PACKED_BITS:
        return (count * _PACKED_BITS[tensor.data_type] + 7) // 8
    return count * np.dtype(dtype).itemsize


def to_array(tensor: TensorProto) -> Array:
    """The tensor's values, in C order. Raises ModelError if data and shape disagree."""
    try:
        return np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(tuple(tensor.dims))
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor {tensor.name!r}: its data does not fit its shape: {error}") from error


def check_inline_tensor(tensor: TensorProto) -> None:
    """Raise ModelError unless the data stored inside the tensor has exactly the size that its shape needs."""
    expected = tensor_bytes(tensor)
    if tensor.HasField("raw_data"):
        found = len(tensor.raw_data)
        if found != expected:
            raise ModelError(f"tensor {tensor.name!r} has {found} bytes of data, its shape needs {expected}")
        return
    count = math.prod(tensor.dims)
    stored = max(
        len(tensor.float_data),
        len(tensor.int32_data),
        len(tensor.int64_data),
        len(tensor.double_data),
        len(tensor.uint64_data),
    )
    per_element = 2 if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 1
    needed = expected if tensor.data_type in _PACKED_BITS else count * per_element
    if stored != needed:
        raise ModelError(f"tensor {tensor.name!r} has {stored} values, its shape needs {needed}")


def from_array(array: Array, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
