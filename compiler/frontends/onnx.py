"""ONNX files: read, checked, and made self-contained."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.checker
import onnx.shape_inference
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ..errors import ModelError
from ..onnx_types import check_inline_tensor, numpy_name
from ._external import inline_external
from ._functions import inline_functions
from ._inputs import InputSpec, fix_inputs
from ._recognise import recognise

OPSETS = range(11, 23)
"""Versions of ONNX's default operator set that are understood."""

MAX_BYTES = (1 << 31) - 1
"""Protocol buffers hold no more than this."""

_DEFAULT_DOMAINS = ("", "ai.onnx")
_EINSUM = re.compile(
    r"[a-zA-Z]*(\.\.\.)?[a-zA-Z]*(,[a-zA-Z]*(\.\.\.)?[a-zA-Z]*)*(->[a-zA-Z]*(\.\.\.)?[a-zA-Z]*)?"
)


@dataclass(frozen=True)
class OnnxModel:
    """A checked model: all weights inside, every input of fixed shape, constants no longer listed as inputs.

    Attributes:
        proto: the model. Not to be changed.
        name: where it came from, for messages.
        sha256: hex digest of the model file as it was read (of the serialised message, if it came as one).
        opset: version of the default operator set.
    """

    proto: ModelProto
    name: str
    sha256: str
    opset: int


def load_onnx(
    source: str | Path | bytes | ModelProto,
    *,
    inputs: Mapping[str, InputSpec] | None = None,
    max_bytes: int = MAX_BYTES,
) -> OnnxModel:
    """Load an ONNX model and check everything that can be checked without compiling it.

    Args:
        source: path of the file, its bytes, or the message. Only a path gives access to external weights.
        inputs: shapes to give to inputs by name; needed for every input that has an open dimension.
        max_bytes: limit on the file, and on its external weights.

    Raises:
        ModelError: the file is missing, too large, not ONNX, damaged or inconsistent; its operator set is too
            old or too new; an input stays open. The text says what to do.
    """
    proto, name, sha256, folder = _read(source, max_bytes)
    if not proto.ir_version or not proto.HasField("graph"):
        raise ModelError(f"{name} is not an ONNX model: it has no graph")
    try:
        return OnnxModel(_checked(proto, folder, inputs or {}, max_bytes), name, sha256, _opset(proto))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def portable(model: OnnxModel) -> bytes:
    """The model as one self-contained ONNX file with fixed input shapes: a package's model.onnx."""
    data: bytes = model.proto.SerializeToString(deterministic=True)
    return data


def _read(
    source: str | Path | bytes | ModelProto, max_bytes: int
) -> tuple[ModelProto, str, str, Path | None]:
    if isinstance(source, ModelProto):
        proto = ModelProto()
        proto.CopyFrom(source)
        digest = hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
        return proto, source.graph.name or "the model", digest, None
    if isinstance(source, bytes):
        name, data, folder = "the model", source, None
    else:
        path = Path(source)
        name, data, folder = path.name, _read_file(path, max_bytes), path.parent
    return _parse(data, name, max_bytes), name, hashlib.sha256(data).hexdigest(), folder


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder; {_folder_hint(path)}")
        # Without waiting: opening a pipe would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the name
        raise ModelError(f"cannot read {str(path)!r}: {error}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path} is no plain file")
        if status.st_size > max_bytes:
            raise ModelError(f"{path} has {status.st_size} bytes; at most {max_bytes} are read")
        return file.read(status.st_size)


def _folder_hint(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return "it holds a TensorFlow SavedModel: convert it with tf2onnx and compile the .onnx file"
    found = sorted(child.name for child in path.glob("*.onnx"))
    return (
        f"give the model file itself, for example {path / found[0]}"
        if found
        else "give the model file itself"
    )


def _parse(data: bytes, name: str, max_bytes: int) -> ModelProto:
    if not data:
        raise ModelError(f"{name} is empty")
    if len(data) > max_bytes:
        raise ModelError(f"{name} has more than the {max_bytes} bytes that are read")
    looks_like = recognise(data)
    if looks_like is not None:
        raise ModelError(f"{name} is not an ONNX model but looks like {looks_like}")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        # Field 1, ir_version, comes first in what every exporter writes.
        cause = "is cut short or damaged; copy it again" if data[0] == 0x08 else "is not an ONNX model"
        raise ModelError(f"{name} {cause}") from error
    if not _is_text(proto):
        raise ModelError(f"{name} is damaged: a name in it is no text; copy it again")
    return proto


def _is_text(message: Message) -> bool:
    """Whether every string in the message is Unicode; protobuf hands out the others as bytes."""
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        values = [value] if isinstance(value, str | bytes | Message) else value
        if not all(_is_text(item) if isinstance(item, Message) else isinstance(item, str) for item in values):
            return False
    return True


def _checked(
    proto: ModelProto, folder: Path | None, inputs: Mapping[str, InputSpec], max_bytes: int
) -> ModelProto:
    _opset(proto)
    tensors = list(_tensors(proto))
    inline_external(tensors, folder, max_bytes)
    for tensor in tensors:
        check_inline_tensor(tensor)
    del proto.training_info[:]
    proto = inline_functions(proto)
    _refuse_sparse(proto.graph)
    _drop_initializer_inputs(proto)
    _require_known_operators(proto)
    if inputs:
        _forget_shapes(proto.graph)
    fix_inputs(proto.graph, inputs)
    proto = _with_output_shapes(proto)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"the model is inconsistent: {str(error).strip().splitlines()[0]}") from error
    return proto


