"""Results say where they come from; pictures, pages and the README say what the results say."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme, render, results

LATENCY_ROW: dict[str, Any] = {
    "model": "resnet18",
    "target": "x86-64-v4",
    "threads": 1,
    "ratio": 0.8123,
    "error": 2.1e-6,
    "native": {"p50_ms": 25.5, "min_ms": 24.0},
    "onnxruntime": {"p50_ms": 31.4, "min_ms": 30.0},
}
FOOTPRINT_ROWS: list[dict[str, Any]] = [
    {"what": "libsanderling.so", "bytes": 130_000, "stripped_bytes": 120_000, "needs": ["libc.so.6"]},
    {"what": "_core", "bytes": 240_000, "stripped_bytes": 230_000, "needs": ["libsanderling.so"]},
    {
        "what": "sanderling-run m",
        "starts": 3,
        "median_run_ms": 8.0,
        "whole_process_ms": 14.2,
        "peak_memory_bytes": 21e6,
    },
]
COMPILE_ROWS = [{"model": "m", "target": "host", "database": "none", "seconds": 61.2}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of all three benchmarks."""
    results.write(tmp_path, "latency", ["--duration", "2", "--output", "/a/b"], [LATENCY_ROW])
    results.write(tmp_path, "footprint", [], FOOTPRINT_ROWS)
    results.write(tmp_path, "compile_time", [], COMPILE_ROWS)
    return tmp_path


def test_result_says_where_it_comes_from(folder: Path) -> None:
    document = results.read(folder / "latency.json")
    assert document["command"] == "python -m benchmarks.latency --duration 2"
    assert set(document) >= {"benchmark", "date", "machine", "versions", "rows"}
    assert document["versions"]["onnxruntime"]
    assert document["rows"] == [LATENCY_ROW]


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_pictures_and_pages_are_drawn_from_results(folder: Path) -> None:
    assert render.main(["--folder", str(folder)]) == 0
    for name in ("latency", "footprint", "compile_time"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    reader = Cells()
    reader.feed((folder / "latency.html").read_text())
    assert {"resnet18", "25.5", "31.4", "native p50_ms"} <= set(reader.texts)


def test_figures_are_those_of_the_results(folder: Path) -> None:
    text = readme.figures(folder)
    assert "| resnet18 | x86-64-v4 | 1 | 25.50 | 31.40 | 0.81 | 2e-06 |" in text
    assert "350 kB" in text
    assert "21.0 MB" in text
    assert "| 61 s |" in text


def test_figures_take_their_place_and_only_that(folder: Path) -> None:
    before = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb\n"
    after = readme.updated(before, "new")
    assert after == f"a\n{readme.BEGIN}\nnew\n{readme.END}\nb\n"
    assert readme.updated(after, "new") == after


@pytest.mark.parametrize("text", ["", readme.BEGIN, f"{readme.END}{readme.BEGIN}"])
def test_readme_without_a_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the README needs"):
        readme.updated(text, "new")


def test_committed_readme_tells_the_committed_results() -> None:
    assert readme.main(["--check"]) == 0, "run `python -m benchmarks.readme`"


@pytest.mark.parametrize("path", sorted(results.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_complete(path: Path) -> None:
    document = json.loads(path.read_text())
    assert document["rows"]
    assert {"command", "date", "machine", "versions"} <= set(document)


def test_committed_results_reach_the_goals() -> None:
    latency, footprint, compile_time = (
        results.read(results.RESULTS / f"{name}.json")["rows"]
        for name in ("latency", "footprint", "compile_time")
    )
    assert {row["model"] for row in latency} == {"birds", "mobilenet_v2", "resnet18", "squeezenet1_1"}
    assert all(row["error"] <= 1e-4 for row in latency)
    assert all(row["ratio"] <= 1.3 for row in latency if row["target"] == "x86-64-v4" and row["threads"] == 1)
    sizes = {row["what"]: row for row in footprint}
    library, core = (sizes[name]["stripped_bytes"] for name in ("libsanderling.so", "_core"))
    assert library <= 400_000
    assert library + core <= 700_000
    assert "libsanderling.so" in sizes["_core"]["needs"]
    (start,) = (row for row in footprint if "starts" in row)
    assert start["process_to_first_result_ms"] <= start["median_run_ms"] + 15
    assert start["peak_memory_bytes"] <= 34_000_000
    seconds = [row["seconds"] for row in compile_time if row["model"] == "mobilenet_v2"]
    assert seconds[0] <= 120
    assert max(seconds[1:]) <= 15


@pytest.mark.slow
def test_benchmarks_run_from_end_to_end(tmp_path: Path) -> None:
    from benchmarks import footprint, latency

    output = ["--output", str(tmp_path)]
    assert footprint.main(["--model", "squeezenet1_1", "--starts", "2", *output]) == 0
    assert latency.main(["--models", "squeezenet1_1", "--duration", "0.3", "--tune", "none", *output]) == 0
    (library, *_), start = (rows := results.read(tmp_path / "footprint.json")["rows"])[:1], rows[-1]
    assert library["stripped_bytes"] <= 400_000
    assert start["peak_memory_bytes"] <= 34_000_000
    assert all(row["error"] <= 1e-4 for row in results.read(tmp_path / "latency.json")["rows"])
