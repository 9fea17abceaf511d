"""What a person sees while a command works, and JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

_WIDTH = 24
_REDRAW_SECONDS = 0.1


class Progress:
    """A bar on a terminal; elsewhere one plain line per stage. Writes to stderr, so stdout stays clean.

    Call it with (stage, done, total): that is the signature of the compiler's `progress`.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._stage = ""
        self._drawn = 0.0

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        fresh = stage != self._stage
        self._stage = stage
        if not self._terminal:
            if fresh:
                print(stage, file=self._stream, flush=True)
            return
        now = time.monotonic()
        if not fresh and done < total and now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        self._stream.write(f"\r\x1b[K{bar(done, total)}{stage}")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and self._stage:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def bar(done: int, total: int) -> str:
    """`[####....] 12/40 `, or nothing while the total is unknown."""
    if total <= 0:
        return ""
    filled = _WIDTH * min(max(done, 0), total) // total
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total} "


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    print()


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns: the first `left` ones to the left, the others to the right, as numbers want it."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def pairs(values: Mapping[str, str]) -> str:
    """`name  value` lines with aligned values."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in values.items())


def size(count: float) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def tensor(name: str, dtype: str, shape: Sequence[int], bounded: int | None = None) -> str:
    """`image float32 [1, 3, 320, 320]`; along the dimension `bounded` the shape is the most there can be."""
    dims = (f"≤{size}" if axis == bounded else str(size) for axis, size in enumerate(shape))
    return f"{name} {dtype} [{', '.join(dims)}]"
