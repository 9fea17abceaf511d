"""The benchmark architectures come out complete, runnable and the same every time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from sanderling.models import zoo

# SHA-256 over the bytes of all initializers in order, for seed 0: benchmarks of different days use the same
# weights.
DIGESTS: dict[str, str] = {
    "mobilenet_v2": "3d25c102b96d8f1080c6e13932a67a79f01677bece842b9f24db181d92852a28",
    "resnet18": "5a657ee88aaddf03bd336d37df7c5f836d1c4d6b91e0bab0f7d42b2ee3e0b527",
    "squeezenet1_1": "f2f784231a3559b529d6fabf09808a25b21fa3a2ef0b544fb744cb5e68efd7a2",
}


def digest(model: onnx.ModelProto) -> str:
    sha = hashlib.sha256()
    for tensor in model.graph.initializer:
        sha.update(numpy_helper.to_array(tensor).tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_weights_are_the_same_for_the_same_seed(name: str) -> None:
    assert digest(zoo.materialize(name)) == DIGESTS[name]


@pytest.mark.parametrize("name", zoo.names())
def test_runs_and_keeps_a_sane_scale(name: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        zoo.materialize(name).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    (out,) = session.run(None, {session.get_inputs()[0].name: image})
    result: np.ndarray[Any, Any] = np.asarray(out)
    assert result.shape == (1, 1000)
    assert np.isfinite(result).all()
    assert 1e-3 < np.abs(result).max() < 1e6


def test_other_seed_gives_other_weights() -> None:
    assert digest(zoo.materialize("squeezenet1_1", seed=1)) != DIGESTS["squeezenet1_1"]


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="mobilenet_v2, resnet18, squeezenet1_1"):
        zoo.materialize("../birds/birds")