def _forget_shapes(graph: GraphProto) -> None:
    """Drop what followed from the input shapes that the file had."""
    del graph.value_info[:]
    for output in graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()


def _with_output_shapes(proto: ModelProto) -> ModelProto:
    """The model, its outputs being tensors of known rank, as ONNX demands and some exporters forget."""
    for output in proto.graph.output:
        if output.type.WhichOneof("value") != "tensor_type":
            raise ModelError(f"output {output.name!r} is no dense tensor; only dense tensors can be compiled")
        numpy_name(output.type.tensor_type.elem_type, f"output {output.name!r}")
    if all(output.type.tensor_type.HasField("shape") for output in proto.graph.output):
        return proto
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelError(f"the model is inconsistent: {str(error).strip().splitlines()[0]}") from error


def _opset(proto: ModelProto) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in _DEFAULT_DOMAINS]
    if len(versions) != 1:
        raise ModelError("the model does not say (once) which version of ONNX's operators it uses")
    if versions[0] not in OPSETS:
        raise ModelError(
            f"the model uses version {versions[0]} of ONNX's operators; versions {OPSETS.start} to "
            f"{OPSETS.stop - 1} are understood: export it again with opset_version=17"
        )
    return int(versions[0])


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _subgraphs(attribute):
                yield from _graphs(inner)


def _subgraphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node of the model, those in subgraphs and local functions too."""
    for graph in _graphs(proto.graph):
        yield from graph.node
    for function in proto.functions:
        for node in function.node:
            yield node
            for attribute in node.attribute:
                for inner in _subgraphs(attribute):
                    for graph in _graphs(inner):
                        yield from graph.node


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that the model holds, wherever it is."""
    for graph in _graphs(proto.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _refuse_sparse(graph: GraphProto) -> None:
    for inner in _graphs(graph):
        for tensor in inner.sparse_initializer:
            raise ModelError(f"tensor {tensor.values.name!r} is sparse; save the model with dense weights")
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("sparse_tensor"):
                    raise ModelError(
                        f"node {node.name!r} holds a sparse tensor; save the model with dense weights"
                    )


def _drop_initializer_inputs(proto: ModelProto) -> None:
    """Before IR version 4 constants had to be listed as inputs too; here they are constants only."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in constants]
    if len(kept) != len(proto.graph.input):
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
    proto.ir_version = max(proto.ir_version, 4)


def _require_readable_equation(node: NodeProto, where: str) -> None:
    """ONNX's shape inference never returns from some malformed equations of Einsum."""
    for attribute in node.attribute:
        equation = attribute.s.decode(errors="replace").replace(" ", "")
        if attribute.name == "equation" and not _EINSUM.fullmatch(equation):
            raise ModelError(f"{where}: cannot read the equation {equation[:80]!r}")


def _require_known_operators(proto: ModelProto) -> None:
    version = _opset(proto)
    domains = {entry.domain for entry in proto.opset_import}
    for node in _nodes(proto):
        where = f"node {node.name or next(iter(node.output), '')!r} ({node.op_type})"
        if node.domain not in _DEFAULT_DOMAINS:
            if node.domain not in domains:
                raise ModelError(f"{where}: the model does not import its domain {node.domain!r}")
            continue
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
        except onnx.defs.SchemaError:
            raise ModelError(f"{where}: version {version} of ONNX has no operator {node.op_type!r}") from None
        if schema.deprecated:
            raise ModelError(
                f"{where}: version {version} of ONNX has withdrawn {node.op_type!r}; "
                "export the model again with another opset_version"
            )
        if node.op_type == "Einsum":
            _require_readable_equation(node, where)
