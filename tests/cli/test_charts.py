"""Charts say what the numbers say, and are well-formed whatever the numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.charts import bars, histogram

TIMES = st.lists(st.floats(min_value=1e-3, max_value=1e4), min_size=1, max_size=60)


def elements(svg: str, kind: str, css: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter(kind) if element.get("class") == css]


@given(TIMES, TIMES)
def test_histogram_is_well_formed_and_inside_its_picture(first: list[float], second: list[float]) -> None:
    svg = histogram({"a <b>": first, "c & d": second}, "ms")
    for series, values in (("series0", first), ("series1", second)):
        rectangles = elements(svg, "rect", series)
        assert 1 <= len(rectangles) <= len(values)
        for rectangle in rectangles:
            assert 0 <= float(rectangle.get("x", "nan")) <= 640
            assert 0 <= float(rectangle.get("height", "nan")) <= 220
    assert float(elements(svg, "line", "median0")[0].get("x1", "nan")) >= 0


def test_histogram_bars_are_as_high_as_values_are_frequent() -> None:
    heights = [
        float(bar.get("height", "0"))
        for bar in elements(histogram({"a": [1.0] * 9 + [2.0] * 3}, "ms"), "rect", "series0")
    ]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)


def test_bars_are_as_long_as_their_values() -> None:
    svg = bars({"a": (30.0, "30 kB"), "b": (10.0, "10 kB")})
    (first,), (second,) = elements(svg, "rect", "series0"), elements(svg, "rect", "series1")
    assert float(first.get("width", "0")) == pytest.approx(3 * float(second.get("width", "0")), rel=0.01)
    assert "30 kB" in svg
