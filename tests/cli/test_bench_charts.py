"""Pictures show what the document says, the same every time, in the page's own colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from sanderling.cli.bench_charts import Chart, png, svg
from sanderling.cli.bench_document import parse
from sanderling.cli.bench_drawings import charts
from sanderling.cli.bench_text import marked, shortened, three, two_lines
from tests.support.benchmarks import document, spoil

SMALL: dict[str, Any] = {"models": ["birds", "resnet18"], "threads": (1,), "layers": 12}


def named(value: dict[str, Any]) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(parse(value))}


def texts(picture: str) -> list[str]:
    return [
        "".join(element.itertext()).strip()
        for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.fixture(scope="module")
def small() -> dict[str, Chart]:
    return named(document(**SMALL))


def test_there_is_a_chart_for_everything_that_was_measured(small: dict[str, Chart]) -> None:
    assert list(small) == [
        "speed-up",
        "latency-1-thread",
        "roofline-x86-64-v4-1-thread",
        "roofline-x86-64-v3-1-thread",
        "memory",
        "start-up",
    ]


def test_nothing_is_drawn_of_what_was_not_measured() -> None:
    value = document(models=["birds"], runtimes=["sanderling"], threads=(2,), layers=0)
    for row in value["rows"]:
        del row["base_memory_bytes"], row["load_ms"]
    assert list(named(value)) == ["latency-2-threads"]
    assert list(named(value | {"rows": []})) == []


@pytest.mark.parametrize(
    "name", ["speed-up", "latency-1-thread", "roofline-x86-64-v4-1-thread", "memory", "start-up"]
)
def test_chart_is_the_same_every_time(small: dict[str, Chart], name: str) -> None:
    chart, again = small[name], named(document(**SMALL))[name]
    picture = png(chart, "a machine")
    assert picture.startswith(b"\x89PNG")
    assert picture == png(again, "a machine")
    assert svg(chart, chart.panels[0]) == svg(again, again.panels[0])


@pytest.mark.parametrize("name", ["speed-up", "latency-1-thread", "roofline-x86-64-v4-1-thread", "start-up"])
def test_svg_is_well_formed_and_takes_colours_and_font_from_the_page(
    small: dict[str, Chart], name: str
) -> None:
    picture = svg(small[name], small[name].panels[0])
    root = ET.fromstring(picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert root.get("viewBox")
    assert root.get("width") is None, "a page scales it"
    assert "currentColor" in picture
    assert not re.search(r"#(1c2529|5b6a70|000000)", picture)
    assert "<text" in picture
    assert not re.search(r"""(href|src)=["'](?!#)""", picture), "nothing comes from elsewhere"


def test_pictures_of_one_page_share_no_identifier(small: dict[str, Chart]) -> None:
    found = [
        set(re.findall(r' id="([^"]+)"', svg(chart, panel)))
        for chart in small.values()
        for panel in chart.panels
    ]
    assert sum(map(len, found)) == len(set().union(*found))


def test_latency_shows_each_runtime_and_what_went_wrong() -> None:
    value = document(models=["birds"], threads=(1,), layers=0)
    spoil(value, "wrong", "far off", runtime="mnn")
    spoil(value, "failed", "it died & <burned>", runtime="ncnn")
    chart = named(value)["latency-1-thread"]
    found = texts(with_namespace(svg(chart, chart.panels[0])))
    assert {"Sanderling x86-64-v4", "ONNX Runtime", "OpenVINO", "ncnn", "MNN", "ms"} <= set(found)
    assert "failed: it died & <burned>" in found
    assert any(text.endswith(" wrong") for text in found)
    medians = [row["p50_ms"] for row in value["rows"] if row["outcome"] == "right"]
    assert {three(median) for median in medians} <= set(found)


def test_one_huge_outlier_does_not_flatten_the_bars() -> None:
    value = document(models=["birds"], threads=(1,), layers=0)
    value["rows"][0]["p99_ms"] = 100 * value["rows"][0]["p50_ms"]
    chart = named(value)["latency-1-thread"]
    ticks = [
        float(text)
        for text in texts(with_namespace(svg(chart, chart.panels[0])))
        if re.fullmatch(r"[\d.]+", text)
    ]
    assert max(ticks) < 5 * max(row["p50_ms"] for row in value["rows"])


def test_speed_up_tells_losses_and_wins(small: dict[str, Chart]) -> None:
    chart = small["speed-up"]
    assert [panel.title for panel in chart.panels] == ["x86-64-v4, 1 thread", "x86-64-v3, 1 thread"]
    assert [label for label, _, _ in chart.key] == ["ONNX Runtime", "OpenVINO", "ncnn", "MNN"]
    found = texts(with_namespace(svg(chart, chart.panels[0])))
    assert {"birds", "resnet18", "geometric mean"} <= set(found)
    assert any(text.startswith("▲") for text in found)
    assert any(text.startswith("▼") for text in found)


def test_roofline_lists_the_slowest_calls_and_what_it_leaves_out(small: dict[str, Chart]) -> None:
    panel = small["roofline-x86-64-v4-1-thread"].panels[0]
    lines, *calls, rest = panel.notes
    assert lines == "lines: arithmetic 118 GFLOP/s, memory 20 GB/s"
    assert [call[:3] for call in calls] == ["1  ", "2  ", "3  ", "4  ", "5  "]
    shares = [int(re.findall(r": (\d+)% of the time", call)[0]) for call in calls]
    assert shares == sorted(shares, reverse=True)
    assert rest.startswith("not drawn: 1 call without arithmetic")
    found = texts(with_namespace(svg(small["roofline-x86-64-v4-1-thread"], panel)))
    assert {"GFLOP/s", "FLOP per byte", "1", "2", "3"} <= set(found)


@pytest.mark.parametrize("limits", [{}, {"memory_gbps": 20.0}, {"fma_gflops": {"x86-64-v4": 100.0}}])
def test_roofline_without_measured_limits_has_no_lines(limits: dict[str, Any]) -> None:
    panel = named(document(**SMALL) | {"limits": limits})["roofline-x86-64-v4-1-thread"].panels[0]
    assert not any(note.startswith("lines:") for note in panel.notes)
    assert not any(" (" in note for note in panel.notes)


def test_roofline_of_calls_that_only_move_data_is_a_list() -> None:
    value = document(models=["birds"], threads=(1,), layers=2)
    for layer in value["layers"]:
        layer["flops"] = 0
    chart = named(value)["roofline-x86-64-v4-1-thread"]
    assert chart.panels[0].notes[-1] == "not drawn: 2 calls without arithmetic, 100% of the time"
    assert "FLOP per byte" in texts(with_namespace(svg(chart, chart.panels[0])))


def with_namespace(picture: str) -> str:
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.012"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1234"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert three(value) == text


def test_names_are_broken_and_shortened_to_fit() -> None:
    assert two_lines("ssdlite320_mobilenet_v3_large") == "ssdlite320_\nmobilenet_v3_large"
    assert two_lines("mobilenet_v2") == "mobilenet_v2"
    assert two_lines("averylongnamewithoutanybreak") == "averylongnamewithoutanybreak"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcdef", 4, keep_end=True) == "…def"
    assert shortened("a\n b", 4) == "a b"
    assert (marked(1.204), marked(0.5)) == ("▲ 1.20", "▼ 0.50")
