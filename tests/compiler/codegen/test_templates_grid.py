"""Every template over a generated grid (`families.py`), with every configuration it offers, on every target,
with inputs and outputs at every address modulo 64, against ONNX Runtime.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanderling.compiler.codegen import generate
from sanderling.compiler.evaluate import evaluate
from sanderling.compiler.graph import Graph
from sanderling.compiler.program import Program
from sanderling.compiler.target import Target

from .cases import Case
from .conftest import TARGETS, Machine, assert_close, random_feeds
from .families import ENDS, FAMILIES, ends

EXAMPLES = 8  # of each family and target; the slow test takes many more, and all their configurations
OFFSETS = st.integers(0, 63)


def _compile(graph: Graph, target: Target, pick: int) -> tuple[Program, int]:
    """A program with the `pick`-th configuration of every template, and the most that any template has."""
    most = 1

    def choose(works: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal most
        configs = {key: module.candidates(work, target) for key, (work, module) in works.items()}
        most = max([most, *map(len, configs.values())])
        return {key: found[pick % len(found)] for key, found in configs.items()}

    return generate(graph, target, choose), most


def _holds(case: Case, target: Target, pick: int, offset: int, out_offset: int) -> int:
    """Compares one configuration; how many there are."""
    program, most = _compile(case.graph, target, pick)
    kinds = [call.kind for call in program.calls]
    assert case.kinds.issuperset(kind.split()[0] for kind in kinds), f"not by templates: {kinds}"
    rng = np.random.default_rng(case.seed)
    feeds = random_feeds(case.graph, rng)
    with tempfile.TemporaryDirectory() as folder:
        got = Machine(program, Path(folder), offset, out_offset).run(feeds, rng)
    rounding = 5e-5 if any("winograd" in kind for kind in kinds) else 1e-5
    assert_close(got, evaluate(case.graph, feeds), limit=rounding, what=kinds)
    return most


@pytest.mark.parametrize("family", FAMILIES)
def test_a_template_agrees_with_onnxruntime(family: str, target: Target) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, database=None, report_multiple_bugs=False)
    @given(case=FAMILIES[family], pick=st.integers(0, 9), offset=OFFSETS, out_offset=OFFSETS)
    def holds(case: Case, pick: int, offset: int, out_offset: int) -> None:
        _holds(case, target, pick, offset, out_offset)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, indirect=True)  # an emulator would take hours
@pytest.mark.parametrize("family", FAMILIES)
def test_every_configuration_agrees_with_onnxruntime(family: str, target: Target) -> None:
    @settings(max_examples=150, print_blob=True)
    @given(case=FAMILIES[family], offset=OFFSETS, out_offset=OFFSETS)
    def holds(case: Case, offset: int, out_offset: int) -> None:
        pick, most = 0, 1
        while pick < most:
            most = _holds(case, target, pick, offset, out_offset)
            pick += 1

    holds()


def _at_offsets(name: str, target: Target, folder: Path, offsets: Iterable[tuple[int, int]]) -> None:
    graph = ends(name)
    program, _ = _compile(graph, target, 0)
    rng = np.random.default_rng(3)
    feeds = random_feeds(graph, rng)
    want = evaluate(graph, feeds)
    machine = Machine(program, folder)
    for offset, out_offset in offsets:
        machine.move(offset, out_offset)
        assert_close(machine.run(feeds, rng), want, what=(offset, out_offset))


@pytest.mark.parametrize("name", ENDS)
def test_inputs_and_outputs_may_lie_anywhere(name: str, target: Target, tmp_path: Path) -> None:
    # Both take every value, in pairs far apart.
    _at_offsets(name, target, tmp_path, [(offset, (37 * offset + 11) % 64) for offset in range(64)])


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, indirect=True)
@pytest.mark.parametrize("name", ENDS)
def test_inputs_and_outputs_may_lie_anywhere_in_any_pair(name: str, target: Target, tmp_path: Path) -> None:
    _at_offsets(name, target, tmp_path, itertools.product(range(64), repeat=2))
