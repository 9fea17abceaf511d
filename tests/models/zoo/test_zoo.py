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
    "efficientnet_b0": "1d788dc3272c6fc3fb3598623c2d9b4bbc81e993f86a10499ad64fc2cb98359e",
    "mobilenet_v2": "3d25c102b96d8f1080c6e13932a67a79f01677bece842b9f24db181d92852a28",
    "mobilenet_v3_large": "bcbe903c0b8b769efcb0cbf7c27023c8bbebe22cc4f5b309d564dc02546b0040",
    "resnet18": "5a657ee88aaddf03bd336d37df7c5f836d1c4d6b91e0bab0f7d42b2ee3e0b527",
    "resnet50": "bc6182cb373ca74119bebc4583634755c6783c72c19ee1c425db26ecbce351a1",
    "shufflenet_v2_x1_0": "27bfb7d8494434ae376f17ed02fd0b82beae958c352e164d187c9b7e52a9bcec",
    "squeezenet1_1": "f2f784231a3559b529d6fabf09808a25b21fa3a2ef0b544fb744cb5e68efd7a2",
    "ssdlite320_mobilenet_v3_large": "0c730985a59b533470a870ce77b92656161dd59d78bfbf0f06314821f9769213",
}
# The detector's outputs are boxes and class scores of its 3,234 anchors; all others classify.
SHAPES: dict[str, tuple[tuple[int, ...], list[tuple[int, ...]]]] = {
    name: ((1, 3, 224, 224), [(1, 1000)]) for name in DIGESTS
} | {"ssdlite320_mobilenet_v3_large": ((1, 3, 320, 320), [(1, 3234, 4), (1, 3234, 91)])}


def digest(model: onnx.ModelProto) -> str:
    sha = hashlib.sha256()
    for tensor in model.graph.initializer:
        sha.update(numpy_helper.to_array(tensor).tobytes())
    return sha.hexdigest()


def test_names_come_in_a_fixed_order() -> None:
    assert zoo.names() == tuple(DIGESTS)


@pytest.mark.parametrize("name", DIGESTS)
def test_architecture_is_complete_the_same_every_time_and_of_a_sane_scale(name: str) -> None:
    model = zoo.materialize(name)
    onnx.checker.check_model(model, full_check=True)
    assert digest(model) == DIGESTS[name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (spec,) = session.get_inputs()
    shape, wanted = SHAPES[name]
    assert tuple(spec.shape) == shape
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    outputs: list[np.ndarray[Any, Any]] = [np.asarray(y) for y in session.run(None, {spec.name: image})]
    assert [y.shape for y in outputs] == wanted
    for y in outputs:
        assert np.isfinite(y).all()
        assert 1e-3 < np.abs(y).max() < 1e6


def test_other_seed_gives_other_weights() -> None:
    assert digest(zoo.materialize("squeezenet1_1", seed=1)) != DIGESTS["squeezenet1_1"]


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="efficientnet_b0, mobilenet_v2, "):
        zoo.materialize("../birds/birds")
