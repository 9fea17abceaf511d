"""manifest.json as Python values (`docs/package-format.md`, sections 2 and 5), checked field by field.

The bytes may come from anywhere: every error is a PackageError that names the field.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from .codes import COLORS, DECODES, DTYPES, MAX_RANK, RESIZES, SCORES, TASKS
from .errors import PackageError
from .tensors import TensorSpec, numpy_dtype

FORMAT = 1
MAX_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Item = TypeVar("_Item")


class Entry(NamedTuple):
    """SHA-256 (hexadecimal) and size in bytes of one entry of the ZIP."""

    sha256: str
    size: int


class InputStage(NamedTuple):
    """From a frame to the input tensor `name`.

    `mean`, `std` and `pad_value` are in bytes (0…255), in the model's channel order.
    """

    name: str
    color: str
    resize: str
    pad_value: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class LevelNames(NamedTuple):
    """The output tensors of one set of maps."""

    stride: int
    cls: str
    box: str | None
    obj: str | None


class OutputStage(NamedTuple):
    """From outputs to boxes, or (`decode` is ``none``) to class scores."""

    decode: str
    score: str
    score_threshold: float
    nms_iou: float
    max_detections: int
    levels: tuple[LevelNames, ...]


class PipelineSpec(NamedTuple):
    """What `Model.detect` does before and after the model."""

    task: str
    input: InputStage
    output: OutputStage


@dataclass(frozen=True)
class Manifest:
    """What a package says about itself. `digest`, the SHA-256 of manifest.json, is the package's identity."""

    digest: str
    name: str
    version: str
    created_by: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pipeline: PipelineSpec | None
    labels: tuple[str, ...]
    variants: Mapping[str, Mapping[str, Any]]
    lineage: Mapping[str, Any]
    report: Mapping[str, Any]
    unsupported: tuple[Mapping[str, Any], ...]
    entries: Mapping[str, Entry]


def parse_manifest(data: bytes) -> Manifest:
    """Decode manifest.json. Raises PackageError."""
    root = _Value(_json(data), "manifest.json")
    if root["format"].integer() != FORMAT:
        raise PackageError(
            f"manifest.json: format {root['format'].value} is not {FORMAT}; a newer Sanderling may read it"
        )
    return Manifest(
        digest=hashlib.sha256(data).hexdigest(),
        name=root["name"].text(_NAME),
        version=root["version"].text(),
        created_by=root["created_by"].text(),
        inputs=root["inputs"].each(_tensor),
        outputs=root["outputs"].each(_output),
        pipeline=root["pipeline"].optional(_pipeline),
        labels=root["labels"].each(_Value.text),
        variants={name: row.mapping() for name, row in root["variants"].items()},
        lineage=root["lineage"].mapping(),
        report=root["report"].mapping(),
        unsupported=root["unsupported"].each(_Value.mapping),
        entries={name: _entry(row) for name, row in root["entries"].items()},
    )


class _Value:
    """A JSON value and the path that leads to it."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def fail(self, expected: str) -> PackageError:
        shown = repr(self.value)
        return PackageError(
            f"{self.path}: expected {expected}, got {shown if len(shown) <= 60 else shown[:57] + '…'}"
        )

    def mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self.fail("an object")
        return self.value

    def get(self, key: str) -> _Value:
        """The field, or null where it is missing."""
        return _Value(
            self.mapping().get(key),
            f"{self.path}: {key}" if self.path == "manifest.json" else f"{self.path}.{key}",
        )

    def __getitem__(self, key: str) -> _Value:
        if key not in self.mapping():
            raise PackageError(f"{self.path}: the field {key!r} is missing")
        return self.get(key)

    def items(self) -> Iterator[tuple[str, _Value]]:
        return ((key, self[key]) for key in self.mapping())

    def each(self, read: Callable[[_Value], _Item]) -> tuple[_Item, ...]:
        if not isinstance(self.value, list):
            raise self.fail("a list")
        return tuple(read(_Value(item, f"{self.path}[{index}]")) for index, item in enumerate(self.value))

    def optional(self, read: Callable[[_Value], _Item]) -> _Item | None:
        return None if self.value is None else read(self)

    def text(self, pattern: re.Pattern[str] | None = None) -> str:
        if not isinstance(self.value, str) or (pattern is not None and not pattern.fullmatch(self.value)):
            raise self.fail("a string" if pattern is None else f"a string that matches {pattern.pattern}")
        return self.value

    def choice(self, known: Mapping[int, str]) -> str:
        if not isinstance(self.value, str) or self.value not in known.values():
            raise self.fail("one of " + ", ".join(known.values()))
        return self.value

    def integer(self, least: int = 0) -> int:
        if type(self.value) is not int or not least <= self.value < 1 << 63:
            raise self.fail(f"an integer of at least {least}")
        return self.value

    def number(self) -> float:
        if type(self.value) not in (int, float) or not math.isfinite(self.value) or abs(self.value) > 1e30:
            raise self.fail("a finite number")
        return float(self.value)


def _json(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise PackageError(f"manifest.json has {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"manifest.json is not valid: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _tensor(row: _Value) -> TensorSpec:
    shape = row["shape"].each(lambda dim: dim.integer(1))
    if len(shape) > MAX_RANK:
        raise row["shape"].fail(f"at most {MAX_RANK} dimensions")
    return TensorSpec(row["name"].text(), shape, numpy_dtype(row["dtype"].choice(DTYPES)))


def _output(row: _Value) -> TensorSpec:
    spec = _tensor(row)
    bounded = row.get("bounded").optional(_Value.integer)
    if bounded is not None and bounded >= len(spec.shape):
        raise row.get("bounded").fail(f"one of {len(spec.shape)} dimensions")
    return replace(spec, bounded=bounded)


def _entry(row: _Value) -> Entry:
    return Entry(row["sha256"].text(_SHA256), row["size"].integer())


def _pipeline(row: _Value) -> PipelineSpec:
    task = row["task"].choice(TASKS)
    return PipelineSpec(task, _input_stage(row["input"]), _output_stage(row["output"]))


def _input_stage(row: _Value) -> InputStage:
    stage = InputStage(
        name=row["name"].text(),
        color=row["color"].choice(COLORS),
        resize=row["resize"].choice(RESIZES),
        pad_value=_Value.number(row["pad_value"]),
        mean=row["mean"].each(_Value.number),
        std=row["std"].each(_Value.number),
    )
    channels = 1 if stage.color == "gray" else 3
    for key, values in (("mean", stage.mean), ("std", stage.std)):
        if len(values) != channels:
            raise row[key].fail(f"{channels} numbers")
    if min(stage.std) <= 0:
        raise row["std"].fail("positive numbers")
    return stage


def _output_stage(row: _Value) -> OutputStage:
    decode = row["decode"].choice(DECODES)
    boxes = decode != "none"
    return OutputStage(
        decode=decode,
        score=row["score"].choice(SCORES),
        score_threshold=row["score_threshold"].number() if boxes else 0.0,
        nms_iou=row["nms_iou"].number() if boxes else 0.0,
        max_detections=row["max_detections"].integer(1) if boxes else 0,
        levels=row["levels"].each(_level) if boxes else (),
    )


def _level(row: _Value) -> LevelNames:
    return LevelNames(
        stride=row["stride"].integer(1) if "stride" in row.mapping() else 1,
        cls=row["cls"].text(),
        box=row.get("box").optional(_Value.text),
        obj=row.get("obj").optional(_Value.text),
    )
