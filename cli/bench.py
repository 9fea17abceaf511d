"""Measure a model with Sanderling and other runtimes, in turns, each in its own process on the same CPUs.

A model that is no package yet is compiled for this machine first. Times are of one call from Python with
arrays in and out. Outputs are checked: a wrong answer is marked, however fast it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanderling.cli.arguments import (
    PEERS,
    device_address,
    peer_names,
    percentage,
    positive_float,
    positive_int,
    seed,
    thread_counts,
)
from sanderling.cli.console import Progress, print_json
from sanderling.cli.errors import CommandError

if TYPE_CHECKING:
    from sanderling.cli.contest import Limits
    from sanderling.cli.study import Part

EXAMPLES = """\
  sanderling bench birds.sand
  sanderling bench birds.sand --threads 1,2 --duration 20 --json bench.json
  sanderling bench model.onnx --peers all --targets x86-64-v4,x86-64-v3
  sanderling bench birds.sand --peers none --runs 500
  sanderling bench birds.sand --on ssh://pi@raspberrypi --threads 1,4
  sanderling bench --report bench.json --html bench.html --png charts
  sanderling bench --compare old.json new.json --threshold 5%
  sanderling bench --install-peers
"""

_DEFAULT_SECONDS = 10.0
_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("model", type=Path, nargs="?", help="a .sand package, or a model to compile")
    what.add_argument(
        "--report", type=Path, metavar="F", help="show what --json wrote: with --html and --png"
    )
    what.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("OLD", "NEW"),
        help="compare what --json wrote; exit 3 if something got worse",
    )
    parser.add_argument(
        "--install-peers",
        action="store_true",
        help="install the newest of the other runtimes in an environment of their own "
        "(in the user's cache, or $SANDERLING_PEERS), before anything is measured",
    )
    parser.add_argument(
        "--peers",
        type=peer_names,
        metavar="P[,P…]",
        help=f"{', '.join(PEERS)}, all, or none (default: onnxruntime)",
    )
    parser.add_argument("--threads", type=thread_counts, default=(1,), metavar="N[,N…]", help="default: 1")
    parser.add_argument(
        "--targets",
        type=_names,
        default=(),
        metavar="T[,T…]",
        help="variants to measure (default: the best for this CPU)",
    )
    parser.add_argument(
        "--hold-peers",
        action="store_true",
        help="measure peers also held to the instructions of our targets, where they can be",
    )
    parser.add_argument(
        "--on",
        type=device_address,
        metavar="ssh://[USER@]HOST[:PORT][/FOLDER]",
        help="measure our variant on a device, through ssh",
    )
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
        help="fix an open dimension of a model, for example image:1x3x320x320:float32",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the random inputs")
    parser.add_argument(
        "--json", type=Path, metavar="F", help="write the results as JSON; - for standard output"
    )
    parser.add_argument("--html", type=Path, metavar="F", help="write a page with charts")
    parser.add_argument("--png", type=Path, metavar="DIR", help="write the charts as pictures")
    parser.add_argument(
        "--threshold", type=percentage, metavar="P", help="changes that --compare tolerates (default: 5%%)"
    )
    parser.add_argument("--force", action="store_true", help="let --compare go on with different machines")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, text.split(","))))


def execute(args: argparse.Namespace) -> int:
    from sanderling.cli import bench_stored

    bench_stored.check(args)
    if args.compare:
        return bench_stored.compare(args)
    if args.report:
        return bench_stored.report(args)
    from sanderling.cli import peers, session
    from sanderling.cli.contest import INCOMPLETE, Limits

    if args.install_peers:
        with Progress() as progress:
            versions = peers.install(progress)
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        print(f"{found} in {peers.environment()}", file=sys.stderr)
    if args.model is None:
        if args.install_peers:
            return 0
        raise CommandError("which model? Name a package or a model file; see sanderling bench --help")
    peers.require(_peers(args))

    limits = (
        Limits(runs=args.runs, seconds=3600.0)
        if args.runs
        else Limits(seconds=args.duration or _DEFAULT_SECONDS)
    )
    document = session.new_document(limits, args.seed, shlex.join(["sanderling", *sys.argv[1:]]))
    code = 0
    try:
        _measure(document, args, limits)
    except KeyboardInterrupt:
        if not document["rows"]:
            raise
        document["note"] = INCOMPLETE
        print("sanderling: interrupted; what was measured until then follows", file=sys.stderr)
        code = _INTERRUPTED
    _show(document, args)
    return code


def _measure(document: dict[str, Any], args: argparse.Namespace, limits: Limits) -> None:
    from sanderling.cli.study import StudyInterrupted

    with Progress() as progress, tempfile.TemporaryDirectory(prefix="sanderling-bench-") as name:
        parts = _there if args.on else _here
        try:
            for part in parts(document, args, limits, Path(name), progress):
                document["rows"] += part.rows
                document["layers"] += part.layers
        except StudyInterrupted as stop:
            document["rows"] += stop.part.rows
            raise


def _here(
    document: dict[str, Any], args: argparse.Namespace, limits: Limits, folder: Path, progress: Progress
) -> Iterator[Part]:
    """On this machine, beside the peers."""
    from sanderling.cli.session import machine_limits
    from sanderling.cli.study import study
    from sanderling.cli.subject import make_subject

    subject = make_subject(args.model, args.targets, folder, inputs=args.input or (), progress=progress)
    progress("measuring the limits of the machine")
    document["limits"] = machine_limits(subject.targets)
    yield from study(
        subject,
        folder,
        wanted=_peers(args),
        threads=args.threads,
        limits=limits,
        seed=args.seed,
        hold=args.hold_peers,
        progress=progress,
    )


def _there(
    document: dict[str, Any], args: argparse.Namespace, limits: Limits, folder: Path, progress: Progress
) -> Iterator[Part]:
    """On a device, alone."""
    from sanderling.cli.remote_bench import best_target, remote_study
    from sanderling.cli.session import machine_limits
    from sanderling.cli.subject import make_subject
    from sanderling.compiler.remote import Device

    progress(f"connecting to {args.on}")
    with Device(args.on) as device:
        document["machine"] = device.facts.to_json()
        document["settings"]["pinned"] = False
        targets = args.targets or (best_target(device, args.model),)
        subject = make_subject(args.model, targets, folder, inputs=args.input or (), progress=progress)
        progress("measuring the limits of the machine")
        with device.serve(threads=1) as server:
            document["limits"] = machine_limits(subject.targets, server)
        yield from remote_study(
            device, subject, threads=args.threads, limits=limits, seed=args.seed, progress=progress
        )


def _peers(args: argparse.Namespace) -> tuple[str, ...]:
    """Those that were named; ONNX Runtime if none were. Raises CommandError for peers on a device."""
    if args.on and args.peers:
        raise CommandError("peers are measured on this machine only: leave out --peers or --on")
    if args.peers is None:
        return () if args.on else ("onnxruntime",)
    wanted: tuple[str, ...] = args.peers
    return wanted


def _show(document: dict[str, Any], args: argparse.Namespace) -> None:
    """Figures first: a page that cannot be drawn must not take them along."""
    from sanderling.cli.bench_table import summary
    from sanderling.cli.session import write_json

    if str(args.json) == "-":
        print_json(document)
    else:
        if args.json:
            write_json(args.json, document)
        print(summary(document["rows"]))
    if args.html or args.png:
        from sanderling.cli import bench_stored
        from sanderling.cli.bench_document import parse

        bench_stored.write_report(parse(document), args.html, args.png)
