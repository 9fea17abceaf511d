"""The package writer: programs, ONNX form and self-test into one file (`docs/package-format.md`)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling import __version__
from sanderling.runtime.plan import Blob, Pipeline

from .archive import write_archive
from .elf import check_kernels
from .errors import CompileError
from .files import replacing
from .graph import TensorType
from .memory import ALIGNMENT, plan_memory
from .plan import encode_plan, make_plan
from .program import Program
from .target import Target

Arrays = Mapping[str, npt.NDArray[Any]]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_MANIFEST_LIMIT = 1 << 20


@dataclass(frozen=True)
class Variant:
    """The three files of one target, and its row in the manifest."""

    target: Target
    plan: bytes
    kernels: bytes
    params: bytes
    row: Mapping[str, Any]

    @property
    def entries(self) -> dict[str, bytes]:
        """Entry name → contents."""
        folder = f"variants/{self.target.name}"
        return {
            f"{folder}/plan.bin": self.plan,
            f"{folder}/kernels.so": self.kernels,
            f"{folder}/params.bin": self.params,
        }


@dataclass(frozen=True)
class Package:
    """What goes into a package. `pipeline` is the document as it stands in the manifest."""

    name: str
    version: str
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    model_onnx: bytes
    variants: tuple[Variant, ...] = ()
    pipeline: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    unsupported: tuple[Mapping[str, str], ...] = ()
    selftest_inputs: Arrays = field(default_factory=dict)
    selftest_outputs: Arrays = field(default_factory=dict)
    bounded: Mapping[str, int] = field(default_factory=dict)
    """Outputs of which one dimension is only an upper bound: which."""


def make_variant(
    program: Program, target: Target, *, pipeline: Pipeline | None = None, labels: tuple[str, ...] = ()
) -> Variant:
    """Plan memory and lay out parameters. Raises CompileError if the code breaks the kernel ABI."""
    check_kernels(program.code, target.arch, (call.symbol for call in program.calls))
    memory = plan_memory(program)
    offsets, params = layout_params(program.params)
    plan = make_plan(
        program,
        target,
        memory,
        param_offsets=offsets,
        blobs=(_blob("kernels.so", program.code), _blob("params.bin", params)),
        pipeline=pipeline,
        labels=labels,
    )
    row = {
        "arch": target.arch,
        "features": list(target.features),
        "native": True,
        "kernels": len({call.symbol for call in program.calls}),
        "arena_bytes": memory.arena_bytes,
        "scratch_bytes": program.scratch_bytes,
    }
    return Variant(target, encode_plan(plan), program.code, params, row)


def layout_params(params: Arrays) -> tuple[dict[str, int], bytes]:
    """Offset of each array in params.bin, and its bytes.

    Arrays are little-endian, in C order, 64-byte aligned; equal contents are stored once.
    """
    offsets: dict[str, int] = {}
    known: dict[bytes, int] = {}
    data = bytearray()
    for name, array in params.items():
        raw = raw_bytes(array)
        digest = hashlib.sha256(raw).digest()
        if digest not in known:
            data += bytes(-len(data) % ALIGNMENT)
            known[digest] = len(data)
            data += raw
        offsets[name] = known[digest]
    return offsets, bytes(data)


def raw_bytes(array: npt.NDArray[Any]) -> bytes:
    """The array's elements in C order, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()


def check_identity(name: str, version: str) -> None:
    """Raise CompileError unless a package may have this model name and version."""
    if not _NAME.fullmatch(name):
        raise CompileError(f"model name {name!r}: 1 to 64 of A–Z a–z 0–9 . _ - are allowed")
    if not _VERSION.fullmatch(version):
        raise CompileError(f"version {version!r} is no semantic version such as 1.0.0")


def write_package(path: str | Path, package: Package) -> None:
    """Write the file, whole or not at all. The same package always gives the same bytes.

    Raises CompileError for a bad name or version, OSError if the file cannot be written.
    """
    check_identity(package.name, package.version)
    entries = package_entries(package)
    manifest = _manifest(package, entries)
    if len(manifest) > _MANIFEST_LIMIT:
        raise CompileError(f"manifest.json would have {len(manifest)} bytes; the limit is {_MANIFEST_LIMIT}")
    with replacing(Path(path)) as file:
        write_archive(file, [("manifest.json", manifest), *entries.items()])


def package_entries(package: Package) -> dict[str, bytes]:
    """Every entry except the manifest: name → contents, in file order."""
    entries: dict[str, bytes] = {}
    for index, name in enumerate(package.inputs if package.selftest_inputs else ()):
        entries[f"selftest/input{index}.bin"] = _checked(package.selftest_inputs, name, package.inputs[name])
    for index, name in enumerate(package.outputs if package.selftest_outputs else ()):
        entries[f"selftest/output{index}.bin"] = _checked(
            package.selftest_outputs, name, package.outputs[name], package.bounded.get(name)
        )
    for variant in package.variants:
        entries |= variant.entries
    return entries | {"model.onnx": package.model_onnx}


def _manifest(package: Package, entries: Mapping[str, bytes]) -> bytes:
    document = {
        "format": 1,
        "name": package.name,
        "version": package.version,
        "created_by": f"sanderling {__version__}",
        "inputs": _tensors(package.inputs),
        "outputs": _tensors(package.outputs, package.bounded),
        "pipeline": package.pipeline,
        "labels": list(package.labels),
        "variants": {variant.target.name: variant.row for variant in package.variants},
        "lineage": package.lineage,
        "report": package.report,
        "unsupported": list(package.unsupported),
        "entries": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in entries.items()
        },
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _tensors(
    types: Mapping[str, TensorType], bounded: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    return [
        {"name": name, "dtype": type_.dtype, "shape": list(type_.shape)}
        | ({"bounded": bounded[name]} if bounded and name in bounded else {})
        for name, type_ in types.items()
    ]


def _checked(arrays: Arrays, name: str, type_: TensorType, bounded: int | None = None) -> bytes:
    array = arrays[name]
    shape = list(type_.shape)
    if bounded is not None and array.ndim == len(shape):
        shape[bounded] = min(array.shape[bounded], shape[bounded])
    if array.dtype != np.dtype(type_.dtype) or array.shape != tuple(shape):
        raise CompileError(
            f"self-test tensor {name!r} is {array.dtype}{array.shape}, not {type_.dtype}{type_.shape}"
        )
    return raw_bytes(array)


def _blob(name: str, data: bytes) -> Blob:
    return Blob(name, len(data), hashlib.sha256(data).digest())
