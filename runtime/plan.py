"""plan.bin as Python values, for `inspect` and for the compiler's writer.

Specified in `docs/package-format.md`, section 3. The C++ reader decides what may run; this one checks what
it needs to decode any bytes safely, and no more.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from .codes import (
    ACCESSES,
    ARCHES,
    BLOBS,
    COLORS,
    DECODES,
    DTYPES,
    MAX_RANK,
    PLACES,
    RESIZES,
    ROLES,
    SCORES,
    TASKS,
)
from .errors import PackageError

MAGIC = b"SNDPLAN\0"
VERSION = 1
KERNEL_ABI = 1
HEADER = struct.Struct("<8sIIQIIQQ32s16s")
SECTION = struct.Struct("<IIQQ")
DIGEST = slice(48, 80)  # of plan.bin, inside the header
MAX_SECTIONS = 32
MAX_STRING = 4096
NONE = 0xFFFFFFFF


class Kind(IntEnum):
    """Sections, in their order in the file."""

    STRINGS = 1
    TARGET = 2
    FEATURES = 3
    BLOBS = 4
    TENSORS = 5
    KERNELS = 6
    BUFFERS = 7
    CALLS = 8
    ARGS = 9
    PIPELINE = 10
    LEVELS = 11
    LABELS = 12


RECORDS: Mapping[Kind, struct.Struct] = {
    Kind.STRINGS: struct.Struct("<B"),
    Kind.TARGET: struct.Struct("<6I"),
    Kind.FEATURES: struct.Struct("<2I"),
    Kind.BLOBS: struct.Struct("<2IQ32s"),
    Kind.TENSORS: struct.Struct("<6I8qQ2I"),
    Kind.KERNELS: struct.Struct("<2I"),
    Kind.BUFFERS: struct.Struct("<2Q2I"),
    Kind.CALLS: struct.Struct("<10IQ"),
    Kind.ARGS: struct.Struct("<4I2Q"),
    Kind.PIPELINE: struct.Struct("<4I7f2I2f9I"),
    Kind.LEVELS: struct.Struct("<4I"),
    Kind.LABELS: struct.Struct("<2I"),
}


class PlanError(PackageError):
    """The bytes are not a plan: the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Size and SHA-256 of kernels.so or params.bin."""

    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Bound:
    """Along `axis` a shape is an upper bound; the real number is the int64 at the start of a buffer."""

    axis: int
    buffer: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A model input or output. `nbytes` is the size of the caller's array."""

    name: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Buffer:
    """A place in the arena, in use from call `first` to call `last`, both included."""

    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Argument:
    """`size` bytes at `offset` of what `place` and `index` name (see the format)."""

    place: str
    access: str
    index: int
    align: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the kernel `symbol`; `node` and `kind` are for people."""

    symbol: str
    tasks: int
    grain: int
    args: tuple[Argument, ...]
    node: str
    kind: str
    flops: int


@dataclass(frozen=True, slots=True)
class Level:
    """One set of output maps; tensors are indices into the plan's tensors."""

    stride: int
    cls: int
    box: int | None
    obj: int | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """From a frame to the input and from outputs to boxes. Floats have single precision."""

    task: str
    input: int
    color: str
    resize: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad_value: float
    decode: str
    score: str
    score_threshold: float
    nms_iou: float
    max_detections: int
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Plan:
    """Everything in plan.bin. `tensors`: inputs first, then outputs."""

    target: str
    arch: str
    features: tuple[str, ...]
    arena_bytes: int
    scratch_bytes: int
    blobs: tuple[Blob, ...]
    tensors: tuple[Tensor, ...]
    buffers: tuple[Buffer, ...]
    calls: tuple[Invocation, ...]
    pipeline: Pipeline | None
    labels: tuple[str, ...]


def plan_digest(data: bytes) -> bytes:
    """SHA-256 of plan.bin with its digest field zero."""
    return hashlib.sha256(data[: DIGEST.start] + bytes(32) + data[DIGEST.stop :]).digest()


