"""The models of this repository, compiled whole: native, right, the same bits for any number of threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sanderling
from sanderling import compiler
from sanderling.compiler.target import cpu_flags, find_target
from sanderling.models import zoo

BIRDS = Path(__file__).parents[2] / "models" / "birds" / "birds.onnx"
QUICK = ("birds", "mobilenet_v2", "shufflenet_v2_x1_0", "squeezenet1_1")
MODELS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ("birds", *zoo.names())
]

_FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
TARGETS = [name for name in ("x86-64-v3", "x86-64-v4") if _FLAGS.issuperset(find_target(name).features)]


@pytest.mark.parametrize("name", MODELS)
def test_whole_models_are_native_and_independent_of_threads(name: str, tmp_path: Path) -> None:
    model = BIRDS.read_bytes() if name == "birds" else zoo.materialize(name)
    path = tmp_path / "model.sand"
    compiler.compile(model, output=path, name=name, target=TARGETS, tune="none", verify=False)
    with sanderling.load(path, backend="onnxruntime", threads=1) as reference:
        (spec,) = reference.inputs
        x = np.random.default_rng(1).standard_normal(spec.shape).astype(spec.dtype)
        expected = reference.run(x)
    for target in TARGETS:
        found = []
        for threads in (1, 2, 3, 5):
            with sanderling.load(path, backend="native", variant=target, threads=threads) as native:
                found.append(native.run(x))
                # Not a number in, not a number out: no activation and no pooling swallows it.
                assert all(np.isnan(y).all() for y in native.run(np.full_like(x, np.nan)))
        for y, want in zip(found[0], expected, strict=True):
            assert np.abs(y - want).max() <= 1e-4 * np.abs(want).max()
        bits = {b"".join(y.tobytes() for y in outputs) for outputs in found}
        assert len(bits) == 1
