"""Run a package on pictures or arrays.

A detector draws its boxes, a classifier prints its best classes, any other model turns .npy arrays into .npy
arrays.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sanderling.cli.arguments import positive_int, probability
from sanderling.cli.console import print_json
from sanderling.cli.errors import CommandError
from sanderling.compiler.files import replacing

if TYPE_CHECKING:
    from sanderling.runtime.model import Model

EXAMPLES = """\
  sanderling run birds.sand --input beach.jpg --output found.jpg
  sanderling run birds.sand --input *.jpg --output found/ --threshold 0.5
  sanderling run classifier.sand --input cat.png
  sanderling run model.sand --input x.npy --output y.npy
  sanderling run model.sand --input ids=ids.npy mask=mask.npy --output results/
"""

_PICTURES = (".jpg", ".jpeg", ".png")
_BEST_CLASSES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", help="a .sand file")
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILE",
        help=".jpg or .png pictures, or one .npy array per model input (NAME=FILE.npy if there are several)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="a file for one result, a folder for several"
    )
    parser.add_argument("--backend", choices=("auto", "native", "onnxruntime"), default="auto")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="default: one per physical core")
    parser.add_argument(
        "--threshold", type=probability, metavar="P", help="least score; default: the package's"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    import sanderling

    pictures = [Path(name).suffix.lower() in _PICTURES for name in args.input]
    if any(pictures) and not all(pictures):
        raise CommandError("give either pictures or .npy arrays, not both")
    with sanderling.load(args.package, backend=args.backend, threads=args.threads) as model:
        if all(pictures):
            results = _run_pictures(model, [Path(name) for name in args.input], args)
        else:
            results = [_run_arrays(model, args.input, args.output)]
    if args.json:
        print_json(
            {"package": args.package, "digest": model.digest, "variant": model.variant, "results": results}
        )
    else:
        for result in results:
            print(_line(result))
    return 0


def _run_pictures(model: Model, paths: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    pipeline = model.manifest.pipeline
    if pipeline is None:
        raise CommandError(
            f"{args.package} takes .npy arrays; compile it with --pipeline to run it on pictures"
        )
    targets = _targets(paths, args.output)
    sources = {path.resolve() for path in paths}
    for target in targets:
        if target is not None and target.resolve() in sources:
            raise CommandError(f"{target} is one of the pictures themselves; give another --output")
    run = _detect if pipeline.task == "detect" else _classify
    return [run(model, path, target, args.threshold) for path, target in zip(paths, targets, strict=True)]


def _targets(paths: Sequence[Path], output: Path | None) -> Sequence[Path | None]:
    """Where the drawn pictures go: nowhere, one file, or files of the same names in a folder."""
    if output is None:
        return [None] * len(paths)
    if output.suffix.lower() in _PICTURES:
        if len(paths) > 1:
            raise CommandError(f"{len(paths)} pictures do not fit into one file; give a folder to --output")
        return [output]
    _require_folder(output, " or ".join(_PICTURES))
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise CommandError("two pictures have the same name, so their results would overwrite each other")
    output.mkdir(parents=True, exist_ok=True)
    return [output / name for name in names]


def _require_folder(output: Path, files: str) -> None:
    """Refuse what looks like a file of a kind that cannot be written."""
    if output.suffix and not output.is_dir():
        raise CommandError(f"{output}: name a file ending in {files}, or a folder that is there")


def _detect(model: Model, path: Path, target: Path | None, threshold: float | None) -> dict[str, Any]:
    from sanderling.cli.draw import draw_detections
    from sanderling.cli.images import read_image, write_image

    image = read_image(path)
    detections = model.detect(image, threshold=threshold)
    if target is not None:
        write_image(target, draw_detections(image, detections))
    found = [
        {
            "label": detection.name,
            "score": round(detection.score, 4),
            "box": [round(value, 1) for value in detection.box],
        }
        for detection in detections
    ]
    return {"input": str(path), "output": str(target) if target else None, "detections": found}


def _classify(model: Model, path: Path, target: Path | None, threshold: float | None) -> dict[str, Any]:
    from sanderling.cli.images import read_image

    if target is not None:
        raise CommandError("a classifier draws nothing; leave --output out")
    pipeline = model.manifest.pipeline
    assert pipeline
    (output,) = model.run({pipeline.input.name: model.preprocess(read_image(path))}, [model.outputs[0].name])
    scores = _SCORES[pipeline.output.score](output.reshape(-1).astype(np.float64))
    order = np.argsort(-scores, kind="stable")[:_BEST_CLASSES]
    named = ((model.labels[i] if i < len(model.labels) else str(i), float(scores[i])) for i in order)
    classes = [
        {"label": label, "score": round(score, 4)}
        for label, score in named
        if threshold is None or score >= threshold
    ]
    return {"input": str(path), "classes": classes}


def _softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers: npt.NDArray[np.float64] = np.exp(values - values.max())
    powers /= powers.sum()
    return powers


_SCORES: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "none": lambda values: values,
    "sigmoid": lambda values: 0.5 * (1.0 + np.tanh(0.5 * values)),  # never overflows
    "softmax": _softmax,
}


def _run_arrays(model: Model, inputs: Sequence[str], output: Path | None) -> dict[str, Any]:
    feeds = _feeds(model, inputs)
    names = [spec.name for spec in model.outputs]
    paths = _array_paths(names, output) if output is not None else {}
    sources = {_file(text).resolve() for text in inputs}
    for path in paths.values():
        if path.resolve() in sources:
            raise CommandError(f"{path} is one of the inputs itself; give another --output")
    results = dict(zip(names, model.run(feeds), strict=True))
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.save(file, results[name])
    rows = [
        {
            "name": name,
            "dtype": value.dtype.name,
            "shape": list(value.shape),
            "min": _plain(value.min()),
            "max": _plain(value.max()),
            "mean": _plain(value.mean(dtype=np.float64)),
            "file": str(paths[name]) if name in paths else None,
        }
        for name, value in results.items()
    ]
    return {"input": list(inputs), "outputs": rows}


def _feeds(model: Model, inputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    names = [spec.name for spec in model.inputs]
    feeds: dict[str, npt.NDArray[Any]] = {}
    for text in inputs:
        name, separator, _ = text.rpartition("=")
        if not separator and len(names) > 1:
            raise CommandError(
                f"the model has the inputs {', '.join(names)}: say which, as {names[0]}={text}"
            )
        name = name or names[0]
        if name not in names:
            raise CommandError(f"the model has no input {name!r}, only {', '.join(names)}")
        if name in feeds:
            raise CommandError(f"two arrays for the input {name!r}")
        feeds[name] = _read_array(_file(text))
    return feeds


def _file(text: str) -> Path:
    """The file of `FILE.npy` or `NAME=FILE.npy`."""
    return Path(text.rpartition("=")[2])


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CommandError(f"{path}: not a .npy file of plain numbers ({error})") from error
    if not isinstance(loaded, np.ndarray):
        raise CommandError(f"{path}: holds several arrays; give one .npy file per input")
    return loaded


def _array_paths(names: Sequence[str], output: Path) -> dict[str, Path]:
    """Output name → file. One result goes to a .npy file or into a folder, several into a folder."""
    if output.suffix == ".npy":
        if len(names) > 1:
            raise CommandError(
                f"{len(names)} outputs do not fit into one .npy file; give a folder to --output"
            )
        return dict.fromkeys(names, output)
    _require_folder(output, ".npy")
    # Names of tensors may hold anything, even "/": keep what is safe in a file name.
    safe = {name: "".join(c if c.isalnum() or c in "._-" else "_" for c in name) for name in names}
    if len(set(safe.values())) < len(safe):
        safe = {name: f"output{index}" for index, name in enumerate(names)}
    return {name: output / f"{text}.npy" for name, text in safe.items()}


def _plain(value: Any) -> float | int | bool | str:
    """A JSON number; what JSON has no word for (NaN, infinity) as text."""
    plain: float | int | bool = value.item()
    return plain if np.isfinite(plain) else str(plain)


def _line(result: dict[str, Any]) -> str:
    if "detections" in result:
        head = f"{result['input']}: {len(result['detections'])} found"
        head += f" → {result['output']}" if result["output"] else ""
        rows = [f"  {row['label']:<16} {row['score']:.2f}  {row['box']}" for row in result["detections"]]
    elif "classes" in result:
        head = result["input"]
        rows = [f"  {row['score']:.3f}  {row['label']}" for row in result["classes"]]
    else:
        head = " ".join(result["input"])
        rows = [_array_line(row) for row in result["outputs"]]
    return "\n".join([head, *rows])


def _array_line(row: dict[str, Any]) -> str:
    values = ", ".join(f"{key} {_number(row[key])}" for key in ("min", "max", "mean"))
    file = f" → {row['file']}" if row["file"] else ""
    return f"  {row['name']} {row['dtype']} {row['shape']}: {values}{file}"


def _number(value: float | int | bool | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
