"""Where the time of our own variant goes: one row for every call of its plan, for the roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sanderling.compiler.serve import CallTimes, Server
from sanderling.runtime.package import Package
from sanderling.runtime.plan import Plan, decode_plan

_SECONDS = 1.0
_RUNS = range(5, 201)


def layer_rows(package: Path, variant: str, threads: int) -> list[dict[str, Any]]:
    """Node, kind, arithmetic, memory traffic and best time of each call, measured in a process of its own.

    Raises CompileError if sanderling-run is missing or fails.
    """
    with Server(threads=threads) as server:
        server.put("package", package.read_bytes())
        server.load("package", variant)
        times = profile(server)
    return list(describe(read_plan(package, variant), times))


def profile(server: Server) -> list[CallTimes]:
    """As many runs of what is loaded as fill a second, after two to warm up."""
    once = sum(call.least for call in server.profile(2))
    return server.profile(min(max(int(_SECONDS / max(once, 1e-9)), _RUNS.start), _RUNS.stop - 1))


def read_plan(package: Path, variant: str) -> Plan:
    """The plan of a variant. Raises PackageError."""
    with Package(package) as opened:
        return decode_plan(opened.read_checked(f"variants/{variant}/plan.bin"))


def describe(plan: Plan, times: Sequence[CallTimes]) -> Iterator[dict[str, Any]]:
    """Rows of the document. `bytes` are those of every argument but scratch, each counted once."""
    for call, time in zip(plan.calls, times, strict=True):
        yield {
            "node": call.node,
            "kind": call.kind,
            "flops": call.flops,
            "bytes": sum(argument.size for argument in call.args if argument.place != "scratch"),
            "us": round(1e6 * time.least, 3),
        }
