"""Paints the places the birds are seen in: sky, ground, water, and what grows there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Landscape:
    """A painted place [H,W,3]; `ground` and `water` are rows where birds stand or swim, (0, 0) if none."""

    image: Image
    horizon: int
    ground: tuple[int, int]
    water: tuple[int, int]
    foliage: Colour


@functools.cache
def noise_bank() -> NDArray[np.int16]:
    """Fixed fractal noise [1024,1024], -128..127, that all texture is cut from, so scenes are cheap."""
    rng = np.random.default_rng(20)
    total = np.zeros((1024, 1024), np.float32)
    for octave in (8, 16, 32, 64, 128, 256, 512, 1024):
        cells = rng.standard_normal((octave, octave)).astype(np.float32)
        total += cv2.resize(cells, (1024, 1024), interpolation=cv2.INTER_CUBIC) * (1.0 / octave) ** 0.35
    total -= total.mean()
    return np.clip(total * (48.0 / total.std()), -128, 127).astype(np.int16)


def texture(
    rng: np.random.Generator, height: int, width: int, zoom: tuple[float, float]
) -> NDArray[np.int16]:
    """A random cut of the noise bank, `zoom` (x, y) times enlarged; a large x makes streaks."""
    bank = noise_bank()
    w, h = (max(2, min(1024, int(n / z))) for n, z in ((width, zoom[0]), (height, zoom[1])))
    x, y = int(rng.integers(0, 1025 - w)), int(rng.integers(0, 1025 - h))
    return cv2.resize(bank[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_LINEAR)


def roughen(area: Image, rng: np.random.Generator, strength: float, zoom: tuple[float, float]) -> None:
    """Vary the brightness of `area` in place."""
    if area.size == 0:
        return
    grain = texture(rng, area.shape[0], area.shape[1], zoom).astype(np.float32) * strength
    area[:] = cv2.add(area, cv2.merge([grain, grain, grain]), dtype=cv2.CV_8U)


def gradient(area: Image, top: Colour, bottom: Colour) -> None:
    """Fill `area` in place from colour `top` to colour `bottom`."""
    column = np.array([[top], [bottom]], np.float32)
    area[:] = np.broadcast_to(
        cv2.resize(column, (1, area.shape[0]), interpolation=cv2.INTER_LINEAR), area.shape
    ).astype(np.uint8)


def vary(rng: np.random.Generator, colour: Colour, by: float = 14.0) -> Colour:
    """A colour near `colour`: mostly brighter or darker, a little of another hue."""
    r, g, b = np.clip(
        np.array(colour) + rng.normal(0, by * 0.8) + rng.normal(0, by * 0.22, 3), 0, 255
    ).astype(int)
    return int(r), int(g), int(b)


def blades(
    image: Image,
    rng: np.random.Generator,
    roots: NDArray[np.float64],
    length: float,
    colour: Colour,
    mask: Image | None = None,
) -> None:
    """Grass or reeds growing up from `roots` [n,2], in place; `mask` gets 255 where they are."""
    for x, y in roots:
        tall = length * rng.uniform(0.5, 1.2)
        lean = rng.normal(0, 0.22) * tall
        half = max(0.7, tall * 0.025)
        outline = np.array(
            [[x - half, y], [x - half * 0.6 + lean * 0.35, y - tall * 0.6], [x + lean, y - tall],
             [x + half * 0.6 + lean * 0.35, y - tall * 0.6], [x + half, y]]
        )  # fmt: skip
        points = (outline * 16).astype(np.int32)
        cv2.fillPoly(image, [points], vary(rng, colour, 30), lineType=cv2.LINE_AA, shift=4)
        if mask is not None:
            cv2.fillPoly(mask, [points], 255, shift=4)


def ridge(
    image: Image, rng: np.random.Generator, y: float, height: float, colour: Colour, rough: float = 1.0
) -> None:
    """A line of hills or tree tops whose feet stand at row `y`."""
    bank = noise_bank()
    x, row = int(rng.integers(0, 384)), int(rng.integers(0, 1024))
    line = bank[row, x : x + WIDTH].astype(np.float32)
    smooth = cv2.GaussianBlur(line[None], (0, 0), 18.0 / rough, borderType=cv2.BORDER_REFLECT)[0]
    top = y - height * (0.55 + smooth / 128.0)
    columns = np.arange(WIDTH)
    outline = np.concatenate([np.stack([columns, top], 1), [[WIDTH, y + 1], [0, y + 1]]])
    cv2.fillPoly(image, [outline.astype(np.int32)], colour)


def _sky(image: Image, rng: np.random.Generator, horizon: int) -> None:
    tops: tuple[tuple[Colour, Colour], ...] = (
        ((92, 148, 208), (190, 214, 232)),
        ((150, 166, 184), (206, 212, 216)),
        ((112, 132, 172), (244, 206, 168)),
        ((128, 158, 186), (226, 226, 214)),
    )
    top, bottom = tops[rng.integers(len(tops))]
    sky = image[: max(horizon, 1)]
    gradient(sky, vary(rng, top), vary(rng, bottom))
    if rng.random() < 0.7:
        roughen(sky, rng, rng.uniform(0.1, 0.5), (rng.uniform(2.0, 5.0), rng.uniform(1.0, 2.0)))


def _speckle(
    image: Image, rng: np.random.Generator, rows: tuple[int, int], colour: Colour, count: int
) -> None:
    """Stones, shells, clods: flat ellipses that grow towards the camera."""
    top, bottom = rows
    for _ in range(count):
        depth = rng.random()
        y = top + depth * (bottom - top)
        radius = (1.5 + 14 * depth * rng.random() ** 2) * rng.uniform(0.5, 1.5)
        centre, axes = (int(rng.integers(0, WIDTH)), int(y)), (int(radius * 1.6) + 1, int(radius) + 1)
        shade = vary(rng, colour, 40)
        cv2.ellipse(image, centre, axes, 0, 0, 360, shade, -1, cv2.LINE_AA)
        lit = tuple(min(255, c + 22) for c in shade)
        cv2.ellipse(
            image, (centre[0], centre[1] - axes[1] // 3), (axes[0] * 2 // 3, axes[1] // 2), 0, 0, 360, lit, -1
        )


def _trunks(image: Image, rng: np.random.Generator, foot: int, count: int) -> None:
    for _ in range(count):
        x, width = rng.uniform(0, WIDTH), rng.uniform(8, 44)
        lean = rng.normal(0, 14)
        bark = vary(rng, (84, 72, 60), 30)
        y = foot + int(width)
        shape = np.array(
            [[x - width / 2, y], [x - width / 2.6 + lean, 0], [x + width / 2.6 + lean, 0], [x + width / 2, y]]
        )
        cv2.fillPoly(image, [shape.astype(np.int32)], bark, cv2.LINE_AA)
        lit = tuple(min(255, c + 20) for c in bark)
        shape[2:, 0] -= width * 0.55
        cv2.fillPoly(image, [shape.astype(np.int32)], lit, cv2.LINE_AA)


def _leaves(
    image: Image, rng: np.random.Generator, rows: tuple[int, int], colour: Colour, count: int
) -> None:
    for _ in range(count):
        centre = (int(rng.integers(0, WIDTH)), int(rng.integers(*rows)))
        axes = (int(rng.integers(4, 26)), int(rng.integers(3, 12)))
        cv2.ellipse(
            image, centre, axes, float(rng.uniform(0, 180)), 0, 360, vary(rng, colour, 44), -1, cv2.LINE_AA
        )


def _water(image: Image, rng: np.random.Generator, rows: tuple[int, int]) -> None:
    area = image[rows[0] : rows[1]]
    colours: tuple[Colour, ...] = ((96, 128, 146), (76, 104, 110), (120, 146, 166), (92, 112, 96))
    colour = vary(rng, colours[rng.integers(len(colours))])
    gradient(area, vary(rng, tuple(min(255, c + 40) for c in colour)), colour)  # type: ignore[arg-type]
    roughen(area, rng, rng.uniform(0.15, 0.5), (rng.uniform(4, 9), 0.8))


def _beach(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    shore = horizon + int(rng.uniform(0.15, 0.45) * (HEIGHT - horizon))
    _water(image, rng, (horizon, shore))
    sand = vary(rng, ((206, 184, 146), (176, 160, 138), (150, 140, 128))[rng.integers(3)])
    gradient(image[shore:], vary(rng, sand, 10), vary(rng, sand, 24))
    roughen(image[shore:], rng, rng.uniform(0.15, 0.4), (rng.uniform(0.7, 3.0), 0.6))
    foam = np.stack([np.arange(0, WIDTH + 16, 16), shore + rng.normal(0, 2.5, WIDTH // 16 + 1)], 1)
    cv2.polylines(
        image, [foam.astype(np.int32)], False, (232, 234, 232), int(rng.integers(2, 7)), cv2.LINE_AA
    )
    _speckle(image, rng, (shore, HEIGHT), vary(rng, (126, 114, 100), 40), int(rng.integers(8, 40)))
    return Landscape(image, horizon, (shore + 8, HEIGHT), (horizon + 12, shore), (146, 142, 92))


def _lake(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    green = vary(rng, (92, 108, 70), 26)
    ridge(image, rng, horizon, rng.uniform(20, 90), vary(rng, (104, 122, 112), 26))
    ridge(image, rng, horizon, rng.uniform(10, 40), green, 4.0)
    bank = HEIGHT - int(rng.uniform(0.1, 0.3) * (HEIGHT - horizon))
    _water(image, rng, (horizon, HEIGHT))
    gradient(image[bank:], vary(rng, (116, 104, 74), 24), vary(rng, (84, 80, 54), 24))
    roughen(image[bank:], rng, 0.4, (1.0, 0.6))
    roots = np.stack([rng.uniform(0, WIDTH, 60), rng.uniform(bank - 4, bank + 12, 60)], 1)
    blades(image, rng, roots, rng.uniform(20, 60), vary(rng, (126, 128, 70), 26))
    return Landscape(image, horizon, (bank + 6, HEIGHT), (horizon + 14, bank), (118, 124, 66))


def _meadow(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    ridge(image, rng, horizon, rng.uniform(20, 110), vary(rng, (118, 136, 140), 26))
    ridge(image, rng, horizon, rng.uniform(10, 40), vary(rng, (82, 104, 70), 26), 5.0)
    far, near = vary(rng, (142, 154, 88), 30), vary(rng, (92, 112, 56), 30)
    gradient(image[horizon:], far, near)
    roughen(image[horizon:], rng, rng.uniform(0.25, 0.5), (rng.uniform(1.0, 3.0), 0.7))
    count = int(rng.integers(60, 140))
    depth = np.sort(rng.random(count)) ** 0.8
    for part in np.array_split(
        np.stack([rng.uniform(0, WIDTH, count), horizon + depth * (HEIGHT - horizon)], 1), 4
    ):
        blades(image, rng, part, 6 + 26 * float(part[0, 1] - horizon) / (HEIGHT - horizon), near)
    return Landscape(image, horizon, (horizon + 20, HEIGHT), (0, 0), near)


def _forest(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    deep, light = vary(rng, (58, 72, 52), 24), vary(rng, (118, 132, 92), 36)
    gradient(image[:horizon], light, deep)
    roughen(image[:horizon], rng, rng.uniform(0.4, 0.8), (1.2, 1.2))
    gradient(image[horizon:], vary(rng, (96, 92, 62), 24), vary(rng, (82, 68, 46), 24))
    roughen(image[horizon:], rng, 0.5, (1.0, 0.6))
    _leaves(image, rng, (0, horizon), vary(rng, (96, 116, 66), 30), int(rng.integers(20, 90)))
    _trunks(image, rng, horizon, int(rng.integers(2, 8)))
    _leaves(image, rng, (horizon, HEIGHT), vary(rng, (128, 96, 56), 30), int(rng.integers(10, 50)))
    return Landscape(image, horizon, (horizon + 30, HEIGHT), (0, 0), (84, 106, 60))


def _yard(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    wall = vary(rng, ((168, 158, 148), (150, 112, 94), (188, 184, 172))[rng.integers(3)])
    top = int(rng.uniform(0.0, 0.5) * horizon)
    gradient(image[top:horizon], wall, vary(rng, wall, 16))
    roughen(image[top:horizon], rng, 0.25, (1.0, 1.0))
    course = int(rng.integers(14, 34))
    joint = tuple(max(0, c - 24) for c in wall)
    for row, y in enumerate(range(top, horizon, course)):
        cv2.line(image, (0, y), (WIDTH, y), joint, 1)
        for x in range((row % 2) * course, WIDTH, course * 2):
            cv2.line(image, (x, y), (x, min(y + course, horizon)), joint, 1)
    if rng.random() < 0.6:
        x, y = int(rng.integers(40, WIDTH - 160)), int(rng.integers(top, max(top + 1, horizon - 90)))
        cv2.rectangle(image, (x, y), (x + 100, min(y + 84, horizon)), vary(rng, (70, 84, 96), 30), -1)
        cv2.rectangle(image, (x, y), (x + 100, min(y + 84, horizon)), vary(rng, (222, 220, 212), 20), 5)
    gradient(image[horizon:], vary(rng, (146, 142, 136), 24), vary(rng, (120, 116, 110), 24))
    roughen(image[horizon:], rng, 0.3, (0.8, 0.5))
    _speckle(image, rng, (horizon, HEIGHT), (134, 130, 122), int(rng.integers(4, 24)))
    return Landscape(image, horizon, (horizon + 16, HEIGHT), (0, 0), (104, 122, 72))


def _snowfield(image: Image, rng: np.random.Generator, horizon: int) -> Landscape:
    ridge(image, rng, horizon, rng.uniform(30, 120), vary(rng, (162, 172, 186), 20))
    ridge(image, rng, horizon, rng.uniform(10, 50), vary(rng, (88, 100, 98), 26), 6.0)
    gradient(image[horizon:], vary(rng, (214, 220, 228), 12), vary(rng, (232, 234, 236), 10))
    roughen(image[horizon:], rng, rng.uniform(0.1, 0.25), (rng.uniform(2.0, 5.0), 1.0))
    roots = np.stack([rng.uniform(0, WIDTH, 24), rng.uniform(horizon + 10, HEIGHT, 24)], 1)
    blades(image, rng, roots, 16, vary(rng, (150, 132, 96), 24))
    return Landscape(image, horizon, (horizon + 20, HEIGHT), (0, 0), (150, 134, 100))


LANDSCAPES: dict[str, Callable[[Image, np.random.Generator, int], Landscape]] = {
    "beach": _beach,
    "lake": _lake,
    "meadow": _meadow,
    "forest": _forest,
    "yard": _yard,
    "snowfield": _snowfield,
}


def paint_landscape(rng: np.random.Generator) -> Landscape:
    """Paint one of `LANDSCAPES` [480,640,3]."""
    kinds = tuple(LANDSCAPES.values())
    horizon = int(rng.uniform(0.3, 0.62) * HEIGHT)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    _sky(image, rng, horizon)
    return kinds[rng.integers(len(kinds))](image, rng, horizon)
