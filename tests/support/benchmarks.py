"""Benchmark documents of any size, with numbers as a real machine gives them: for tests of their readers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

# Medians in milliseconds on one core of a server, of ours (x86-64-v4) and of four peers.
MEDIANS: dict[str, tuple[float, ...]] = {
    "efficientnet_b0": (11.9, 12.5, 12.6, 14.2, 17.3),
    "mobilenet_v2": (6.2, 8.8, 8.1, 9.2, 10.6),
    "mobilenet_v3_large": (7.6, 7.4, 7.3, 6.9, 7.6),
    "resnet18": (29.3, 36.5, 33.3, 25.1, 26.0),
    "resnet50": (75.1, 82.9, 77.6, 72.6, 79.2),
    "shufflenet_v2_x1_0": (4.1, 4.6, 4.4, 4.9, 5.2),
    "squeezenet1_1": (6.0, 7.8, 8.0, 6.4, 6.5),
    "ssdlite320_mobilenet_v3_large": (15.8, 16.7, 16.3, 18.5, 20.5),
    "birds": (3.4, 4.2, 4.0, 4.6, 4.9),
}
RUNTIMES = {
    "sanderling": "0.1.0",
    "onnxruntime": "1.32.0",
    "openvino": "2026.4.0",
    "ncnn": "1.0.20261020",
    "mnn": "3.6.0",
}
_MEGABYTES = {"sanderling": 12, "onnxruntime": 60, "openvino": 100, "ncnn": 32, "mnn": 40}
_START = {
    "sanderling": (20, 1.2),
    "onnxruntime": (35, 60),
    "openvino": (60, 160),
    "ncnn": (15, 40),
    "mnn": (12, 45),
}
_KINDS = ("conv", "conv_1x1", "depthwise", "pool", "elementwise", "dense")


def document(
    models: Sequence[str] = tuple(MEDIANS),
    runtimes: Sequence[str] = tuple(RUNTIMES),
    targets: Sequence[str] = ("x86-64-v4", "x86-64-v3"),
    threads: Sequence[int] = (1, 2),
    layers: int = 60,
    seed: int = 0,
) -> dict[str, Any]:
    """Every combination right; the same for the same arguments."""
    rng = random.Random(seed)
    return {
        "schema": 2,
        "benchmark": "latency",
        "command": "python -m benchmarks.latency --threads 1,2",
        "date": "2026-11-24",
        "machine": {
            "cpu": "AMD EPYC",
            "arch": "x86_64",
            "cpus": 2,
            "memory_bytes": 25_276_502_016,
            "system": "Debian GNU/Linux 12 (bookworm)",
            "kernel": "6.18.44",
        },
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "limits": {"fma_gflops": {"x86-64-v4": 117.6, "x86-64-v3": 117.1}, "memory_gbps": 20.1},
        "settings": {"duration_s": 10.0, "pause_ms": 50, "warm_up_s": 0.5, "pinned": True, "batch": 1},
        "rows": [
            row(model, runtime, target, count, rng)
            for model in models
            for count in threads
            for runtime in runtimes
            for target in (targets if runtime == "sanderling" else ("native",))
        ],
        "layers": [
            layer(model, target, count, index, rng)
            for model in models
            for target in targets
            for count in threads
            for index in range(layers)
        ],
    }  # fmt: skip


def row(model: str, runtime: str, target: str, threads: int, rng: random.Random) -> dict[str, Any]:
    """A right row."""
    median = MEDIANS[model][list(RUNTIMES).index(runtime)] * (1.0 if threads == 1 else 0.56)
    median *= rng.uniform(0.98, 1.02) * (1.08 if target == "x86-64-v3" else 1.0)
    mean = median * rng.uniform(1.0, 1.05)
    import_ms, load_ms = (value * rng.uniform(0.9, 1.1) for value in _START[runtime])
    first_ms = median * rng.uniform(1.2, 2.0)
    base = 33_000_000
    return {
        "model": model,
        "runtime": runtime,
        "version": RUNTIMES[runtime],
        "device": "AMD EPYC",
        "target": target,
        "precision": "fp32",
        "threads": threads,
        "settings": {"intra_op_num_threads": threads} if runtime == "onnxruntime" else {},
        "outcome": "right",
        "note": None,
        "error": None if runtime == "onnxruntime" else rng.uniform(1e-7, 5e-6),
        "runs": int(10_000 / median),
        "min_ms": median * 0.94,
        "p50_ms": median,
        "p90_ms": median * 1.07,
        "p99_ms": median * rng.uniform(1.1, 1.4),
        "mean_ms": mean,
        "throughput": 1000 / mean,
        "import_ms": import_ms,
        "load_ms": load_ms,
        "first_ms": first_ms,
        "start_ms": import_ms + load_ms + first_ms,
        "peak_memory_bytes": base + int(_MEGABYTES[runtime] * 1e6 + 4e5 * median),
        "base_memory_bytes": base,
        "model_bytes": int(1e6 * (3 + median / 2)),
    }


def layer(model: str, target: str, threads: int, index: int, rng: random.Random) -> dict[str, Any]:
    """A call; every tenth only moves data. What stays in the cache beats the memory's limit."""
    kind = "layout" if index % 10 == 9 else _KINDS[index % len(_KINDS)]
    moved = 10 ** rng.uniform(4.3, 7.0)
    intensity = 0.0 if kind == "layout" else 10 ** rng.uniform(-0.9, 2.1)
    reached = min(117 * threads, intensity * 45) * rng.uniform(0.4, 0.98)
    flops = moved * intensity
    us = flops / reached / 1000 if flops else moved / 15_000
    return {
        "model": model,
        "target": target,
        "threads": threads,
        "node": f"/features/features.{index}/{kind.title()}_{index}",
        "kind": kind,
        "flops": round(flops),
        "bytes": round(moved),
        "us": round(us, 2) or 0.1,
    }


def spoil(value: dict[str, Any], outcome: str, note: str, **which: Any) -> None:
    """Give the rows that have all of `which` another outcome; failed ones lose what was never measured."""
    for entry in value["rows"]:
        if all(entry[name] == wanted for name, wanted in which.items()):
            entry |= {"outcome": outcome, "note": note}
            if outcome in ("wrong", "unchecked"):
                entry["error"] = 0.31 if outcome == "wrong" else None
                continue
            for name in [name for name in entry if name.endswith("_ms") or name in _UNMEASURED]:
                del entry[name]


_UNMEASURED = ("runs", "throughput", "error", "peak_memory_bytes")
