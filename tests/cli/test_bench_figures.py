"""Who is compared with whom, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.bench_document import Layer, Row, parse
from sanderling.cli.bench_figures import (
    SpeedUp,
    best,
    contestants,
    limit_gflops,
    mean,
    slowest,
    speed_ups,
)
from tests.support.benchmarks import document, spoil


def rows(*changes: dict[str, Any], **options: Any) -> list[Row]:
    """Rows of a small document, `changes` made to the first ones."""
    value = document(models=["birds"], threads=(1,), layers=0, **options)
    for entry, change in zip(value["rows"], changes, strict=False):
        entry |= change
    return list(parse(value).rows)


def test_each_target_of_ours_is_compared_with_each_peer() -> None:
    found = speed_ups(rows())
    assert [(pair.own.target, pair.peer.runtime) for pair in found] == [
        (target, peer)
        for target in ("x86-64-v4", "x86-64-v3")
        for peer in ("onnxruntime", "openvino", "ncnn", "mnn")
    ]
    assert all(pair.ratio == pytest.approx(pair.peer.p50_ms / pair.own.p50_ms) for pair in found)


def test_fastest_peer_is_the_one_that_counts() -> None:
    pairs = speed_ups(rows())
    assert [pair.peer.runtime for pair in best(pairs)] == ["openvino", "openvino"]
    assert all(pair.ratio <= other.ratio for pair in best(pairs) for other in pairs if other.own == pair.own)


@pytest.mark.parametrize("outcome", ["wrong", "failed", "unsupported", "unchecked"])
@pytest.mark.parametrize("runtime", ["sanderling", "onnxruntime"])
def test_only_right_answers_count(outcome: str, runtime: str) -> None:
    value = document(models=["birds"], runtimes=["sanderling", "onnxruntime"], threads=(1,), layers=0)
    spoil(value, outcome, "no", runtime=runtime)
    assert speed_ups(parse(value).rows) == []


@pytest.mark.parametrize("name", ["model", "device", "precision", "threads"])
def test_unlike_things_are_not_compared(name: str) -> None:
    other: Any = 2 if name == "threads" else "other"
    pairs = speed_ups(rows({name: other}, runtimes=["sanderling", "onnxruntime"]))
    assert [pair.own.target for pair in pairs] == ["x86-64-v3"]


def test_peer_held_to_our_target_is_compared_there() -> None:
    native, held, third = (
        rows({"target": name}, runtimes=["onnxruntime"])[0] for name in ("native", "x86-64-v3", "x86-64-v2")
    )
    v4, v3 = rows(runtimes=["sanderling"])
    for peers in ([native, held], [held, native]):
        assert {pair.own.target: pair.peer.target for pair in speed_ups([v4, v3, *peers])} == {
            "x86-64-v4": "native",
            "x86-64-v3": "x86-64-v3",
        }
    assert speed_ups([v4, third]) == []


RATIOS = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)


@given(RATIOS)
def test_mean_is_geometric_so_swapping_sides_inverts_it(ratios: list[float]) -> None:
    own, peer = rows(runtimes=["sanderling", "onnxruntime"], targets=["x86-64-v4"])
    assert peer.latency
    others = [replace(peer, latency=replace(peer.latency, p50_ms=own.p50_ms * ratio)) for ratio in ratios]
    straight, inverse = (
        mean(SpeedUp(*pair) for pair in pairs)
        for pairs in ([(own, other) for other in others], [(other, own) for other in others])
    )
    assert straight is not None
    assert inverse is not None
    assert straight * inverse == pytest.approx(1)
    assert min(ratios) * 0.999 <= straight <= max(ratios) * 1.001


def test_mean_of_nothing_is_nothing() -> None:
    assert mean([]) is None


def test_contestants_are_told_apart_by_what_differs_only() -> None:
    names = [one.name for one in contestants(rows()).values()]
    assert names == [
        "Sanderling x86-64-v4",
        "Sanderling x86-64-v3",
        "ONNX Runtime",
        "OpenVINO",
        "ncnn",
        "MNN",
    ]
    assert next(iter(contestants(rows(targets=["x86-64-v3"])).values())).name == "Sanderling"


def test_runtime_keeps_its_colour_whoever_else_is_there() -> None:
    def colours(value: list[Row]) -> dict[str, str]:
        return {one.runtime: one.colour for one in contestants(value).values()}

    everybody, two = colours(rows()), colours(rows(runtimes=["sanderling", "mnn"]))
    assert len(set(everybody.values())) == 5
    assert two == {name: everybody[name] for name in two}


def test_runtime_that_nobody_knows_has_a_name_and_a_colour() -> None:
    (own, other) = contestants(
        rows({}, {"runtime": "brandnew"}, targets=["a"], runtimes=["sanderling", "mnn"])
    ).values()
    assert (other.name, own.colour != other.colour) == ("brandnew", True)


def test_slowest_calls_come_first() -> None:
    layers = [
        Layer("m", "t", 1, f"n{index}", "k", 1, 1, us) for index, us in enumerate([1, 9, 3, 9, 7, 5, 2])
    ]
    assert [layer.node for layer in slowest(layers)] == ["n1", "n3", "n4", "n5", "n2"]


@pytest.mark.parametrize(
    ("flops", "threads", "limit"),
    [(1e6, 1, 0.5 * 20.1), (2e9, 1, 117.6), (2e9, 2, 235.2)],
    ids=["memory", "arithmetic", "two threads"],
)
def test_limit_is_the_lower_of_memory_and_arithmetic(flops: float, threads: int, limit: float) -> None:
    layer = Layer("birds", "x86-64-v4", threads, "n", "k", flops, 2e6, 100)
    assert limit_gflops(parse(document(models=["birds"])), layer) == pytest.approx(limit)


def test_limit_that_was_not_measured_is_unknown() -> None:
    layer = Layer("birds", "aarch64-cortex-a76", 1, "n", "k", 1e6, 1e6, 100)
    assert limit_gflops(parse(document(models=["birds"])), layer) is None
