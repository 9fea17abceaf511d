"""What the demo did and saw: pure data, from which its report is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanderling.cli.images import RgbImage
from sanderling.cli.statistics import Latency

if TYPE_CHECKING:
    from sanderling.cli.contest import Result
    from sanderling.models.birds.scenes import Scene
    from sanderling.runtime.results import Detection

_MATCH_IOU = 0.5


@dataclass(frozen=True)
class Frame:
    """One frame of the clip: where it is, what was there, what was found, how long finding it took."""

    place: int
    scene: Scene
    detections: list[Detection]
    milliseconds: float


@dataclass(frozen=True)
class Show:
    """Everything that the report tells."""

    name: str
    package: Path
    video: Path
    report: Path
    variant: str
    error: float | None
    frames: tuple[Frame, ...]
    contest: tuple[Result, ...]
    sizes: dict[str, int]
    seconds: float

    @property
    def frame_latency(self) -> Latency:
        """Of the whole pass, frame to boxes."""
        return Latency.of([frame.milliseconds for frame in self.frames])

    @property
    def found(self) -> tuple[int, int, int]:
        """Birds in the clip, those of them that were found and named, and boxes that fit no bird."""
        matched = sum(len(matches(frame.scene, frame.detections)) for frame in self.frames)
        birds = sum(len(frame.scene.boxes) for frame in self.frames)
        boxes = sum(len(frame.detections) for frame in self.frames)
        return birds, matched, boxes - matched

    def to_json(self) -> dict[str, Any]:
        birds, found, wrong = self.found
        return {
            "package": str(self.package),
            "video": str(self.video),
            "report": str(self.report),
            "variant": self.variant,
            "error": self.error,
            "clip": {"frames": len(self.frames), "birds": birds, "found": found, "wrong": wrong},
            "frame_ms": self.frame_latency.rounded(),
            "rows": [
                {"runtime": result.entry.runtime, "version": result.version, **result.latency.rounded()}
                for result in self.contest
            ],
            "sizes": self.sizes,
            "seconds": round(self.seconds, 1),
        }


def matches(scene: Scene, detections: Sequence[Detection]) -> list[Detection]:
    """The best box of each bird found: the right name, overlapping by half, each box counted once."""
    free = list(detections)
    found = []
    for box, label in zip(scene.boxes, scene.labels, strict=True):
        fitting = [d for d in free if d.label == label and iou(d.box, box) >= _MATCH_IOU]
        if fitting:
            found.append(max(fitting, key=lambda detection: detection.score))
            free.remove(found[-1])
    return found


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def best_frames(frames: Sequence[Frame]) -> list[tuple[int, RgbImage]]:
    """Of each place the frame in which most birds were found: its number, and the picture with boxes."""
    from sanderling.cli.draw import draw_detections

    best: dict[int, tuple[int, int]] = {}
    for number, frame in enumerate(frames):
        found = len(matches(frame.scene, frame.detections))
        if found > best.get(frame.place, (-1, 0))[0]:
            best[frame.place] = (found, number)
    numbers = [number for _, number in best.values()]
    return [(i, draw_detections(frames[i].scene.image, frames[i].detections)) for i in numbers]
