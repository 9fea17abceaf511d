"""The pipeline document (`docs/package-format.md`, section 5), checked against a model's inputs and outputs.

The document that comes out has every default filled in; the record goes into plan.bin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sanderling.runtime import codes
from sanderling.runtime.plan import Level, Pipeline

from .errors import CompileError
from .graph import TensorType

Types = Mapping[str, TensorType]
Document = dict[str, Any]

_REQUIRED = object()
_INPUT = {
    "name": _REQUIRED,
    "color": "rgb",
    "resize": "letterbox",
    "pad_value": 114.0,
    "mean": _REQUIRED,
    "std": _REQUIRED,
}
_OUTPUTS: Mapping[str, Mapping[str, Any]] = {
    "detect": {
        "decode": _REQUIRED,
        "score": "sigmoid",
        "score_threshold": 0.35,
        "nms_iou": 0.5,
        "max_detections": 100,
        "levels": _REQUIRED,
    },
    "classify": {"decode": "none", "score": "softmax"},
}
_UNUSED = {"score_threshold": 0.0, "nms_iou": 0.0, "max_detections": 0, "levels": []}  # by classifiers
_LEVELS: Mapping[str, Mapping[str, Any]] = {
    "grid_ltrb_exp": {"stride": _REQUIRED, "cls": _REQUIRED, "box": _REQUIRED, "obj": None},
    "yolo": {"cls": _REQUIRED},
    "boxes_scores": {"cls": _REQUIRED, "box": _REQUIRED},
}
# Shapes of a level's tensors; equal letters are equal numbers.
_SHAPES: Mapping[str, Mapping[str, tuple[int | str, ...]]] = {
    "grid_ltrb_exp": {"cls": (1, "K", "H", "W"), "box": (1, 4, "H", "W"), "obj": (1, 1, "H", "W")},
    "yolo": {"cls": (1, "4+K", "N")},
    "boxes_scores": {"cls": (1, "N", "K"), "box": (1, "N", 4)},
}
_MOST_DETECTIONS = 65536
_MOST_LEVELS = 64
_SMALLEST = float(np.finfo(np.float32).tiny)


def check_pipeline(
    document: Mapping[str, Any], inputs: Types, outputs: Types, labels: Sequence[str] | None = None
) -> tuple[Document, Pipeline, tuple[str, ...]]:
    """Check a pipeline document; returns it with defaults filled in, its plan record, and the labels.

    `labels` may be given here or in the document. Raises CompileError naming the key and what is allowed.
    """
    top = _object(
        document, "pipeline", {"task": _REQUIRED, "input": _REQUIRED, "output": _REQUIRED, "labels": None}
    )
    task = _choice(top["task"], "pipeline.task", codes.TASKS)
    names = _labels(top["labels"], labels)
    source = _input(top["input"], inputs)
    result = _object(top["output"], "pipeline.output", _OUTPUTS[task])
    _check_output(task, result)
    if task == "detect":
        classes = _check_levels(result, _image_size(inputs[source["name"]], len(source["mean"])), outputs)
    else:
        classes = next(iter(outputs.values())).size
    if names and len(names) != classes:
        raise CompileError(f"pipeline.labels: {len(names)} labels for a model with {classes} classes")
    record = _record(task, source, _UNUSED | result, tuple(outputs))
    return {"task": task, "input": source, "output": result, "labels": list(names)}, record, names


def _record(task: str, source: Document, result: Document, outputs: tuple[str, ...]) -> Pipeline:
    positions = {name: index for index, name in enumerate(outputs, start=1)}  # tensor 0 is the only input
    return Pipeline(
        task=task,
        input=0,
        color=source["color"],
        resize=source["resize"],
        mean=_three(source["mean"]),
        std=_three(source["std"]),
        pad_value=_single(source["pad_value"]),
        decode=result["decode"],
        score=result["score"],
        score_threshold=_single(result["score_threshold"]),
        nms_iou=_single(result["nms_iou"]),
        max_detections=result["max_detections"],
        levels=tuple(
            Level(
                # Only grids have one; the others count in pixels.
                stride=row.get("stride", 1),
                cls=positions[row["cls"]],
                box=positions[row["box"]] if row.get("box") else None,
                obj=positions[row["obj"]] if row.get("obj") else None,
            )
            for row in result["levels"]
        ),
    )


def _single(value: float) -> float:
    """The nearest float32, which is what plan.bin holds."""
    return float(np.float32(value))


def _three(values: list[float]) -> tuple[float, float, float]:
    """plan.bin has room for three channels; a gray image's number fills them all."""
    a, b, c = map(_single, values * (3 // len(values)))
    return a, b, c


def _input(value: Any, inputs: Types) -> Document:
    source = _object(value, "pipeline.input", _INPUT)
    if len(inputs) != 1:
        raise CompileError(
            f"pipeline: only a model with one input can have one; this has {', '.join(inputs)}"
        )
    type_ = _tensor(source["name"], "pipeline.input.name", inputs)
    color = _choice(source["color"], "pipeline.input.color", codes.COLORS)
    channels = 1 if color == "gray" else 3
    if len(type_.shape) != 4 or type_.shape[0] != 1 or channels not in (type_.shape[1], type_.shape[3]):
        raise CompileError(
            f"pipeline.input: {source['name']!r} has shape {list(type_.shape)}; "
            f"a {color} image needs [1, {channels}, H, W] or [1, H, W, {channels}]"
        )
    _choice(source["resize"], "pipeline.input.resize", codes.RESIZES)
    source["pad_value"] = _number(source["pad_value"], "pipeline.input.pad_value", 0, 255)
    for key in ("mean", "std"):
        source[key] = _per_channel(source[key], f"pipeline.input.{key}", channels)
    if min(map(_single, source["std"])) < _SMALLEST:
        raise CompileError(f"pipeline.input.std: {source['std']}; it divides, so it must be positive")
    return source


def _per_channel(value: Any, where: str, channels: int) -> list[float]:
    """A number for each channel of the image; a gray one may give it bare."""
    values = [value] if isinstance(value, int | float) else value
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != channels:
        raise CompileError(f"{where}: {value!r}; {channels} numbers are needed")
    return [_number(item, where, -1e6, 1e6) for item in values]


def _check_output(task: str, result: Document) -> None:
    decodes = {code: name for code, name in codes.DECODES.items() if (name == "none") == (task == "classify")}
    _choice(result["decode"], "pipeline.output.decode", decodes)
    _choice(result["score"], "pipeline.output.score", codes.SCORES)
    if task == "detect":
        for key in ("score_threshold", "nms_iou"):
            result[key] = _number(result[key], f"pipeline.output.{key}", 0, 1)
        most = result["max_detections"]
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _MOST_DETECTIONS:
            raise CompileError(
                f"pipeline.output.max_detections: {most!r}; allowed are 1 to {_MOST_DETECTIONS}"
            )


def _image_size(image: TensorType, channels: int) -> tuple[int, int]:
    """Height and width; channels come first if the second dimension can be theirs."""
    _, a, b, c = image.shape
    return (b, c) if a == channels else (a, b)


def _check_levels(result: Document, image_size: tuple[int, int], outputs: Types) -> int:
    """Check the levels and fill in their defaults; returns the number of classes."""
    decode, rows = result["decode"], result["levels"]
    where = "pipeline.output.levels"
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise CompileError(f"{where}: {rows!r}; a list of at least one level is needed")
    most = _MOST_LEVELS if decode == "grid_ltrb_exp" else 1
    if len(rows) > most:
        raise CompileError(f"{where}: {decode} has at most {most}, not {len(rows)}")
    known: dict[str, int] = {}
    result["levels"] = [_object(row, f"{where}[{i}]", _LEVELS[decode]) for i, row in enumerate(rows)]
    for i, row in enumerate(result["levels"]):
        sizes = {key: value for key, value in known.items() if key == "K"}
        if "stride" in row:
            sizes |= _grid_size(row["stride"], f"{where}[{i}].stride", image_size)
        for key, pattern in _SHAPES[decode].items():
            if row[key] is not None:
                type_ = _tensor(row[key], f"{where}[{i}].{key}", outputs)
                _unify(type_.shape, pattern, sizes, f"{where}[{i}].{key} ({row[key]})")
        known = sizes
    return known["K"]


def _grid_size(stride: Any, where: str, image_size: tuple[int, int]) -> dict[str, int]:
    if not isinstance(stride, int) or isinstance(stride, bool) or not 1 <= stride <= max(image_size):
        raise CompileError(f"{where}: {stride!r}; allowed are 1 to {max(image_size)}")
    return {letter: -(-size // stride) for letter, size in zip("HW", image_size, strict=True)}


def _unify(shape: tuple[int, ...], pattern: tuple[int | str, ...], known: dict[str, int], where: str) -> None:
    """Match a shape with its pattern, learning letters that are not known yet."""
    found = dict(known)
    fits = len(shape) == len(pattern)
    for size, part in zip(shape, pattern, strict=False):
        if part == "4+K":
            fits &= size > 4
            part, size = "K", size - 4
        fits &= (found.setdefault(part, size) if isinstance(part, str) else part) == size
    if not fits:
        wanted = ", ".join(map(str, pattern))
        letters = "".join(f", {letter} = {size}" for letter, size in known.items() if letter in wanted)
        raise CompileError(f"{where} has shape {list(shape)}, not [{wanted}]{letters}")
    known |= found


def _labels(inside: Any, outside: Sequence[str] | None) -> tuple[str, ...]:
    if inside is not None and outside is not None and list(inside) != list(outside):
        raise CompileError(
            "pipeline.labels differ from the labels given beside the pipeline; give one of them"
        )
    return check_labels(inside if outside is None else outside)


def check_labels(labels: Any) -> tuple[str, ...]:
    """Class names as a tuple. Raises CompileError for anything but a list of texts."""
    names = [] if labels is None else labels
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not all(isinstance(n, str) and n for n in names)
    ):
        raise CompileError(f"labels: {names!r}; a list of class names is needed")
    return tuple(names)


def _object(value: Any, where: str, keys: Mapping[str, Any]) -> Document:
    """A copy of a JSON object with defaults; keys that are unknown or missing are errors."""
    if not isinstance(value, Mapping):
        raise CompileError(f"{where}: {value!r}; an object with {', '.join(keys)} is needed")
    unknown = [str(key) for key in value if key not in keys]
    missing = [key for key, default in keys.items() if default is _REQUIRED and key not in value]
    if unknown:
        raise CompileError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(keys)}")
    if missing:
        raise CompileError(f"{where}: {', '.join(missing)} is missing")
    return {key: value.get(key, default) for key, default in keys.items()}


def _choice(value: Any, where: str, names: Mapping[int, str]) -> str:
    if value not in names.values():
        raise CompileError(f"{where}: {value!r}; allowed: {', '.join(names.values())}")
    return str(value)


def _number(value: Any, where: str, low: float, high: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise CompileError(f"{where}: {value!r} is not a number")
    if not low <= value <= high:
        raise CompileError(f"{where}: {value!r}; allowed are {low:g} to {high:g}")
    return float(value)


def _tensor(name: Any, where: str, types: Types) -> TensorType:
    if not isinstance(name, str) or name not in types:
        raise CompileError(f"{where}: the model has no {name!r}; it has {', '.join(types)}")
    if types[name].dtype != "float32":
        raise CompileError(f"{where}: {name!r} is {types[name].dtype}; only float32 is supported")
    return types[name]
