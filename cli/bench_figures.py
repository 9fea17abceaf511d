"""What follows from a benchmark document: who is who, how many times faster, what is slowest. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from sanderling.cli.bench_document import Document, Layer, Row

SLOWEST = 5  # calls of a model that are named

# Runtime → its name for people, and its colour: Okabe and Ito's, safe for the colour-blind.
RUNTIMES: dict[str, tuple[str, str]] = {
    "sanderling": ("Sanderling", "#0072b2"),
    "onnxruntime": ("ONNX Runtime", "#e69f00"),
    "openvino": ("OpenVINO", "#009e73"),
    "ncnn": ("ncnn", "#d55e00"),
    "mnn": ("MNN", "#cc79a7"),
}
_OTHER_COLOUR = "#8c8c8c"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A runtime with what else tells its rows apart in this document, such as the target."""

    runtime: str
    label: str
    detail: str = ""
    shade: float = 1.0

    @property
    def colour(self) -> str:
        return RUNTIMES.get(self.runtime, ("", _OTHER_COLOUR))[1]

    @property
    def name(self) -> str:
        return f"{self.label} {self.detail}".strip()


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """A row of ours against a peer's row of the same model: above 1 where we take less time."""

    own: Row
    peer: Row

    @property
    def ratio(self) -> float:
        return self.peer.p50_ms / self.own.p50_ms


def display_name(runtime: str) -> str:
    return RUNTIMES.get(runtime, (runtime, ""))[0]


def contestants(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], Contestant]:
    """(runtime, target, precision, device) → contestant, in the order of the rows, ours first."""
    groups: dict[str, list[tuple[str, str, str, str]]] = {}
    for row in sorted(rows, key=lambda row: not row.ours):
        group = groups.setdefault(row.runtime, [])
        if identity(row) not in group:
            group.append(identity(row))
    found = {}
    for runtime, group in groups.items():
        varying = [part for part in (1, 2, 3) if len({entry[part] for entry in group}) > 1]
        for index, entry in enumerate(group):
            detail = " ".join(entry[part] for part in varying)
            found[entry] = Contestant(runtime, display_name(runtime), detail, 0.55 if index else 1.0)
    return found


def identity(row: Row) -> tuple[str, str, str, str]:
    """What two rows of one contestant share."""
    return (row.runtime, row.target, row.precision, row.device)


def speed_ups(rows: Iterable[Row]) -> list[SpeedUp]:
    """Each right row of ours against each peer's right row for the same model, device, precision and threads.

    A peer that was held to our target is compared there, otherwise as it runs by itself (``native``).
    """
    rows = [row for row in rows if row.right]
    found = []
    for own in rows:
        same = [row for row in rows if own.ours and not row.ours and _setting(row) == _setting(own)]
        for runtime in unique(row.runtime for row in same):
            by_target = {row.target: row for row in same if row.runtime == runtime}
            peer = by_target.get(own.target) or by_target.get("native")
            if peer:
                found.append(SpeedUp(own, peer))
    return found


def _setting(row: Row) -> tuple[str, str, str, int]:
    return (row.model, row.device, row.precision, row.threads)


def best(pairs: Iterable[SpeedUp]) -> list[SpeedUp]:
    """Of each row of ours, the pair with its fastest peer."""
    found: dict[tuple[object, ...], SpeedUp] = {}
    for pair in pairs:
        known = found.get(pair.own.key)
        if known is None or pair.ratio < known.ratio:
            found[pair.own.key] = pair
    return list(found.values())


def mean(pairs: Iterable[SpeedUp]) -> float | None:
    """The geometric mean of their ratios, None if there are none."""
    ratios = [pair.ratio for pair in pairs]
    return geometric_mean(ratios) if ratios else None


def slowest(layers: Iterable[Layer]) -> list[Layer]:
    """The calls that take most time, longest first."""
    return sorted(layers, key=lambda layer: (-layer.us, layer.node))[:SLOWEST]


def limit_gflops(document: Document, layer: Layer) -> float | None:
    """What the machine's arithmetic and memory would allow `layer`, None if that was not measured."""
    fma = document.fma_gflops.get(layer.target)
    if fma is None or document.memory_gbps is None:
        return None
    return min(fma * layer.threads, layer.intensity * document.memory_gbps)


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in the order of the first time."""
    return list(dict.fromkeys(values))
