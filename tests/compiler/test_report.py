"""The report: JSON that any reader takes, and a table that shows what matters."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sanderling.compiler.report import Latency, NodeTime, Report, TargetReport

LATENCY = Latency(2.0, 2.5, 4.0, 5.0, turns=3, runs=7)
HOST = TargetReport(
    native=True,
    sizes={"kernels": 12_345, "arena": 2_000_000},
    nodes=(
        NodeTime("conv1", "conv2d 7x2", 10**6, 0.5),
        NodeTime("relu", "map", 10, 1.5),
        NodeTime("x", "copy", 0),
    ),
    errors={"y": 1e-6, "z": 3e-6},
    latency=LATENCY,
    first_ms=7.5,
    peak_bytes=20_000_000,
)
CROSS = TargetReport(
    native=True, note="not verified: this machine cannot run it", nodes=(NodeTime("a", "map", 1),)
)
REPORT = Report(
    name="birds",
    version="1.2.0",
    package="birds.sand",
    threads=1,
    reference="ONNX Runtime 1.32",
    sizes={"source": 5_500_000, "package": 6_000_000},
    targets={"x86-64-v4": HOST, "aarch64": CROSS, "x86-64-v3": TargetReport(native=False, note="2 nodes")},
    unsupported=({"node": "n", "op": "Loop", "reason": "control flow"},),
    stages={"read": 0.01, "generate": 12.3},
)


def test_json_has_only_jsons_types_and_keeps_the_figures() -> None:
    document = json.loads(json.dumps(REPORT.to_json(), allow_nan=False))
    host = document["targets"]["x86-64-v4"]
    assert host["latency_ms"] == {
        "native": {"min": 2.0, "median": 2.5},
        "reference": {"min": 4.0, "median": 5.0},
        "ratio": 0.5,
        "turns": 3,
        "runs_per_turn": 7,
    }
    assert host["nodes"][1] == {"node": "relu", "kind": "map", "flops": 10, "ms": 1.5}
    assert document["targets"]["aarch64"]["errors"] is None
    assert document["unsupported"][0]["op"] == "Loop"


def test_an_infinite_error_is_null_in_json_but_the_largest_in_python() -> None:
    target = replace(HOST, errors={"y": float("inf"), "z": 0.0})
    assert target.largest_error == float("inf")
    assert target.to_json()["errors"] == {"y": None, "z": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "birds 1.2.0 → birds.sand  (source 5.5 MB, package 6.0 MB)",
        "3.0e-06 of ONNX Runtime 1.32's largest output",
        "2.500 ms (2.000); ONNX Runtime 1.32: 5.000 ms (4.000); ratio 0.50, threads 1",
        "aarch64: native, 1 calls; not verified: this machine cannot run it",
        "x86-64-v3: not native; 2 nodes",
        "peak memory of that process    20.0 MB",
        "control flow",
        "compiled in 12.3 s (generate 12.3 s)",
    ],
)
def test_the_table_says(text: str) -> None:
    assert text in str(REPORT)


def test_the_table_lists_the_slowest_nodes_first() -> None:
    table = str(REPORT)
    assert table.index("1.500  75 %") < table.index("0.500  25 %")


def test_nothing_measured_is_nothing_claimed() -> None:
    table = str(replace(REPORT, targets={"aarch64": CROSS}, unsupported=(), reference=None))
    for word in ("latency", "error", "peak", "slowest", "ONNX"):
        assert word not in table
