"""Latency of each model on each target, beside other runtimes, in turns; and how far the outputs are apart.

python -m benchmarks.latency [--models birds,resnet18] [--threads 1,2] [--duration 20] [--peers all]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import TARGETS, names, prepare
from benchmarks.results import RESULTS, command_line, save
from sanderling.cli.arguments import peer_names, positive_float, thread_counts
from sanderling.cli.bench_table import summary
from sanderling.cli.console import Progress
from sanderling.cli.contest import INCOMPLETE, Limits
from sanderling.cli.peers import require
from sanderling.cli.session import machine_limits, new_document
from sanderling.cli.study import StudyInterrupted, study
from sanderling.cli.subject import make_subject


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(names()))
    parser.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--threads", type=thread_counts, default=(1, 2))
    parser.add_argument("--peers", type=peer_names, default=peer_names("all"))
    parser.add_argument(
        "--duration", type=positive_float, default=20.0, help="seconds for each runtime (default: 20)"
    )
    parser.add_argument("--tune", choices=("none", "quick", "full"), default="quick")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--hold-peers", action="store_true", help="measure peers also held to the instructions of our targets"
    )
    args = parser.parse_args(arguments)
    require(args.peers)
    limits = Limits(seconds=args.duration)
    document = new_document(limits, 0, command_line("latency", arguments))
    document["limits"] = machine_limits(args.targets)
    try:
        for name in args.models:
            _measure(document, name, args, limits)
    except BaseException as stop:
        if isinstance(stop, StudyInterrupted):
            document["rows"] += stop.part.rows
        document["note"] = INCOMPLETE
        raise
    finally:
        if document["rows"]:
            print(save(args.output, "latency", document))
    return 0


def _measure(document: dict[str, Any], name: str, args: argparse.Namespace, limits: Limits) -> None:
    with Progress() as progress, tempfile.TemporaryDirectory(prefix="sanderling-latency-") as folder:
        model = prepare(name, Path(folder))
        subject = make_subject(
            model.path,
            args.targets,
            Path(folder),
            pipeline=model.pipeline,
            tune=args.tune,
            progress=progress,
        )
        for part in study(
            subject,
            Path(folder),
            wanted=args.peers,
            threads=args.threads,
            limits=limits,
            hold=args.hold_peers,
            progress=progress,
        ):
            print(f"{name}\n{summary(part.rows)}", flush=True)
            document["rows"] += part.rows
            document["layers"] += part.layers


if __name__ == "__main__":
    sys.exit(main())
