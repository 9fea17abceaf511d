"""What the demo claims to have found is what its boxes and names say."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import sanderling
from sanderling.cli import demo_report
from sanderling.cli.contest import Entry, Limits, measure, reference_outputs
from sanderling.cli.draw import draw_detections
from sanderling.cli.show import Frame, Show, best_frames, iou, matches
from sanderling.cli.study import own_entries
from sanderling.cli.subject import make_subject
from sanderling.models.birds.scenes import Scene
from sanderling.runtime.results import Detection

from .conftest import Command

BOX = (10.0, 10.0, 20.0, 30.0)


def scene(boxes: list[tuple[float, ...]], labels: list[int]) -> Scene:
    shape = np.array(boxes, np.float32).reshape(-1, 4)
    return Scene(np.full((48, 64, 3), 90, np.uint8), shape, np.array(labels, np.int64))


def detection(box: tuple[float, float, float, float], label: int = 0, score: float = 0.9) -> Detection:
    return Detection(box, score, label, f"bird{label}")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_iou(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(a, b) == pytest.approx(expected)
    assert iou(b, a) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], 0),
        ([detection(BOX)], 1),
        ([detection(BOX, label=1)], 0),
        ([detection((40.0, 10.0, 50.0, 30.0))], 0),
        ([detection(BOX), detection(BOX, score=0.5)], 1),
    ],
)
def test_a_bird_is_found_by_one_box_of_its_name(found: list[Detection], expected: int) -> None:
    assert len(matches(scene([BOX], [0]), found)) == expected


def test_one_box_finds_one_bird() -> None:
    assert len(matches(scene([BOX, BOX], [0, 0]), [detection(BOX)])) == 1


def test_best_frame_of_each_place_is_shown() -> None:
    found, nothing = scene([BOX], [0]), scene([], [])
    frames = [
        Frame(0, nothing, [], 1.0),
        Frame(0, found, [detection(BOX)], 1.0),
        Frame(1, found, [], 1.0),
        Frame(1, found, [], 1.0),
    ]
    assert [number for number, _ in best_frames(frames)] == [1, 2]


@pytest.mark.parametrize("box", [BOX, (-30.0, -30.0, 200.0, 200.0), (60.0, 45.0, 64.0, 48.0)])
def test_boxes_are_drawn_inside_and_the_frame_itself_is_left_alone(
    box: tuple[float, float, float, float],
) -> None:
    image = scene([], []).image
    before = image.copy()
    drawn = draw_detections(image, [detection(box)])
    assert drawn.shape == image.shape
    assert (drawn != image).any()
    assert np.array_equal(image, before)


class Reader(HTMLParser):
    """Collects what a page loads and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href", "poster")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_is_one_page_with_everything_inside(red_package: Path, tmp_path: Path) -> None:
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[16:32, 32:48] = (255, 0, 0)
    with sanderling.load(red_package, threads=1) as model:
        found = model.detect(picture)
    there = Scene(picture, np.array([found[0].box], np.float32), np.array([0], np.int64))
    video = tmp_path / "birds.webm"
    video.write_bytes(b"not really a video")
    subject = make_subject(red_package, (), tmp_path)
    feeds, reference = subject.feeds(), reference_outputs(subject.onnx, subject.feeds())
    entries = [*own_entries(subject), Entry("onnxruntime", (subject.onnx,))]
    show = Show(
        name="red detector",
        package=red_package,
        video=video,
        report=tmp_path / "report.html",
        variant="a <variant>",
        error=1e-7,
        frames=(Frame(0, there, found, 1.0), Frame(0, there, [], 3.0)),
        contest=tuple(measure(entries, 1, Limits(runs=20, starts=1), feeds, reference=reference)),
        sizes={"package": 1000, "libsanderling.so": 120_000, "libonnxruntime.so": 30_000_000},
        seconds=2.0,
    )
    demo_report.write(show)
    page = show.report.read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert len(reader.sources) == 3
    assert all(source.startswith("data:") for source in reader.sources)
    assert show.found == (2, 1, 0)
    assert "Of 2 birds in the clip <b>1</b>" in page
    assert "a &lt;variant&gt;" in page
    assert "$" not in page


@pytest.mark.slow
def test_demo_from_end_to_end(sanderling: Command, tmp_path: Path) -> None:
    outcome = sanderling("demo", "--output", tmp_path, "--places", "2", "--frames", "10", "--duration", "0.5")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds.sand", "birds.webm", "report.html"]
    assert (tmp_path / "birds.webm").read_bytes()[:4] == b"\x1aE\xdf\xa3"  # EBML, so WebM