def decode_plan(data: bytes) -> Plan:
    """Decode plan.bin. Raises PlanError for bytes that are not a whole, undamaged plan of this version."""
    arena_bytes, scratch_bytes, section_count = _read_header(data)
    sections = _Sections(data, section_count)
    (target,) = sections.exactly(Kind.TARGET, 1)
    features = [sections.string(*row) for row in sections.rows(Kind.FEATURES)]
    kernels = [sections.string(*row) for row in sections.rows(Kind.KERNELS)]
    labels = [sections.string(*row) for row in sections.rows(Kind.LABELS)]
    args = [
        Argument(_name(PLACES, "place", place), _name(ACCESSES, "access", access), *rest)
        for place, access, *rest in sections.rows(Kind.ARGS)
    ]
    return Plan(
        target=sections.string(*target[:2]),
        arch=_name(ARCHES, "arch", target[2]),
        features=_part(features, target[3], target[4], "features"),
        arena_bytes=arena_bytes,
        scratch_bytes=scratch_bytes,
        blobs=tuple(
            Blob(_name(BLOBS, "blob", kind), size, sha256)
            for kind, _, size, sha256 in sections.exactly(Kind.BLOBS, 2)
        ),
        tensors=tuple(_tensor(sections, row) for row in sections.rows(Kind.TENSORS)),
        buffers=tuple(Buffer(*row) for row in sections.rows(Kind.BUFFERS)),
        calls=tuple(_call(sections, row, kernels, args) for row in sections.rows(Kind.CALLS)),
        pipeline=_pipeline(sections, labels),
        labels=tuple(labels),
    )


def _read_header(data: bytes) -> tuple[int, int, int]:
    if len(data) < HEADER.size:
        raise PlanError(f"plan.bin has {len(data)} bytes, fewer than its header")
    magic, version, header, size, count, abi, arena, scratch, digest, _ = HEADER.unpack_from(data)
    expected = (
        ("magic", magic, MAGIC),
        ("format version", version, VERSION),
        ("header size", header, HEADER.size),
        ("size", size, len(data)),
        ("kernel ABI version", abi, KERNEL_ABI),
        ("SHA-256", digest.hex(), plan_digest(data).hex()),
    )
    for what, found, wanted in expected:
        if found != wanted:
            raise PlanError(f"plan.bin: {what} is {found!r}, not {wanted!r}")
    if count > MAX_SECTIONS:
        raise PlanError(f"plan.bin: {count} sections, more than {MAX_SECTIONS}")
    return arena, scratch, count


class _Sections:
    """The section table, checked, and access to records and strings."""

    def __init__(self, data: bytes, count: int) -> None:
        self._data = data
        self._table: dict[int, tuple[int, int]] = {}
        end = HEADER.size + count * SECTION.size
        if end > len(data):
            raise PlanError("plan.bin: the section table passes the end")
        previous = 0
        for kind, record, offset, records in SECTION.iter_unpack(data[HEADER.size : end]):
            known = RECORDS.get(kind)
            if kind <= previous or known is None or record != known.size:
                raise PlanError(f"plan.bin: unexpected section of kind {kind} with records of {record} bytes")
            if offset % 8 or offset > len(data) or records > (len(data) - offset) // record:
                raise PlanError(f"plan.bin: section {Kind(kind).name} lies outside the file")
            self._table[kind] = (offset, records)
            previous = kind
        self._refuse_overlap(end)
        self._strings = self._bytes(Kind.STRINGS)

    def _refuse_overlap(self, end: int) -> None:
        for kind, (offset, records) in sorted(self._table.items(), key=lambda item: item[1]):
            if offset < end:
                raise PlanError(f"plan.bin: section {Kind(kind).name} overlaps what lies before it")
            end = offset + records * RECORDS[Kind(kind)].size

    def _bytes(self, kind: Kind) -> bytes:
        offset, count = self._table.get(kind, (0, 0))
        return self._data[offset : offset + count * RECORDS[kind].size]

    def rows(self, kind: Kind) -> Iterable[tuple[Any, ...]]:
        return RECORDS[kind].iter_unpack(self._bytes(kind))

    def exactly(self, kind: Kind, count: int) -> list[tuple[Any, ...]]:
        rows = list(self.rows(kind))
        if len(rows) != count:
            raise PlanError(f"plan.bin: section {kind.name} has {len(rows)} records, not {count}")
        return rows

    def string(self, offset: int, length: int) -> str:
        if length > MAX_STRING or offset > len(self._strings) or length > len(self._strings) - offset:
            raise PlanError(f"plan.bin: string at {offset} of {length} bytes lies outside STRINGS")
        before, after = self._strings[:offset][-1:], self._strings[offset + length :][:1]
        if before not in (b"", b"\0") or after != b"\0":
            raise PlanError(f"plan.bin: string at {offset} of {length} bytes is not a whole one")
        raw = self._strings[offset : offset + length]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise PlanError(f"plan.bin: string at {offset} is not UTF-8") from None
        if "\0" in text:
            raise PlanError(f"plan.bin: string at {offset} has a NUL")
        return text


