"""The limits of a core are measured by kernels that do what they say, and the numbers are possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sanderling import load
from sanderling.compiler import limits
from sanderling.compiler.limits import Limits, measure_limits
from sanderling.compiler.measure import runs_here
from sanderling.compiler.package import Package, make_variant, write_package
from sanderling.compiler.program import Program
from sanderling.compiler.serve import Server
from sanderling.compiler.target import Target, known_targets

TARGETS = [target for target in known_targets().values() if runs_here(target)]


def _run(program: Program, target: Target, folder: Path, values: np.ndarray) -> np.ndarray:
    variant = make_variant(program, target)
    package = Package("m", "1.0.0", program.inputs, program.outputs, model_onnx=b"", variants=(variant,))
    write_package(folder / "m.sand", package)
    with load(folder / "m.sand", backend="native", threads=1) as model:
        return model.run(values)[0]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_arithmetic_kernel_does_all_its_steps(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_STEPS", 3)
    factors = np.repeat(np.array([2.0, 1.0], np.float32), target.lanes)
    found = _run(limits.multiply_add_program(target), target, tmp_path, factors)
    first = np.repeat(np.arange(1.0, found.size // target.lanes + 1), target.lanes)
    np.testing.assert_array_equal(found, 8 * first + 7)


def test_reading_kernel_reads_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_READ_BYTES", 1 << 14)
    found = _run(limits.read_program(TARGETS[0]), TARGETS[0], tmp_path, np.arange(1 << 12, dtype=np.float32))
    assert found.sum() == (1 << 12) * ((1 << 12) - 1) / 2


def test_limits_are_possible(tmp_path: Path) -> None:
    with Server() as server:
        found = measure_limits(server, TARGETS, tmp_path)
    assert found.fma_gflops.keys() == {target.name for target in TARGETS}
    for target in TARGETS:
        # From a tenth of a slow clock to two units at 6 GHz.
        assert 0.1 * target.lanes < found.fma_gflops[target.name] < 2 * 2 * 6 * target.lanes
    assert found.memory_gbps is not None
    assert 0.1 < found.memory_gbps < 1000
    assert list(tmp_path.iterdir()) == []


def test_targets_of_other_machines_are_left_out(tmp_path: Path) -> None:
    foreign = [target for target in known_targets().values() if not runs_here(target)]
    with Server() as server:
        assert measure_limits(server, foreign, tmp_path) == Limits({}, None)
