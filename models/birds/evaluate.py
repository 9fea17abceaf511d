"""Measures the committed weights on held-out scenes: `python -m sanderling.models.birds.evaluate`.

ONNX Runtime runs the network, `decode` turns its outputs into detections, pycocotools compares them with the
truth.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanderling.models.birds.data import TEST_SEEDS
from sanderling.models.birds.decode import Detections, Thresholds, decode
from sanderling.models.birds.landscapes import Image
from sanderling.models.birds.letterbox import letterbox
from sanderling.models.birds.scenes import render_scene
from sanderling.models.birds.scoring import Accuracy, score

if TYPE_CHECKING:
    import onnxruntime

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "birds.onnx"
# Average precision needs the whole curve, so nearly every detection counts, not only what a user would be
# shown.
_CURVE_SCORE = 0.01
_VERSIONS = ("numpy", "opencv-python-headless", "onnxruntime", "pycocotools")


@dataclass(frozen=True)
class ReferenceDetector:
    """The bird detector on ONNX Runtime, following `pipeline.json`."""

    session: onnxruntime.InferenceSession
    pipeline: dict[str, Any]

    @classmethod
    def load(cls, weights: Path = WEIGHTS, threads: int = 1) -> ReferenceDetector:
        """Open `weights`; the pipeline is the one beside this module."""
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        return cls(session, json.loads((FOLDER / "pipeline.json").read_text()))

    def detect(self, image: Image, least_score: float | None = None) -> Detections:
        """Find birds in RGB bytes [H,W,3]; boxes are in the image's pixels, scores at least `least_score`."""
        source, output = self.pipeline["input"], self.pipeline["output"]
        side = self.session.get_inputs()[0].shape[2]
        square, placement = letterbox(image, side)
        mean, std = (np.array(source[key], np.float32) for key in ("mean", "std"))
        feed = ((square.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
        names = [value.name for value in self.session.get_outputs()]
        values = self.session.run(names, {source["name"]: np.ascontiguousarray(feed)})
        thresholds = Thresholds(
            output["score_threshold"] if least_score is None else least_score,
            output["nms_iou"],
            output["max_detections"],
        )
        strides = [level["stride"] for level in output["levels"]]
        found = decode(dict(zip(names, values, strict=True)), strides, thresholds)
        height, width = image.shape[:2]
        boxes = np.clip(placement.to_image(found.boxes), 0, [width, height, width, height]).astype(np.float32)
        return Detections(boxes, found.scores, found.labels)


def evaluate(detector: ReferenceDetector, scenes: int, seed: int) -> Accuracy:
    """Accuracy on the scenes of seeds `seed`, `seed` + 1, …"""
    rendered = [render_scene(seed + i) for i in range(scenes)]
    found = [detector.detect(scene.image, _CURVE_SCORE) for scene in rendered]
    return score(rendered, found, detector.pipeline["labels"])


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # no Linux, or a CPU that does not say its name
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _document(accuracy: Accuracy, options: argparse.Namespace, command: str) -> dict[str, object]:
    rows: list[dict[str, object]] = [
        {"metric": "mAP@0.5", "value": round(accuracy.map50, 4)},
        {"metric": "mAP@0.5:0.95", "value": round(accuracy.map50_95, 4)},
        *({"metric": "AP@0.5", "class": k, "value": round(v, 4)} for k, v in accuracy.per_class.items()),
    ]
    return {
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            **{p: importlib.metadata.version(p) for p in _VERSIONS},
        },
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": command,
        "scenes": {"rendered": options.scenes, "first_seed": options.seed},
        "rows": rows,
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m sanderling.models.birds.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="default: the committed ones")
    parser.add_argument("--scenes", type=int, default=500, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=TEST_SEEDS, help="of the first scene; default: %(default)s"
    )
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="F", help="write the result to F")
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        parser.error("--scenes must be at least 1")
    if not options.weights.is_file():
        print(f"no weights at {options.weights}; train some, or leave --weights out", file=sys.stderr)
        return 2

    accuracy = evaluate(
        ReferenceDetector.load(options.weights, options.threads), options.scenes, options.seed
    )
    print(f"{options.scenes} scenes from seed {options.seed}")
    print(f"mAP@0.5       {accuracy.map50:.4f}\nmAP@0.5:0.95  {accuracy.map50_95:.4f}")
    for label, value in accuracy.per_class.items():
        print(f"  {label:12}{value:.4f}")
    if options.json:
        document = _document(accuracy, options, shlex.join([*parser.prog.split(), *arguments]))
        partial = options.json.with_name(options.json.name + ".part")
        partial.write_text(json.dumps(document, indent=2) + "\n")
        os.replace(partial, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