_Item = TypeVar("_Item")


def _part(items: list[_Item], first: int, count: int, what: str) -> tuple[_Item, ...]:
    if first > len(items) or count > len(items) - first:
        raise PlanError(f"plan.bin: {what} {first}…{first + count} of {len(items)}")
    return tuple(items[first : first + count])


def _name(names: Mapping[int, str], what: str, code: int) -> str:
    if code not in names:
        raise PlanError(f"plan.bin: {what} {code} is unknown")
    return names[code]


def _tensor(sections: _Sections, row: tuple[Any, ...]) -> Tensor:
    offset, length, role, dtype, rank, bounded, *dims, nbytes, buffer, _ = row
    if rank > MAX_RANK:
        raise PlanError(f"plan.bin: a tensor has rank {rank}, above {MAX_RANK}")
    if bounded > rank:
        raise PlanError(f"plan.bin: dimension {bounded - 1} of a tensor of rank {rank} is bounded")
    return Tensor(
        name=sections.string(offset, length),
        role=_name(ROLES, "role", role),
        dtype=_name(DTYPES, "dtype", dtype),
        shape=tuple(dims[:rank]),
        nbytes=nbytes,
        bound=Bound(bounded - 1, buffer) if bounded else None,
    )


def _call(sections: _Sections, row: tuple[Any, ...], kernels: list[str], args: list[Argument]) -> Invocation:
    kernel, tasks, first, count, grain, _, node, node_length, kind, kind_length, flops = row
    return Invocation(
        symbol=_part(kernels, kernel, 1, "kernel")[0],
        tasks=tasks,
        grain=grain,
        args=_part(args, first, count, "args"),
        node=sections.string(node, node_length),
        kind=sections.string(kind, kind_length),
        flops=flops,
    )


def _pipeline(sections: _Sections, labels: list[str]) -> Pipeline | None:
    rows = list(sections.rows(Kind.PIPELINE))
    if not rows:
        return None
    if len(rows) > 1:
        raise PlanError(f"plan.bin: section PIPELINE has {len(rows)} records, not one")
    task, tensor, color, resize, *floats, decode, score, threshold, iou = rows[0][:15]
    most, first_level, level_count, first_label, label_count = rows[0][15:20]
    levels = [
        Level(stride, cls, *(None if index == NONE else index for index in pair))
        for stride, cls, *pair in sections.rows(Kind.LEVELS)
    ]
    _part(labels, first_label, label_count, "labels")
    return Pipeline(
        task=_name(TASKS, "task", task),
        input=tensor,
        color=_name(COLORS, "color", color),
        resize=_name(RESIZES, "resize", resize),
        mean=tuple(floats[:3]),
        std=tuple(floats[3:6]),
        pad_value=floats[6],
        decode=_name(DECODES, "decode", decode),
        score=_name(SCORES, "score", score),
        score_threshold=threshold,
        nms_iou=iou,
        max_detections=most,
        levels=_part(levels, first_level, level_count, "levels"),
    )
