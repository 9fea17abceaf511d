"""What stands between a place and its picture: light, weather, lens and sensor."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sanderling.models.birds.landscapes import HEIGHT, WIDTH, Image


@dataclass(frozen=True)
class Conditions:
    """One camera at one hour: `fog` 0..1, `drops` of rain or snow, blur in pixels, noise in levels of 255."""

    table: Image  # [256,1,3], tone and colour of the light
    vignette: float
    fog: float
    fog_level: int
    precipitation: str  # "", "rain" or "snow"
    drops: int
    wind: float
    blur: float
    smear: int  # length of motion blur, pixels
    noise: float
    jpeg: int  # quality; 0 = not compressed


def make_conditions(rng: np.random.Generator) -> Conditions:
    """Draw light, weather and camera."""
    weather = rng.choice(["clear", "fog", "rain", "snow"], p=[0.58, 0.14, 0.16, 0.12])
    precipitation = str(weather) if weather in ("rain", "snow") else ""
    return Conditions(
        table=_light(rng),
        vignette=float(rng.uniform(0.0, 0.45)),
        fog=float(rng.uniform(0.25, 0.6) if weather == "fog" else rng.uniform(0.0, 0.12)),
        fog_level=int(rng.integers(165, 225)),
        precipitation=precipitation,
        drops=int(rng.integers(60, 220)) if precipitation else 0,
        wind=float(rng.normal(0, 0.25)),
        blur=float(rng.uniform(0.5, 1.1) if rng.random() < 0.35 else 0.0),
        smear=int(rng.integers(3, 6) if rng.random() < 0.12 else 0),
        noise=float(rng.uniform(0.02, 0.2)),
        jpeg=int(rng.integers(55, 95) if rng.random() < 0.3 else 0),
    )


def _light(rng: np.random.Generator) -> Image:
    gamma, gain, warmth = rng.uniform(0.8, 1.35), rng.uniform(0.72, 1.08), rng.normal(0, 0.06)
    levels = (np.arange(256) / 255.0) ** gamma * gain
    channels = levels[:, None] * np.array([1 + warmth, 1.0, 1 - warmth])
    return np.clip(channels * 255 + rng.uniform(0, 14), 0, 255).astype(np.uint8)[:, None]


def haze(image: Image, conditions: Conditions, horizon: int) -> None:
    """Lay fog over a landscape in place, thicker towards the horizon."""
    if conditions.fog < 0.02:
        return
    rows = np.arange(HEIGHT, dtype=np.float32)
    depth = np.clip(1.0 - (rows - horizon) / (HEIGHT - horizon), 0.35, 1.0)
    alpha = (conditions.fog * depth)[:, None, None].astype(np.float32)
    keep = np.broadcast_to(1.0 - alpha, image.shape).astype(np.float32)
    veil = np.broadcast_to(alpha * conditions.fog_level, image.shape).astype(np.float32)
    image[:] = cv2.add(cv2.multiply(image, keep, dtype=cv2.CV_32F), veil, dtype=cv2.CV_8U)


def expose(image: Image, conditions: Conditions, seed: int, time: float) -> Image:
    """Turn the painted scene into what the camera delivers at `time` (seconds)."""
    _precipitate(image, conditions, np.random.default_rng((seed, 2)), time)
    image = cv2.LUT(image, conditions.table)
    if conditions.vignette > 0.05:
        image = cv2.multiply(image, _vignette(conditions.vignette), scale=1 / 255.0)
    if conditions.blur:
        image = cv2.GaussianBlur(image, (0, 0), conditions.blur)
    if conditions.smear:
        image = cv2.blur(image, (conditions.smear, 1))
    image = _sensor_noise(image, conditions.noise, np.random.default_rng((seed, 3, round(time * 1000))))
    if conditions.jpeg:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, conditions.jpeg])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image


def _precipitate(image: Image, conditions: Conditions, rng: np.random.Generator, time: float) -> None:
    """Streaks or flakes. `rng` places them, `time` lets them fall, so a clip's flakes travel."""
    for _ in range(conditions.drops):
        x, y, near = rng.uniform(-80, WIDTH + 80), rng.uniform(0, HEIGHT), rng.random()
        speed = (900 if conditions.precipitation == "rain" else 90) * (0.4 + near)
        fallen = (y + speed * time) % HEIGHT
        x += conditions.wind * (fallen - y)
        if conditions.precipitation == "rain":
            length = 6 + 16 * near
            end = (int(x + conditions.wind * length), int(fallen + length))
            cv2.line(image, (int(x), int(fallen)), end, (198, 204, 212), 1, cv2.LINE_AA)
        else:
            cv2.circle(image, (int(x), int(fallen)), 1 + int(2.2 * near), (240, 242, 246), -1, cv2.LINE_AA)


def _vignette(strength: float) -> Image:
    x = np.linspace(-1, 1, 40, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    small = np.clip(255 * (1.0 - strength * 0.5 * (x * x + y * y)), 0, 255).astype(np.uint8)
    full = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return cv2.merge([full, full, full])


def _sensor_noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    grain = _grain()
    x, y = int(rng.integers(0, 1024 - WIDTH)), int(rng.integers(0, 1024 - HEIGHT))
    cut = grain[y : y + HEIGHT, x : x + WIDTH]
    return cv2.scaleAdd(cut, strength, image.astype(np.float32)).clip(0, 255).astype(np.uint8)


@functools.cache
def _grain() -> NDArray[np.float32]:
    return np.random.default_rng(21).normal(0, 40, (1024, 1024, 3)).astype(np.float32)
