"""Results say where they come from; pictures, pages and the README say what the results say."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme, render, results
from benchmarks.models import TARGETS, names
from sanderling.cli import bench_document
from sanderling.cli.arguments import PEERS
from sanderling.cli.bench_figures import best, mean, speed_ups
from sanderling.cli.bench_text import three
from tests.support.benchmarks import document, spoil

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


def latency() -> dict[str, Any]:
    """Two models with every peer; one gives a wrong answer, one cannot run, one only held back."""
    value = document(models=["resnet18", "birds"], layers=0)
    spoil(value, "wrong", "error 3.1e-01", runtime="mnn", model="birds")
    spoil(value, "unsupported", "no operator | X", runtime="ncnn", model="birds", threads=2)
    held = [
        row | {"target": "x86-64-v3", "p50_ms": row["p50_ms"] * 1.01}
        for row in value["rows"]
        if row["runtime"] == "openvino"
    ]
    return value | {"rows": value["rows"] + held}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of all three benchmarks."""
    results.save(tmp_path, "latency", latency())
    results.write(tmp_path, "footprint", ["--starts", "3", "--output", "/a/b"], FOOTPRINT_ROWS)
    results.write(tmp_path, "compile_time", [], COMPILE_ROWS)
    return tmp_path


def test_result_says_where_it_comes_from(folder: Path) -> None:
    result = results.read(folder / "footprint.json")
    assert result["command"] == "python -m benchmarks.footprint --starts 3"
    assert set(result) >= {"benchmark", "date", "machine", "versions", "rows"}
    assert result["versions"]["onnxruntime"]
    assert result["rows"] == FOOTPRINT_ROWS


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_pictures_and_pages_are_drawn_from_results(folder: Path) -> None:
    (folder / "latency").mkdir()
    (folder / "latency" / "roofline-of-another-day.png").touch()
    assert render.main(["--folder", str(folder)]) == 0
    pictures = {path.name for path in (folder / "latency").iterdir()}
    assert {"speed-up.png", "latency-1-thread.png", "latency-2-threads.png", "memory.png"} <= pictures
    assert "roofline-of-another-day.png" not in pictures
    for name in ("footprint.png", "compile_time.png", "latency/speed-up.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    for name, texts in (
        ("footprint", {"libsanderling.so", "120000"}),
        ("latency", {"resnet18", "ONNX Runtime"}),
    ):
        reader = Cells()
        reader.feed((folder / f"{name}.html").read_text())
        assert texts <= set(reader.texts)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_figures_are_those_of_the_results(folder: Path) -> None:
    text = readme.figures(folder)
    document = bench_document.read(folder / "latency.json")
    header, _, *lines = cells(text)
    assert header == [
        *("median, ms", "threads", "Sanderling x86-64-v4", "Sanderling x86-64-v3"),
        *("ONNX Runtime", "OpenVINO", "ncnn", "MNN"),
    ]
    for model, threads, *medians in lines[:4]:
        rows = [
            row
            for row in document.rows
            if (row.model, str(row.threads)) == (model, threads) and (row.ours or row.target == "native")
        ]
        fastest = min(row.p50_ms for row in rows if row.right)
        assert [cell.strip("*") for cell in medians] == [
            three(row.p50_ms) if row.right else row.outcome for row in rows
        ]
        assert [cell.startswith("**") for cell in medians] == [
            row.right and row.p50_ms == fastest for row in rows
        ]
    assert "MNN with birds wrong: error 3.1e-01; ncnn with birds unsupported: no operator" in text
    assert "350 kB" in text
    assert "21.0 MB" in text
    assert "| 61 s |" in text


def test_means_and_losses_are_told(folder: Path) -> None:
    rows = bench_document.read(folder / "latency.json").rows
    pairs = speed_ups(row for row in rows if row.ours or row.target == "native")
    lines = {(line[0], line[1]): line[2:] for line in cells(readme.figures(folder)) if len(line) == 5}
    for target in ("x86-64-v4", "x86-64-v3"):
        for threads in (1, 2):
            best_mean, each, lost = lines[f"Sanderling {target}", str(threads)]
            group = [pair for pair in pairs if (pair.own.target, pair.own.threads) == (target, threads)]
            assert float(best_mean) == pytest.approx(mean(best(group)), abs=0.006)
            assert "OpenVINO" in each
            assert re.match(r"resnet18 \(0\.\d\d\)", lost)


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


def test_committed_latencies_reach_the_goals() -> None:
    document = bench_document.read(results.RESULTS / "latency.json")
    ours = [row for row in document.rows if row.ours]
    wanted = {(model, target, threads) for model in names() for target in TARGETS for threads in (1, 2)}
    assert {(row.model, row.target, row.threads) for row in ours} == wanted
    assert {row.runtime for row in document.rows if not row.ours} == set(PEERS)
    assert document.layers
    assert all(row.right and row.error is not None and row.error <= 1e-4 for row in ours)
    pairs = [
        pair
        for pair in speed_ups(document.rows)
        if pair.peer.runtime == "onnxruntime" and pair.own.target == "x86-64-v4" and pair.own.threads == 1
    ]
    assert {pair.own.model for pair in pairs} == set(names())
    assert min(pair.ratio for pair in pairs) >= 0.8
    assert (mean(pairs) or 0) >= 1.0


def test_committed_results_reach_the_goals() -> None:
    footprint, compile_time = (
        results.read(results.RESULTS / f"{name}.json")["rows"] for name in ("footprint", "compile_time")
    )
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
    assert (
        latency.main(
            [
                "--models",
                "squeezenet1_1",
                "--duration",
                "0.3",
                "--tune",
                "none",
                "--peers",
                "onnxruntime",
                *output,
            ]
        )
        == 0
    )
    (library, *_), start = (rows := results.read(tmp_path / "footprint.json")["rows"])[:1], rows[-1]
    assert library["stripped_bytes"] <= 400_000
    assert start["peak_memory_bytes"] <= 34_000_000
    document = bench_document.read(tmp_path / "latency.json")
    assert all(row.right for row in document.rows)
    assert all(row.error is not None and row.error <= 1e-4 for row in document.rows if row.ours)
    assert render.main(["--folder", str(tmp_path)]) == 0
