"""Fits an image of any size into the detector's square input, and boxes back out of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
PAD_VALUE = 114


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the square: scaled by `scale`, then moved by `left`, `top` pixels."""

    scale: float
    left: int
    top: int

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [n,4] from pixels of the square to pixels of the image."""
        offset = np.array([self.left, self.top, self.left, self.top], np.float32)
        return ((boxes - offset) / self.scale).astype(np.float32)


def letterbox(image: Image, side: int) -> tuple[Image, Placement]:
    """Scale `image` [H,W,3], keeping its shape, to the middle of a grey square of `side` pixels."""
    height, width = image.shape[:2]
    scale = min(side / height, side / width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - new_width) // 2, (side - new_height) // 2
    square = np.full((side, side, 3), PAD_VALUE, np.uint8)
    square[top : top + new_height, left : left + new_width] = cv2.resize(
        image, (new_width, new_height), interpolation=cv2.INTER_LINEAR
    )
    return square, Placement(scale, left, top)
