"""Latency of each model on each target, beside ONNX Runtime, in turns; and how far the outputs are apart.

python -m benchmarks.latency [--models birds,resnet18] [--threads 1,2] [--duration 20]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import TARGETS, names, prepare
from benchmarks.results import RESULTS, write
from sanderling import compiler
from sanderling.cli.arguments import positive_float, thread_counts
from sanderling.cli.bench import package_inputs
from sanderling.cli.console import Progress
from sanderling.cli.contest import Entry, Limits, measure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(names()))
    parser.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--threads", type=thread_counts, default=(1,))
    parser.add_argument(
        "--duration", type=positive_float, default=20.0, help="seconds for each runtime (default: 20)"
    )
    parser.add_argument("--tune", choices=("none", "quick", "full"), default="quick")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sanderling-latency-") as folder:
        for name in args.models:
            for row in _rows(name, Path(folder), args):
                print(
                    f"{row['model']:<16} {row['target']:<10} {row['threads']} thread(s): "
                    f"{row['native']['p50_ms']:.3f} ms, ONNX Runtime {row['onnxruntime']['p50_ms']:.3f} ms, "
                    f"ratio {row['ratio']:.3f}, error {row['error']:.1e}",
                    flush=True,
                )
                rows.append(row)
    print(write(args.output, "latency", arguments, rows, duration_s=args.duration))
    return 0


def _rows(name: str, folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    model = prepare(name, folder)
    package = folder / f"{name}.sand"
    with Progress() as progress:
        report = compiler.compile(
            model.path,
            output=package,
            target=args.targets,
            pipeline=model.pipeline,
            tune=args.tune,
            progress=progress,
        )
    for target, facts in report.targets.items():
        if not facts.native:
            raise SystemExit(f"{name} is not fully native for {target}: {facts.note}")
        for threads in args.threads:
            entries = [
                Entry("native", "native", package, target),
                Entry("onnxruntime", "onnxruntime", package),
            ]
            with Progress() as progress:
                own, peer = measure(
                    entries,
                    threads,
                    Limits(seconds=args.duration),
                    package_inputs(package),
                    progress=progress,
                )
            yield {
                "model": name,
                "target": target,
                "threads": threads,
                "ratio": round(own.latency.p50_ms / peer.latency.p50_ms, 4),
                "error": own.error,
                "native": own.row(),
                "onnxruntime": peer.row(),
                "package_bytes": package.stat().st_size,
                "model_bytes": model.path.stat().st_size,
            }


if __name__ == "__main__":
    sys.exit(main())
