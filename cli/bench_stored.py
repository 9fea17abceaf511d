"""What `sanderling bench` does with stored documents: a report of one, or two compared."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sanderling.cli import bench_compare
from sanderling.cli.bench_document import Document, read
from sanderling.cli.console import print_json
from sanderling.cli.errors import CommandError
from sanderling.compiler.files import replacing

REGRESSION = 3  # the exit code of `--compare` when something got worse
_THRESHOLD = 0.05

# Options that say something only with others: → which. `model` stands for a measurement.
_BELONGS = {
    "threshold": ("compare",),
    "force": ("compare",),
    "html": ("model", "report"),
    "png": ("model", "report"),
    "json": ("model", "compare"),
}


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for an option that would be passed over in silence."""
    for option, places in _BELONGS.items():
        value = getattr(args, option)
        if value is not None and value is not False and not any(getattr(args, place) for place in places):
            wanted = " or ".join("a model" if place == "model" else f"--{place}" for place in places)
            raise CommandError(f"--{option} needs {wanted}")
    if args.report and not (args.html or args.png):
        raise CommandError("--report needs --html F or --png DIR to write to")


def write_report(document: Document, html: Path | None, png: Path | None) -> None:
    """Page and pictures, as far as asked for. Raises OSError."""
    from sanderling.cli import bench_report

    if html:
        bench_report.write(html, document)
    if png:
        bench_report.write_pictures(png, document)


def report(args: argparse.Namespace) -> int:
    """`--report F --html F --png DIR`."""
    write_report(read(args.report), args.html, args.png)
    return 0


def compare(args: argparse.Namespace) -> int:
    """`--compare OLD NEW`: 0, or 3 if something got worse."""
    old, new = map(read, args.compare)
    threshold = _THRESHOLD if args.threshold is None else args.threshold
    found = bench_compare.compare(old, new, threshold, force=args.force)
    for warning in found.warnings:
        print(f"sanderling: warning: {warning}", file=sys.stderr)
    if args.json and str(args.json) == "-":
        print_json(bench_compare.as_json(found))
    else:
        print(bench_compare.text(found))
    if args.json and str(args.json) != "-":
        content = json.dumps(bench_compare.as_json(found), indent=2, ensure_ascii=False, allow_nan=False)
        with replacing(args.json) as file:
            file.write(content.encode() + b"\n")
    return REGRESSION if found.regressions else 0
