"""The birds as data: what each species looks like, told by shape and plumage pattern, never by colour.

Coordinates are in body lengths: x to the right (birds look right), y downwards, origin between the feet, or
at the middle of the body for a bird in the air. Colours are roles; a palette that any species may wear fills
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Role = Literal["base", "light", "dark", "bill", "leg", "eye"]
Joint = Literal["", "head", "leg_a", "leg_b", "wing"]


@dataclass(frozen=True)
class Part:
    """One painted shape: a smooth closed outline, or a stroke along `points` where `width` is above 0.

    inside: paint only where the bird already is (a marking). pattern: fill with bars or spots instead of a
    plain colour. joint: the moving limb that the part belongs to.
    """

    role: Role
    points: tuple[Point, ...]
    width: float = 0.0
    smooth: bool = True
    inside: bool = False
    pattern: Literal["", "bars", "spots"] = ""
    joint: Joint = ""


@dataclass(frozen=True)
class Pose:
    """A way to be seen. `place` says where: on the ground, on water, on a perch or in the air."""

    place: Literal["ground", "water", "perch", "air"]
    parts: tuple[Part, ...]
    pivots: dict[str, Point]


@dataclass(frozen=True)
class Species:
    """A class of the detector; `size` is that of its longer side, beside the other species."""

    label: str
    size: float
    poses: tuple[Pose, ...]


def _disc(x: float, y: float, rx: float, ry: float | None = None) -> tuple[Point, ...]:
    ry = rx if ry is None else ry
    k = 0.7071
    return (
        (x + rx, y), (x + k * rx, y + k * ry), (x, y + ry), (x - k * rx, y + k * ry),
        (x - rx, y), (x - k * rx, y - k * ry), (x, y - ry), (x + k * rx, y - k * ry),
    )  # fmt: skip


def _eye(x: float, y: float, r: float = 0.03) -> Part:
    return Part("eye", _disc(x, y, r), joint="head")


def _legs(hip: float, length: float, width: float, gap: float = 0.08) -> tuple[Part, ...]:
    def leg(x: float, joint: Joint) -> Part:
        toe = (x + 0.1, -0.01)
        return Part("leg", ((hip + x * 0.5, -length), (x, -0.02), toe), width, joint=joint, smooth=False)

    return leg(-gap, "leg_a"), leg(gap, "leg_b")


_SANDERLING = Pose(
    "ground",
    (
        *_legs(0.0, 0.38, 0.045, 0.1),
        Part("base", ((-0.58, -0.42), (-0.3, -0.64), (0.05, -0.74), (0.34, -0.68), (0.46, -0.5), (0.3, -0.32),
                      (0.0, -0.26), (-0.32, -0.31))),
        Part("base", _disc(0.42, -0.76, 0.185, 0.17), joint="head"),
        Part("light", ((-0.6, -0.4), (-0.1, -0.46), (0.3, -0.52), (0.6, -0.6), (0.55, -0.2), (0.0, -0.15),
                       (-0.5, -0.2)), inside=True),
        Part("dark", ((-0.55, -0.44), (-0.3, -0.62), (0.05, -0.7), (0.24, -0.62), (0.0, -0.5)), inside=True,
             pattern="spots"),
        Part("dark", ((0.16, -0.66), (0.3, -0.62), (0.26, -0.46), (0.14, -0.5)), inside=True),
        Part("dark", ((-0.64, -0.4), (-0.3, -0.5), (-0.32, -0.42)), smooth=False),
        Part("light", _disc(0.5, -0.71, 0.1, 0.07), inside=True, joint="head"),
        Part("bill", ((0.57, -0.78), (0.95, -0.7), (0.57, -0.72)), smooth=False, joint="head"),
        _eye(0.49, -0.79),
    ),
    {"head": (0.32, -0.66), "leg_a": (0.0, -0.38), "leg_b": (0.0, -0.38)},
)  # fmt: skip

_HERON = Pose(
    "ground",
    (
        *_legs(-0.02, 0.8, 0.04, 0.09),
        Part("base", ((-0.72, -0.62), (-0.4, -0.9), (0.0, -1.06), (0.28, -1.04), (0.32, -0.88), (0.1, -0.72),
                      (-0.3, -0.68))),
        Part("dark", ((-0.76, -0.6), (-0.3, -0.82), (0.1, -0.78), (-0.3, -0.68)), inside=True),
        Part("light", ((0.2, -0.92), (0.42, -1.1), (0.36, -1.28), (0.22, -1.42), (0.34, -1.62)), 0.15),
        Part("dark", ((0.3, -0.98), (0.46, -1.1), (0.4, -1.26), (0.28, -1.4)), 0.045, inside=True,
             pattern="bars"),
        Part("light", _disc(0.4, -1.66, 0.15, 0.09), joint="head"),
        Part("bill", ((0.48, -1.72), (1.0, -1.62), (0.48, -1.6)), smooth=False, joint="head"),
        Part("dark", ((0.46, -1.71), (0.3, -1.72), (-0.06, -1.58)), 0.05, joint="head"),
        _eye(0.45, -1.67, 0.025),
    ),
    {"head": (0.34, -1.62), "leg_a": (0.0, -0.8), "leg_b": (0.0, -0.8)},
)  # fmt: skip

_GULL_HEAD = (
    Part("light", _disc(0.56, -0.68, 0.18, 0.16), joint="head"),
    Part("bill", ((0.7, -0.73), (0.92, -0.7), (0.98, -0.62), (0.9, -0.63), (0.7, -0.63)), smooth=False,
         joint="head"),
    _eye(0.62, -0.71),
)  # fmt: skip

_GULL_STANDING = Pose(
    "ground",
    (
        *_legs(0.05, 0.28, 0.05, 0.09),
        Part("light", ((-0.75, -0.42), (-0.3, -0.56), (0.1, -0.66), (0.45, -0.76), (0.66, -0.6), (0.5, -0.34),
                       (0.1, -0.2), (-0.35, -0.26))),
        Part("base", ((-0.7, -0.46), (-0.2, -0.6), (0.2, -0.64), (0.36, -0.5), (0.1, -0.38), (-0.4, -0.36))),
        Part("dark", ((-1.0, -0.46), (-0.6, -0.52), (-0.36, -0.42), (-0.6, -0.36)), smooth=False),
        Part("light", _disc(-0.8, -0.45, 0.035), inside=True),
        Part("light", _disc(-0.66, -0.44, 0.035), inside=True),
        *_GULL_HEAD,
    ),
    {"head": (0.45, -0.58), "leg_a": (0.05, -0.28), "leg_b": (0.05, -0.28)},
)  # fmt: skip

_GULL_FLYING = Pose(
    "air",
    (
        Part("base", ((0.2, 0.0), (0.0, -0.4), (-0.24, -0.7), (-0.5, -0.86), (-0.36, -0.5), (-0.2, -0.05)),
             joint="wing"),
        Part("dark", ((-0.18, -0.62), (-0.56, -0.9), (-0.34, -0.5)), smooth=False, joint="wing"),
        Part("light", ((-0.4, -0.04), (-0.82, -0.1), (-0.86, 0.08), (-0.4, 0.08)), smooth=False),
        Part("light", ((-0.55, 0.02), (-0.3, -0.08), (0.15, -0.14), (0.45, -0.13), (0.62, 0.0), (0.45, 0.1),
                       (0.0, 0.14), (-0.35, 0.1))),
        Part("base", ((0.26, -0.02), (0.2, -0.42), (0.08, -0.75), (-0.16, -1.06), (-0.1, -0.6), (-0.2, 0.0)),
             joint="wing"),
        Part("dark", ((0.11, -0.68), (-0.2, -1.1), (-0.1, -0.62)), smooth=False, joint="wing"),
        Part("light", _disc(-0.07, -0.88, 0.04), inside=True, joint="wing"),
        Part("bill", ((0.58, -0.06), (0.8, 0.0), (0.78, 0.05), (0.58, 0.04)), smooth=False),
        Part("eye", _disc(0.5, -0.05, 0.028)),
    ),
    {"wing": (0.05, -0.02)},
)  # fmt: skip

_MALLARD = Pose(
    "water",
    (
        Part("base", ((-0.85, -0.38), (-0.66, -0.3), (-0.3, -0.4), (0.1, -0.42), (0.44, -0.34), (0.54, -0.14),
                      (0.4, 0.02), (-0.5, 0.02), (-0.74, -0.14))),
        Part("light", ((-0.6, -0.1), (0.0, -0.16), (0.3, -0.12), (0.2, 0.04), (-0.5, 0.04)), inside=True),
        Part("dark", ((-0.9, -0.42), (-0.6, -0.34), (-0.62, 0.04), (-0.85, -0.1)), inside=True),
        Part("dark", ((-0.36, -0.3), (-0.06, -0.32), (-0.1, -0.2), (-0.4, -0.18)), smooth=False),
        Part("light", ((-0.44, -0.18), (0.0, -0.22)), 0.05, inside=True, smooth=False),
        Part("dark", ((0.38, -0.28), (0.46, -0.5), (0.48, -0.58)), 0.2, joint="head"),
        Part("dark", _disc(0.52, -0.62, 0.18, 0.17), joint="head"),
        Part("light", ((0.24, -0.36), (0.42, -0.4), (0.6, -0.36)), 0.075, inside=True),
        Part("bill", ((0.64, -0.68), (0.8, -0.6), (0.98, -0.58), (0.98, -0.52), (0.78, -0.5), (0.64, -0.55)),
             joint="head"),
        Part("light", _disc(0.58, -0.66, 0.035), joint="head"),
        _eye(0.585, -0.66, 0.022),
    ),
    {"head": (0.42, -0.36)},
)  # fmt: skip

_OWL = Pose(
    "perch",
    (
        Part("dark", ((-0.2, -0.16), (-0.26, 0.28), (-0.06, 0.3), (0.04, -0.1)), smooth=False),
        Part("base", ((0.0, -1.2), (0.3, -1.1), (0.42, -0.7), (0.34, -0.25), (0.12, 0.0), (-0.14, 0.0),
                      (-0.36, -0.25), (-0.43, -0.7), (-0.3, -1.1))),
        Part("light", ((0.0, -0.82), (0.28, -0.7), (0.26, -0.3), (0.08, -0.06), (-0.14, -0.06), (-0.26, -0.3),
                       (-0.24, -0.7)), inside=True),
        Part("dark", ((0.0, -0.8), (0.28, -0.7), (0.26, -0.3), (0.08, -0.06), (-0.14, -0.06), (-0.26, -0.3),
                      (-0.24, -0.7)), inside=True, pattern="bars"),
        Part("base", ((-0.38, -1.42), (-0.14, -1.24), (0.14, -1.24), (0.38, -1.42), (0.37, -1.0), (0.2, -0.8),
                      (-0.2, -0.8), (-0.37, -1.0)), smooth=False, joint="head"),
        Part("light", _disc(-0.16, -1.02, 0.17, 0.18), joint="head"),
        Part("light", _disc(0.16, -1.02, 0.17, 0.18), joint="head"),
        Part("eye", _disc(-0.15, -1.03, 0.085), joint="head"),
        Part("eye", _disc(0.15, -1.03, 0.085), joint="head"),
        Part("bill", ((-0.05, -1.0), (0.05, -1.0), (0.0, -0.84)), smooth=False, joint="head"),
        Part("leg", ((-0.2, 0.0), (-0.06, 0.0)), 0.08),
        Part("leg", ((0.06, 0.0), (0.18, 0.0)), 0.08),
    ),
    {"head": (0.0, -0.9)},
)  # fmt: skip

_HOOPOE_BODY = (
    Part("light", ((-0.45, -0.42), (-0.95, -0.36), (-0.95, -0.24), (-0.4, -0.3)), smooth=False),
    Part("dark", ((-0.62, -0.45), (-0.98, -0.36), (-0.96, -0.22), (-0.56, -0.26)), smooth=False),
    Part("light", ((-0.76, -0.44), (-0.72, -0.2)), 0.07, inside=True, smooth=False),
    Part("base", ((-0.52, -0.34), (-0.2, -0.56), (0.15, -0.72), (0.4, -0.8), (0.48, -0.62), (0.34, -0.38),
                  (0.0, -0.24), (-0.3, -0.24))),
    Part("light", ((-0.62, -0.34), (-0.3, -0.54), (0.1, -0.62), (0.2, -0.46), (-0.1, -0.32), (-0.4, -0.28))),
    *(Part("dark", ((x - 0.06, -0.68), (x + 0.02, -0.2)), 0.08, inside=True, smooth=False)
      for x in (-0.44, -0.24, -0.04)),
    *(Part("base", ((0.44, -0.86), (x, y)), 0.12, joint="head", smooth=False)
      for x, y in ((-0.02, -0.94), (0.06, -1.1), (0.2, -1.22), (0.36, -1.28))),
    *(Part("dark", ((x + 0.03, y + 0.02), (x - 0.04, y - 0.03)), 0.12, joint="head", smooth=False)
      for x, y in ((-0.02, -0.94), (0.06, -1.1), (0.2, -1.22), (0.36, -1.28))),
    Part("base", _disc(0.48, -0.84, 0.15, 0.14), joint="head"),
    Part("bill", ((0.58, -0.86), (0.85, -0.82), (1.08, -0.66)), 0.05, joint="head"),
    _eye(0.53, -0.87),
)  # fmt: skip
_HOOPOE_PIVOTS = {"head": (0.4, -0.72), "leg_a": (0.05, -0.3), "leg_b": (0.05, -0.3)}
_HOOPOE_GROUND = Pose("ground", (*_legs(0.05, 0.3, 0.05), *_HOOPOE_BODY), _HOOPOE_PIVOTS)
_HOOPOE_PERCH = Pose("perch", (*_legs(0.05, 0.3, 0.05, 0.05), *_HOOPOE_BODY), _HOOPOE_PIVOTS)

_SWALLOW_FLYING = Pose(
    "air",
    (
        Part("base", ((0.2, 0.0), (-0.02, -0.34), (-0.34, -0.6), (-0.75, -0.72), (-0.36, -0.36),
                      (-0.12, 0.0)),
             joint="wing"),
        Part("dark", ((-0.3, 0.0), (-0.7, -0.12), (-1.15, -0.3), (-0.72, -0.03), (-1.15, 0.2), (-0.7, 0.1)),
             smooth=False),
        Part("dark", ((-0.5, -0.02), (-0.2, -0.1), (0.2, -0.13), (0.45, -0.08), (0.52, 0.0), (0.4, 0.1),
                      (0.1, 0.13), (-0.25, 0.08))),
        Part("light", ((-0.5, 0.05), (0.0, 0.04), (0.3, 0.05), (0.4, 0.2), (-0.3, 0.2)), inside=True),
        Part("dark", ((0.24, -0.02), (0.18, -0.36), (-0.05, -0.7), (-0.42, -0.98), (-0.2, -0.5),
                      (-0.14, 0.02)),
             joint="wing"),
        Part("base", ((0.3, 0.04), (0.5, 0.02), (0.44, 0.14), (0.32, 0.14)), inside=True),
        Part("bill", ((0.5, -0.03), (0.6, 0.01), (0.5, 0.04)), smooth=False),
    ),
    {"wing": (0.05, 0.0)},
)  # fmt: skip

_SWALLOW_PERCHED = Pose(
    "perch",
    (
        Part("dark", ((-0.2, -0.3), (-0.62, 0.3), (-0.2, -0.02), (-0.34, 0.5), (0.0, -0.1)), smooth=False),
        Part("light", ((0.1, -0.78), (0.3, -0.55), (0.24, -0.2), (0.02, 0.0), (-0.18, -0.1), (-0.18, -0.5))),
        Part("dark", ((0.06, -0.78), (0.14, -0.5), (-0.05, -0.16), (-0.52, 0.22), (-0.26, -0.3),
                      (-0.16, -0.66))),
        Part("dark", _disc(0.17, -0.82, 0.17, 0.15), joint="head"),
        Part("base", _disc(0.24, -0.74, 0.1, 0.09), inside=True, joint="head"),
        Part("bill", ((0.31, -0.86), (0.44, -0.8), (0.31, -0.78)), smooth=False, joint="head"),
        Part("leg", ((0.0, -0.02), (0.14, -0.01)), 0.06),
    ),
    {"head": (0.12, -0.7)},
)  # fmt: skip

SPECIES: tuple[Species, ...] = (
    Species("sanderling", 0.85, (_SANDERLING,)),
    Species("heron", 1.45, (_HERON,)),
    Species("gull", 1.1, (_GULL_STANDING, _GULL_FLYING)),
    Species("mallard", 1.0, (_MALLARD,)),
    Species("owl", 1.1, (_OWL,)),
    Species("hoopoe", 1.0, (_HOOPOE_GROUND, _HOOPOE_PERCH)),
    Species("swallow", 0.95, (_SWALLOW_FLYING, _SWALLOW_PERCHED)),
)
LABELS: tuple[str, ...] = tuple(species.label for species in SPECIES)
