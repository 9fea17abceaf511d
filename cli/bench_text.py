"""Words and numbers as charts, pages and tables of benchmarks write them."""

from __future__ import annotations

import math
import re

from sanderling.cli.bench_document import thread_text


def slug(threads: int) -> str:
    """For names of files: `2-threads`."""
    return thread_text(threads).replace(" ", "-")


def two_lines(name: str) -> str:
    """A long name, broken at the underscore nearest to its middle."""
    places = [match.end() for match in re.finditer("_", name)]
    if len(name) <= 20 or not places:
        return name
    middle = min(places, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:middle]}\n{name[middle:]}"


def shortened(text: str, length: int, keep_end: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    return f"…{text[1 - length :]}" if keep_end else f"{text[: length - 1]}…"


def three(value: float) -> str:
    """Three significant digits: 0.123, 1.23, 12.3, 123, 1234."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 3)}f}"


def marked(ratio: float) -> str:
    """A ratio of times with a mark that needs no colour: ▲ faster, ▼ slower."""
    return f"{'▲' if ratio >= 1 else '▼'} {ratio:.2f}"
