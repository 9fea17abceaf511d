"""The demo's report: one HTML file with everything inside, pictures and video too."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from sanderling.cli.bench_figures import display_name
from sanderling.cli.charts import bars, histogram
from sanderling.cli.console import size
from sanderling.cli.contest import Result
from sanderling.cli.images import RgbImage, encode
from sanderling.cli.machine import describe_machine
from sanderling.cli.show import Frame, Show, best_frames, matches
from sanderling.compiler.files import replacing


def write(show: Show) -> None:
    """Write the report to `show.report`. Raises OSError."""
    with replacing(show.report) as file:
        file.write(page(show).encode())


def page(show: Show) -> str:
    """The whole page."""
    template = Template(files("sanderling.cli").joinpath("demo_report.html").read_text(encoding="utf-8"))
    own, peer = show.contest
    birds, found, wrong = show.found
    pictures = best_frames(show.frames)
    machine = describe_machine()
    return template.substitute(
        name=escape(show.name),
        variant=escape(show.variant),
        facts=_facts(show),
        video=_data("video/webm", show.video.read_bytes()),
        poster=_picture(pictures[0][1]),
        clip=f"{len(show.frames)} frames; every box was drawn by the compiled model.",
        found=f"Of {birds} birds in the clip <b>{found}</b> were found and named, {wrong} boxes fit no bird.",
        species=_species(show.frames),
        frames="\n".join(
            f'<figure><img src="{_picture(image)}" alt="frame {number} with boxes">'
            f"<figcaption>frame {number}</figcaption></figure>"
            for number, image in pictures
        ),
        error="unknown" if own.error is None else f"{own.error:.1e}",
        histogram=histogram(
            {display_name(r.entry.runtime): r.milliseconds for r in show.contest},
            "milliseconds per run",
            width=1000,
        ),
        rows="\n".join(map(_row, show.contest)),
        sizes=bars({name: (count, size(count)) for name, count in _runtime_sizes(show)}),
        memory=bars(dict(_peak(result) for result in (own, peer))),
        machine=escape(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}"),
        seconds=f"{show.seconds:.0f}",
    )


def _facts(show: Show) -> str:
    own, peer = show.contest
    facts = {
        f"{own.latency.p50_ms:.2f} ms": "model, median",
        f"{show.frame_latency.p50_ms:.2f} ms": "frame to boxes, median",
        f"{own.latency.p50_ms / peer.latency.p50_ms:.2f} ×": "ONNX Runtime's median",
        size(show.sizes["libsanderling.so"]): "runtime library",
        size(show.sizes["package"]): "package, weights and code",
    }
    return "".join(
        f'<div class="fact"><b>{value}</b><span class="soft">{what}</span></div>'
        for value, what in facts.items()
    )


def _species(frames: Sequence[Frame]) -> str:
    from sanderling.models.birds.species import LABELS

    there = Counter(LABELS[label] for frame in frames for label in frame.scene.labels)
    found = Counter(match.name for frame in frames for match in matches(frame.scene, frame.detections))
    return "".join(
        f"<tr><td>{escape(name)}</td><td>{count}</td><td>{found[name]}</td></tr>"
        for name, count in there.most_common()
    )


def _runtime_sizes(show: Show) -> Iterable[tuple[str, int]]:
    yield "libsanderling.so", show.sizes["libsanderling.so"]
    yield "libonnxruntime.so", show.sizes["libonnxruntime.so"]


def _peak(result: Result) -> tuple[str, tuple[float, str]]:
    assert result.start is not None
    peak = result.start.peak_bytes
    return display_name(result.entry.runtime), (peak, size(peak))


def _row(result: Result) -> str:
    latency = result.latency
    times = (latency.min_ms, latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.mean_ms)
    cells = [f"{value:.3f}" for value in times]
    start = result.start
    assert start is not None
    cells += [f"{latency.throughput:.1f}", f"{start.import_ms:.0f}", f"{start.load_ms:.1f}"]
    cells += [f"{start.first_ms:.2f}", f"{latency.runs:,}"]
    name = escape(f"{display_name(result.entry.runtime)} {result.version}")
    return f"<tr><td>{name}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _picture(image: RgbImage) -> str:
    return _data("image/jpeg", encode(image, ".jpg", quality=82))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
