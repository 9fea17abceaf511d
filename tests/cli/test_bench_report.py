"""The page holds every row, says plainly what was lost, and needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sanderling.cli import bench_report
from sanderling.cli.bench_document import parse
from tests.support.benchmarks import document, spoil

_VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Texts, rows of tables, and what the page refers to; raises where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data


def small(**options: Any) -> dict[str, Any]:
    return document(**{"models": ["birds", "resnet18"], "threads": (1,), "layers": 6, **options})


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(bench_report.page(parse(small())))


def test_every_row_is_in_the_table(reader: Reader) -> None:
    lines = [line for line in reader.rows if len(line) == 20 and line[0] != "model"]
    assert [(line[0], line[1], line[4]) for line in lines][:6] == [
        ("birds", "Sanderling", "x86-64-v4"),
        ("birds", "Sanderling", "x86-64-v3"),
        ("birds", "ONNX Runtime", "native"),
        ("birds", "OpenVINO", "native"),
        ("birds", "ncnn", "native"),
        ("birds", "MNN", "native"),
    ]
    assert len(lines) == 12
    assert all(line[2] and line[3] == "AMD EPYC" and line[5] == "fp32" for line in lines)
    assert [line[-2] for line in lines if line[1] == "ONNX Runtime"] == ["reference"] * 2


def test_speed_ups_are_listed_with_their_means(reader: Reader) -> None:
    (header,) = [line for line in reader.rows if line[0] == "peer's median ÷ ours"]
    assert header[1:] == ["ONNX Runtime", "OpenVINO", "ncnn", "MNN", "fastest peer"]
    lines = {line[0]: line[1:] for line in reader.rows if len(line) == 6}
    assert lines["resnet18, x86-64-v4, 1 thread"][2].startswith("▼ 0.8")
    assert "(ncnn)" in lines["resnet18, x86-64-v4, 1 thread"][4]
    assert all(cell[0] in "▲▼" for cell in lines["geometric mean, x86-64-v3, 1 thread"])


def test_losses_are_said_first(reader: Reader) -> None:
    (verdict,) = [text for text in reader.texts if text.startswith("Sanderling is faster")]
    assert re.fullmatch(
        r"Sanderling is faster than the fastest peer in 2 of 4 rows, slower in 2; "
        r"at worst 0\.\d\d × ncnn's speed, with resnet18, x86-64-v3, 1 thread\.",
        verdict,
    )


def test_charts_of_a_single_model_share_a_section() -> None:
    page = bench_report.page(parse(small(models=["birds"], threads=(1, 2))))
    assert page.count("<h2>Latency</h2>") == page.count("<h2>Roofline</h2>") == 1
    texts = Reader(page).texts
    assert {"birds, 2 threads", "birds, x86-64-v3, 2 threads"} <= set(texts)
    assert sum(text.startswith("One dot a call") for text in texts) == 1


def test_page_refers_to_nothing_outside(reader: Reader) -> None:
    assert all(link.startswith("#") for link in reader.links)
    page = bench_report.page(parse(small(layers=0)))
    assert "<script" not in page
    assert not re.search(r"url\((?!#)|@import", page)


@pytest.mark.parametrize("outcome", ["wrong", "failed", "unsupported"])
def test_what_is_not_right_is_marked_with_its_reason(outcome: str) -> None:
    value = small(layers=0)
    spoil(value, outcome, 'because of <b>"x"</b> & y', runtime="ncnn", model="birds")
    page = bench_report.page(parse(value))
    assert "<b>&quot;" not in page
    reader = Reader(page)
    assert "birds, ncnn native fp32, 1 thread: because" in " ".join(reader.texts)
    (line,) = [line for line in reader.rows if line[:2] == ["birds", "ncnn"]]
    assert line[-1] == f'{outcome}: because of <b>"x"</b> & y'
    assert (line[6] == "–") == (outcome != "wrong")


def test_incomplete_document_is_told_first() -> None:
    page = bench_report.page(parse(small(layers=0) | {"note": "incomplete: <interrupted>"}))
    assert "2026-11-24. incomplete: <interrupted>." in " ".join(Reader(page).texts)


def test_page_without_peers_or_rows_says_so() -> None:
    alone = Reader(bench_report.page(parse(small(runtimes=["sanderling"], layers=0))))
    assert any(text.startswith("Nothing to compare with") for text in alone.texts)
    assert Reader(bench_report.page(parse(small() | {"rows": [], "layers": []}))).rows == []


def test_page_and_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    value = small(models=["birds"])
    bench_report.write(tmp_path / "a.html", parse(value))
    bench_report.write(tmp_path / "b.html", parse(json.loads(json.dumps(value))))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    paths = bench_report.write_pictures(tmp_path / "new" / "folder", parse(value))
    assert "speed-up.png" in {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
