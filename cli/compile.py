"""Compile a model into one package with a native variant for each target, checked against ONNX Runtime."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sanderling.cli.arguments import device_address, positive_float, positive_int
from sanderling.cli.console import Progress, print_json
from sanderling.cli.errors import CommandError

if TYPE_CHECKING:
    from sanderling.compiler.remote import Address, Device

EXAMPLES = """\
  sanderling compile model.onnx -o model.sand
  sanderling compile model.onnx -o model.sand --target x86-64-v3 --target x86-64-v4
  sanderling compile yolo.onnx -o yolo.sand --input images:1x3x640x640 --pipeline yolo.json --labels coco.txt
  sanderling compile exported.pt2 -o model.sand
  sanderling compile model.onnx -o model.sand --on ssh://pi@raspberrypi
  sanderling compile model.onnx -o model.sand --tune full --database tuning.json --budget-ms 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="an ONNX file (opset 11–22), or what torch.export.save wrote (.pt2)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.sand", help="the package to write"
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="T",
        help="host (default), or a name such as x86-64-v3; repeat for more",
    )
    parser.add_argument(
        "--input",
        action="append",
        metavar="NAME:SHAPE[:TYPE]",
        help="fix an open dimension, for example image:1x3x320x320:float32",
    )
    parser.add_argument(
        "--tune",
        choices=("none", "quick", "full"),
        default="quick",
        help="how much to measure (default: quick)",
    )
    parser.add_argument(
        "--database", type=Path, metavar="F", help="tuning results to start from and to add to"
    )
    parser.add_argument(
        "--threads", type=positive_int, default=1, metavar="N", help="threads to tune for (default: 1)"
    )
    parser.add_argument(
        "--pipeline", type=Path, metavar="F.json", help="what lies before and after the model"
    )
    parser.add_argument("--labels", type=Path, metavar="F", help="class names, one a line")
    parser.add_argument("--name", help="default: the model file's name")
    parser.add_argument("--version", default="1.0.0", help="semantic version of the model (default: 1.0.0)")
    parser.add_argument(
        "--budget-ms", type=positive_float, metavar="MS", help="fail if the median run takes longer"
    )
    parser.add_argument(
        "--max-error",
        type=positive_float,
        default=1e-4,
        metavar="E",
        help="fail above this error, relative to ONNX Runtime's largest output (default: 1e-4)",
    )
    parser.add_argument("--no-verify", action="store_true", help="leave out the comparison with ONNX Runtime")
    parser.add_argument(
        "--on",
        type=device_address,
        metavar="ssh://[USER@]HOST[:PORT][/FOLDER]",
        help="choose kernels by measuring on a device, through ssh; --target is the device's own by default",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def execute(args: argparse.Namespace) -> int:
    from sanderling import compiler
    from sanderling.compiler.frontends import InputSpec

    with Progress() as progress, _device(args.on) as device:
        report = compiler.compile(
            args.model,
            output=args.output,
            target=args.target or [_target(device)],
            inputs=dict(InputSpec.parse(text) for text in args.input or ()),
            tune=args.tune,
            database=args.database,
            threads=args.threads,
            pipeline=args.pipeline,
            labels=_labels(args.labels) if args.labels else None,
            name=args.name,
            version=args.version,
            budget_ms=args.budget_ms,
            max_error=args.max_error,
            verify=not args.no_verify,
            device=device,
            progress=progress,
        )
    if args.json:
        print_json(report.to_json())
    else:
        print(report)
    return 0


@contextmanager
def _device(address: Address | None) -> Iterator[Device | None]:
    """The device, for as long as it is needed."""
    from sanderling.compiler.remote import Device

    if address is None:
        yield None
        return
    with Device(address) as device:
        yield device


def _target(device: Device | None) -> str:
    from sanderling.compiler.target import host_target

    return "host" if device is None else host_target(device.facts.cpuinfo, device.facts.arch).name


def _labels(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not a text file in UTF-8 ({error.reason})") from error
    labels = [line for line in lines if line]
    if not labels:
        raise CommandError(f"{path}: no labels in it; write one class name a line")
    return labels
