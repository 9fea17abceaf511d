"""Random graphs of everything that image models use give what ONNX Runtime gives, on every target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from benchmarks.differential import judged
from tests.support.differential import Court, difference
from tests.support.graphs import parse
from tests.support.random_graphs import OPERATORS, OPSETS, operators, random_graph, random_graphs
from tests.support.shrink import shrunk

SAMPLE = range(1000, 1012)  # every operator set version once
PROOF = range(100)
FRESH = range(100_000, 100_150)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    with Court(tmp_path_factory.mktemp("court")) as court:
        yield court


@pytest.mark.parametrize("seed", SAMPLE)
def test_a_sample_is_right_and_native(court: Court, seed: int) -> None:
    verdict = court.judge(random_graph(seed))
    assert (verdict.wrong, verdict.missing) == ("", ())
    assert verdict.runs >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least"), [(PROOF, 95), (FRESH, 142)], ids=["proof", "fresh"])
def test_all_are_right_and_nearly_all_native(seeds: range, least: int, tmp_path: Path) -> None:
    *_, tally = judged(seeds, tmp_path)
    assert tally.failures == []
    assert tally.right == len(seeds)
    assert tally.native >= least, tally.missing


@pytest.mark.slow
@settings(max_examples=60)
@given(model=random_graphs())
def test_whatever_hypothesis_thinks_of_is_right(court: Court, model: onnx.ModelProto) -> None:
    assert court.judge(model).wrong == ""


def test_the_hundred_graphs_use_every_operator_and_every_version() -> None:
    models = [random_graph(seed) for seed in PROOF]
    used = Counter(op for model in models for op in operators(model))
    assert sorted(used) == sorted(OPERATORS)
    assert {model.opset_import[0].version for model in models} == set(OPSETS)
    assert all(5 <= len(model.graph.node) <= 64 for model in models)
    assert any(len(model.graph.input) > 1 for model in models)
    assert any(len(model.graph.output) > 1 for model in models)


def test_a_seed_gives_the_same_graph_for_ever() -> None:
    data = random_graph(7).SerializeToString(deterministic=True)
    assert data == random_graph(7).SerializeToString(deterministic=True)
    assert data != random_graph(19).SerializeToString(deterministic=True)


def test_a_failing_model_shrinks_to_the_node_that_fails() -> None:
    model = parse(
        """g (float[2,3] x, float[2,3] z) => (float[2,3] y, float[2,3] w) {
            a = Relu(x) b = Add(a, z) c = Sigmoid(b) d = Erf(c) e = Tanh(d) y = Mul(e, a) w = Neg(z)
        }"""
    )
    small = shrunk(model, lambda other: "Erf" in operators(other))
    assert [node.op_type for node in small.graph.node] == ["Erf"]
    onnx.checker.check_model(small)


@pytest.mark.parametrize(
    ("found", "wanted", "fault"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), ""),
        (np.float32([1, 2.001]), np.float32([1, 2]), "error"),
        (np.float32([1, np.nan]), np.float32([1, 2]), "error"),
        (np.float32([1, 2]), np.float32([[1, 2]]), "not float32"),
        (np.int64([1, 2]), np.int64([1, 3]), "1 of 2 elements"),
        (np.int32([1, 2]), np.int64([1, 2]), "not int64"),
        (np.float32([1e-9]), np.float32([0]), ""),
    ],
)
def test_differences_are_named(found: np.ndarray, wanted: np.ndarray, fault: str) -> None:
    text, _ = difference(found, wanted)
    assert text.startswith(fault) if fault.startswith("error") else fault in text
    assert bool(text) == bool(fault)


def test_a_process_that_dies_is_a_verdict_and_the_next_model_is_judged(court: Court) -> None:
    model = parse("g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    court.end_child()
    assert "died" in court.judge(model).wrong
    assert court.judge(model).right
