"""Measure a model natively and in ONNX Runtime, in turns, each in a process of its own on the same CPUs.

An ONNX model is compiled for this machine first. Times are of one call from Python with arrays in and out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanderling.cli.arguments import positive_float, positive_int, seed, thread_counts
from sanderling.cli.console import Progress, print_json, size, table
from sanderling.cli.errors import CommandError

if TYPE_CHECKING:
    import numpy.typing as npt

    from sanderling.cli.contest import Limits, Result

EXAMPLES = """\
  sanderling bench birds.sand
  sanderling bench birds.sand --threads 1,2 --duration 20 --json bench.json
  sanderling bench model.onnx --runs 500
  sanderling bench birds.sand --peers none
"""

_PEERS = ("onnxruntime",)
_DEFAULT_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a .sand package, or an ONNX model")
    parser.add_argument(
        "--peers", type=_peers, default=_PEERS, metavar="P", help="onnxruntime (default) or none"
    )
    parser.add_argument("--threads", type=thread_counts, default=(1,), metavar="N[,N…]", help="default: 1")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument(
        "--duration",
        type=positive_float,
        metavar="S",
        help=f"seconds for each runtime (default: {_DEFAULT_SECONDS:.0f})",
    )
    limit.add_argument("--runs", type=positive_int, metavar="N", help="measure a number of runs instead")
    parser.add_argument(
        "--input",
        action="append",
        metavar="NAME:SHAPE[:TYPE]",
        help="fix an open dimension of an ONNX model, for example image:1x3x320x320:float32",
    )
    parser.add_argument("--variant", metavar="T", help="default: the best for this CPU")
    parser.add_argument("--seed", type=seed, default=0, help="of the random inputs")
    parser.add_argument(
        "--json", type=Path, metavar="F", help="write the results as JSON; - for standard output"
    )
    parser.add_argument("--html", type=Path, metavar="F", help="write a page with charts")


def _peers(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in _PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown peer {unknown[0]!r}; known: {', '.join(_PEERS)}, none")
    return names


def execute(args: argparse.Namespace) -> int:
    from sanderling.cli.contest import Limits

    limits = (
        Limits(runs=args.runs, seconds=3600.0)
        if args.runs
        else Limits(seconds=args.duration or _DEFAULT_SECONDS)
    )
    with Progress() as progress, _package(args.model, args.input or (), progress) as package:
        results = [
            result
            for threads in args.threads
            for result in _measure(package, args, threads, limits, progress)
        ]
        document = _document(args, package, results)
    if args.html:
        from sanderling.cli import bench_report

        bench_report.write(args.html, document, results)
    if args.json and str(args.json) != "-":
        _write(args.json, document)
    if args.json and str(args.json) == "-":
        print_json(document)
    else:
        print(summary(results))
        print(f"package: {size(document['package_bytes'])}")
    return 0


def _measure(
    package: Path, args: argparse.Namespace, threads: int, limits: Limits, progress: Progress
) -> Sequence[Result]:
    from sanderling.cli.contest import Entry, measure

    entries = [Entry("native", "native", package, args.variant)]
    entries += [Entry(name, name, package) for name in args.peers]
    return measure(entries, threads, limits, package_inputs(package, args.seed), progress=progress)


def package_inputs(path: Path, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Reproducible inputs of the shapes and types that a package wants."""
    from sanderling.compiler.graph import TensorType
    from sanderling.compiler.reference import make_inputs
    from sanderling.runtime.package import Package

    with Package(path) as package:
        specs = package.manifest.inputs
    return make_inputs({spec.name: TensorType(spec.dtype.name, spec.shape) for spec in specs}, seed=seed)


@contextmanager
def _package(model: Path, inputs: Sequence[str], progress: Progress) -> Iterator[Path]:
    """The package itself, or one compiled from an ONNX model for as long as it is needed."""
    if not model.exists():
        raise CommandError(f"{model}: no such file")
    if model.suffix != ".onnx":
        yield model
        return
    from sanderling import compiler
    from sanderling.compiler.frontends import InputSpec

    with tempfile.TemporaryDirectory(prefix="sanderling-bench-") as folder:
        package = Path(folder) / f"{model.stem}.sand"
        shapes = dict(InputSpec.parse(text) for text in inputs)
        compiler.compile(model, output=package, inputs=shapes, verify=False, progress=progress)
        yield package


def _document(args: argparse.Namespace, package: Path, results: Sequence[Result]) -> dict[str, Any]:
    from sanderling.cli.machine import describe_machine

    return {
        "model": args.model.name,
        "package_bytes": package.stat().st_size,
        "machine": describe_machine(),
        "rows": [result.row() for result in results],
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    from sanderling.compiler.files import replacing

    with replacing(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def summary(results: Sequence[Result]) -> str:
    """A table, and for each peer how its median compares with ours."""
    rows = [
        [
            f"{result.entry.name} {result.version}",
            str(result.threads),
            *(
                f"{getattr(result.latency, f'{name}_ms'):.3f}"
                for name in ("min", "p50", "p90", "p99", "mean")
            ),
            f"{result.latency.throughput:.1f}",
            f"{result.first_ms:.2f}",
            f"{result.load_ms:.1f}",
            f"{result.import_ms:.0f}",
            size(result.peak_bytes),
        ]
        for result in results
    ]
    header = [
        "ms",
        "threads",
        "min",
        "p50",
        "p90",
        "p99",
        "mean",
        "runs/s",
        "first",
        "load",
        "import",
        "peak memory",
    ]
    lines = [table(header, rows)]
    lines += [
        _comparison(own, peer)
        for own in results
        for peer in results
        if own.entry.runtime == "native" and peer.entry.runtime != "native" and own.threads == peer.threads
    ]
    return "\n".join(lines)


def _comparison(own: Result, peer: Result) -> str:
    ratio = own.latency.p50_ms / peer.latency.p50_ms
    threads = f"{own.threads} thread{'s' if own.threads > 1 else ''}"
    error = f"; largest error {own.error:.1e} of the largest output" if own.error is not None else ""
    return f"{threads}: native takes {ratio:.2f} × {peer.entry.name}'s median{error}"
