"""Rows of a benchmark document as `sanderling bench` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sanderling.cli.bench_document import OURS
from sanderling.cli.console import size, table

_TIMES = ("min_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms")
_HEADER = (
    *("ms", "target", "threads", "min", "p50", "p90", "p99", "mean"),
    *("runs/s", "start", "memory", "model", "outcome"),
)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table, and for each other runtime how our median compares with its own."""
    lines = [table(_HEADER, [_cells(row) for row in rows], left=2)]
    lines += [_comparison(own, peer) for own in rows for peer in rows if _comparable(own, peer)]
    lines += [f"{_who(row)}, {row['outcome']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    times = [f"{row[name]:.3f}" if name in row else "–" for name in _TIMES]
    memory = (
        size(max(0, row["peak_memory_bytes"] - row["base_memory_bytes"]))
        if "peak_memory_bytes" in row
        else "–"
    )
    return [
        f"{row['runtime']} {row['version'] or ''}".strip(),
        row["target"],
        str(row["threads"]),
        *times,
        f"{row['throughput']:.1f}" if "throughput" in row else "–",
        f"{row['start_ms']:.0f}" if "start_ms" in row else "–",
        memory,
        size(row["model_bytes"]) if row["model_bytes"] else "–",
        row["outcome"] if row["error"] is None else f"{row['outcome']} ({row['error']:.0e})",
    ]


def _comparable(own: Mapping[str, Any], peer: Mapping[str, Any]) -> bool:
    ours, theirs = own["runtime"] == OURS, peer["runtime"] != OURS
    return ours and theirs and own["threads"] == peer["threads"] and "p50_ms" in own and "p50_ms" in peer


def _comparison(own: Mapping[str, Any], peer: Mapping[str, Any]) -> str:
    marks = "".join(
        f"; {row['runtime']}'s answer is wrong" for row in (own, peer) if row["outcome"] == "wrong"
    )
    return f"{_who(own)} takes {own['p50_ms'] / peer['p50_ms']:.2f} × {_who(peer)}'s median{marks}"


def _who(row: Mapping[str, Any]) -> str:
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    return f"{row['runtime']} ({row['target']}, {threads})"
