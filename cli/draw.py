"""Boxes and names on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sanderling.cli.images import RgbImage

if TYPE_CHECKING:
    from sanderling.runtime.results import Detection

# Okabe and Ito, "Color Universal Design" (2008), without black: told apart with any colour vision.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def draw_detections(image: RgbImage, detections: Sequence[Detection]) -> RgbImage:
    """A copy of `image` (RGB bytes [H,W,3]) with a box and `name score` for each detection, weakest first."""
    import cv2

    canvas = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 320))
    scale = 0.45 * max(1.0, min(image.shape[:2]) / 480)
    for detection in reversed(detections):
        colour = PALETTE[detection.label % len(PALETTE)]
        x1, y1, x2, y2 = (round(value) for value in detection.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        text = f"{detection.name} {detection.score:.2f}"
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        left = max(0, min(x1, image.shape[1] - width - 4))
        bottom = y1 if y1 >= height + base + 4 else min(y2 + height + base + 4, image.shape[0])
        cv2.rectangle(
            canvas, (left, bottom - height - base - 2), (left + width + 4, bottom), colour, cv2.FILLED
        )
        corner, font = (left + 2, bottom - base), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(canvas, text, corner, font, scale, _ink(colour), thickness, cv2.LINE_AA)
    return canvas


def _ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on `colour` (ITU-R BT.601 luma)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 110 else (255, 255, 255)
