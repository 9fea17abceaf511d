"""Compile the bird detector for this machine, run it on a clip, and show how it compares with ONNX Runtime.

The clip is rendered, from seeds that the detector was not trained on. Writes a package, an annotated video
(WebM) and a report of one page that needs nothing but a browser.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanderling.cli.arguments import positive_float, positive_int, seed
from sanderling.cli.bench_figures import display_name
from sanderling.cli.console import Progress, print_json, size
from sanderling.cli.errors import CommandError
from sanderling.cli.show import Frame, Show

if TYPE_CHECKING:
    from sanderling.cli.contest import Result

EXAMPLES = """\
  sanderling demo
  sanderling demo --output birds/ --seed 3000100 --places 6
"""

FIRST_SEED = 3_000_000  # training, validation and test seeds lie below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    parser.add_argument("--seed", type=seed, default=FIRST_SEED, help="of the first place that is shown")
    parser.add_argument("--places", type=positive_int, default=6, help="how many places (default: 6)")
    parser.add_argument(
        "--frames", type=positive_int, default=24, help="frames in each of them (default: 24)"
    )
    parser.add_argument(
        "--duration", type=positive_float, default=5.0, metavar="S", help="seconds of measuring (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    with Progress() as progress:
        show = _perform(args, progress)
    if args.json:
        print_json(show.to_json())
        return 0
    birds, found, wrong = show.found
    print(f"{show.name}: compiled for {show.variant}, {size(show.package.stat().st_size)}")
    print(f"clip: {len(show.frames)} frames; {found} of {birds} birds found and named, {wrong} boxes wrong")
    print(f"frame to boxes: {show.frame_latency.p50_ms:.2f} ms (median), one thread")
    for result in show.contest:
        print(
            f"model alone, {display_name(result.entry.runtime)}: {result.latency.p50_ms:.2f} ms (median), "
            "one thread"
        )
    print(f"package  {show.package}\nvideo    {show.video}\nreport   {show.report}")
    return 0


def _perform(args: argparse.Namespace, progress: Progress) -> Show:
    from sanderling import compiler
    from sanderling.cli import demo_report
    from sanderling.models import birds

    started = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    package, video, page = (args.output / name for name in ("birds.sand", "birds.webm", "report.html"))
    report = compiler.compile(
        birds.WEIGHTS, output=package, target="host", pipeline=birds.PIPELINE, name="birds", progress=progress
    )
    ((variant, target),) = report.targets.items()
    frames = _watch(package, args, progress)
    _write_video(video, frames, progress)
    contest = _compare(package, args.duration, progress)
    show = Show(
        name="bird detector",
        package=package,
        video=video,
        report=page,
        variant=variant,
        error=target.largest_error,
        frames=tuple(frames),
        contest=contest,
        sizes=_sizes(package),
        seconds=time.monotonic() - started,
    )
    demo_report.write(show)
    return show


def _compare(package: Path, seconds: float, progress: Progress) -> tuple[Result, ...]:
    """The model alone, ours and ONNX Runtime's. Raises CommandError if either fails."""
    from sanderling.cli import contest
    from sanderling.cli.study import own_entries
    from sanderling.cli.subject import make_subject

    with tempfile.TemporaryDirectory(prefix="sanderling-demo-") as folder:
        subject = make_subject(package, (), Path(folder))
        feeds = subject.feeds()
        results = contest.measure(
            [*own_entries(subject), contest.Entry("onnxruntime", (subject.onnx,))],
            1,
            contest.Limits(seconds=seconds),
            feeds,
            reference=contest.reference_outputs(subject.onnx, feeds),
            progress=progress,
        )
    for result in results:
        if not result.measured:
            raise CommandError(f"{result.entry.name}: {result.note}")
    return tuple(results)


def _watch(package: Path, args: argparse.Namespace, progress: Progress) -> list[Frame]:
    import sanderling
    from sanderling.models.birds.scenes import render_clip

    frames: list[Frame] = []
    total = args.places * args.frames
    with sanderling.load(package, backend="native", threads=1) as model:
        for place in range(args.places):
            for scene in render_clip(args.seed + place, args.frames):
                began = time.perf_counter()
                detections = model.detect(scene.image)
                frames.append(Frame(place, scene, detections, 1000 * (time.perf_counter() - began)))
                progress("rendering a clip and finding birds in it", len(frames), total)
    return frames


def _write_video(path: Path, frames: Sequence[Frame], progress: Progress) -> None:
    """VP8 in WebM: every browser plays it, and OpenCV's wheel has its encoder."""
    from sanderling.cli.draw import draw_detections
    from sanderling.models.birds.scenes import FRAMES_PER_SECOND

    height, width = frames[0].scene.image.shape[:2]
    partial = path.with_name(f".partial-{path.name}")
    try:
        writer = _open_video(partial, FRAMES_PER_SECOND, width, height)
        for number, frame in enumerate(frames, start=1):
            writer.write(draw_detections(frame.scene.image, frame.detections)[..., ::-1])
            progress("writing the video", number, len(frames))
        writer.release()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _open_video(path: Path, rate: float, width: int, height: int) -> Any:
    import cv2

    # FFmpeg's note that it stores VP8 under another tag than asked for would stand between our lines.
    sys.stderr.flush()
    standard_error = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), rate, (width, height))
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
    if not writer.isOpened():
        raise CommandError(f"{path.parent}: this OpenCV cannot write VP8 video there")
    return writer


def _sizes(package: Path) -> dict[str, int]:
    """Bytes of what a device needs, beside the library that does the same in ONNX Runtime."""
    from sanderling.runtime import _core
    from sanderling.runtime.ort import onnxruntime_module

    folder = Path(_core.__file__).parent
    ours = sum(file.stat().st_size for file in folder.glob("libsanderling.so*") if not file.is_symlink())
    peer = Path(str(onnxruntime_module().__file__)).parent / "capi"
    theirs = max((file.stat().st_size for file in peer.glob("libonnxruntime.so*")), default=0)
    return {"package": package.stat().st_size, "libsanderling.so": ours, "libonnxruntime.so": theirs}
