"""Models compiled for ARM on this machine, run by the cross-built runtime as each core would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import sanderling
from sanderling import compiler
from sanderling.compiler.errors import CompileError
from sanderling.compiler.graph import TensorType
from sanderling.compiler.measure import run_once
from sanderling.compiler.reference import largest_error
from sanderling.compiler.target import find_target, known_targets
from sanderling.models import zoo
from tests.support.emulated import TARGETS, runner

BIRDS = Path(__file__).parents[2] / "models" / "birds" / "birds.onnx"
QUICK = ("birds", "mobilenet_v2")
MODELS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ("birds", *zoo.names())
]


@pytest.mark.parametrize("name", MODELS)
def test_models_run_right_on_arm(name: str, tmp_path: Path) -> None:
    run_right(name, TARGETS, tmp_path)


@pytest.mark.slow
def test_birds_runs_right_on_every_arm_target(tmp_path: Path) -> None:
    others = [name for name, target in known_targets().items() if target.arch == "aarch64"]
    run_right("birds", sorted({*others} - {*TARGETS}), tmp_path)


def run_right(name: str, targets: Sequence[str], tmp_path: Path) -> None:
    """Compile a model and compare its results on every target with ONNX Runtime's."""
    model = BIRDS.read_bytes() if name == "birds" else zoo.materialize(name)
    path = tmp_path / "model.sand"
    report = compiler.compile(model, output=path, name=name, target=targets, tune="none", verify=False)
    assert all(report.targets[target].native for target in targets)
    with sanderling.load(path, backend="onnxruntime", threads=1) as reference:
        (spec,) = reference.inputs
        x = np.random.default_rng(1).standard_normal(spec.shape).astype(spec.dtype)
        expected = dict(zip([output.name for output in reference.outputs], reference.run(x), strict=True))
    types = {key: TensorType(array.dtype.name, array.shape) for key, array in expected.items()}
    for target in map(find_target, targets):
        done = run_once(path, target, inputs={spec.name: x}, outputs=types, threads=2, command=runner(target))
        for key, want in expected.items():
            assert largest_error(done.outputs[key], want) <= 1e-4, (target.name, key)


def test_a_core_refuses_what_it_lacks_before_it_runs_a_kernel(tmp_path: Path) -> None:
    path = tmp_path / "model.sand"
    small, large = map(find_target, TARGETS)
    compiler.compile(BIRDS, output=path, target=large.name, tune="none", verify=False)
    with sanderling.load(path, backend="onnxruntime") as reference:
        (spec,) = reference.inputs
        feeds = {spec.name: np.zeros(spec.shape, spec.dtype)}
    with pytest.raises(CompileError, match=r"needs asimd asimddp .*lacks asimddp asimdhp asimdrdm fphp"):
        run_once(path, large, inputs=feeds, outputs={}, threads=1, command=runner(small))
