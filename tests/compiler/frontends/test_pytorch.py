"""PyTorch models: what is exported computes what the module computes, and what cannot be exported is said."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sanderling
from sanderling import compiler
from sanderling.compiler.errors import ModelError
from sanderling.compiler.frontends import InputSpec, load, load_pytorch
from sanderling.compiler.frontends.pytorch import is_exported_program
from sanderling.compiler.reference import largest_error

torch = pytest.importorskip("torch", reason="`make test` installs PyTorch")
nn = torch.nn


class Heads(nn.Module):  # type: ignore[misc, name-defined]
    """Two inputs, one of them optional, and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 5)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image: Any, scale: Any = None) -> Any:
        x = torch.relu(self.norm(self.convolution(image)))
        if scale is not None:
            x = x * scale
        pooled = self.dropout(x.mean((2, 3)))
        return {"logits": self.linear(pooled), "features": (x, pooled)}


class Attention(nn.Module):  # type: ignore[misc, name-defined]
    """A shifted window with scaled dot-product attention, as vision transformers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Any) -> Any:
        batch, tokens, width = x.shape
        rolled = torch.roll(self.norm(x), 3, dims=1)
        q, k, v = self.qkv(rolled).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + torch.roll(self.out(seen.transpose(1, 2).reshape(x.shape)), -3, dims=1)
        return x + self.mlp(x)


def _seeded(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make()


def _native(tmp_path: Path, module: Any, *examples: Any) -> float:
    """Compile for this machine, and return the largest error against the module."""
    package = tmp_path / "model.sand"
    report = compiler.compile(
        module, example_inputs=examples, output=package, tune="none", database=_database(tmp_path)
    )
    assert all(target.native for target in report.targets.values()), report.unsupported
    with sanderling.load(package, backend="native") as model:
        found = model.run({s.name: x.numpy() for s, x in zip(model.inputs, examples, strict=True)})
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(module.eval()(*examples))
    return max(largest_error(a, b.numpy()) for a, b in zip(found, wanted, strict=True))


def _database(tmp_path: Path) -> Path:
    path = tmp_path / "tuning.jsonl"
    path.touch()
    return path


BLOCKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.Hardswish(),
            nn.Conv2d(12, 12, 5, padding=2, groups=12),
            nn.SiLU(),
            nn.Conv2d(12, 24, 1, groups=3),
            nn.MaxPool2d(3, 2, 1),
            nn.ConvTranspose2d(24, 6, 2, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
            nn.Softmax(1),
        ),
        (1, 3, 32, 40),
    ),
    "segmentation head": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=6, dilation=6),
            nn.GroupNorm(2, 8),
            nn.GELU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(8, 3, 1),
        ),
        (1, 4, 16, 20),
    ),
    "attention": (Attention, (1, 49, 32)),
    "shuffle": (
        lambda: nn.Sequential(nn.ChannelShuffle(2), nn.PixelShuffle(2), nn.PixelUnshuffle(2)),
        (1, 8, 6, 10),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_vision_models_are_native_and_compute_what_pytorch_computes(
    name: str, tmp_path: Path
) -> None:
    make, shape = BLOCKS[name]
    assert _native(tmp_path, _seeded(make), _seeded(lambda: torch.randn(shape))) <= 1e-5


def test_a_module_is_exported_for_evaluation_and_left_as_it_was(tmp_path: Path) -> None:
    module = _seeded(Heads).train()
    module.norm.eval()
    inputs = (torch.randn(2, 3, 9, 9), torch.ones(1) * 0.5)
    proto = load_pytorch(module, inputs)
    assert module.training
    assert module.dropout.training
    assert not module.norm.training
    assert not {"Dropout", "BatchNormalization"} & {node.op_type for node in proto.graph.node}
    assert _native(tmp_path, module, *inputs) <= 1e-5


@pytest.mark.parametrize(
    ("examples", "inputs"),
    [
        (lambda image: image, ["image"]),
        (lambda image: [image], ["image"]),
        (lambda image: {"scale": torch.ones(1), "image": image}, ["image", "scale"]),
    ],
    ids=["tensor", "list", "dict"],
)
def test_inputs_and_outputs_are_named_as_in_forward(
    examples: Callable[[Any], Any], inputs: list[str]
) -> None:
    model = load(_seeded(Heads), example_inputs=examples(torch.zeros(1, 3, 8, 8)))
    assert model.name == "Heads"
    assert {value.name for value in model.proto.graph.input} == set(inputs)
    assert [value.name for value in model.proto.graph.output] == ["logits", "features_0", "features_1"]


def test_one_output_is_named_output_and_several_by_their_place() -> None:
    class Two(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x + 1, x * 2

    names = [value.name for value in load_pytorch(Two(), torch.zeros(3)).graph.output]
    assert names == ["output_0", "output_1"]
    assert [value.name for value in load_pytorch(nn.ReLU(), torch.zeros(3)).graph.output] == ["output"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    class Mean(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, image: Any) -> Any:
            return image.mean((2, 3))

    program = torch.export.export(
        Mean(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes={"image": {0: torch.export.Dim("batch")}}
    )
    path = tmp_path / "mean.pt2"
    torch.export.save(program, path)
    return path


def test_a_saved_program_is_a_model_file_whose_open_dimensions_can_be_fixed(
    saved: Path, tmp_path: Path
) -> None:
    assert is_exported_program(saved)
    with pytest.raises(ModelError, match=r"leaves dimension 0 .* open"):
        load(saved)
    model = load(saved, inputs={"image": InputSpec((4, 3, 8, 8))})
    assert model.name == "mean.pt2"
    renamed = saved.rename(tmp_path / "mean.bin")
    output = tmp_path / "mean.sand"
    command = ["compile", renamed, "-o", output, "--input", "image:1x3x8x8", "--tune", "none"]
    subprocess.run([sys.executable, "-m", "sanderling.cli", *command], check=True, capture_output=True)
    with zipfile.ZipFile(output) as package:
        lineage = json.loads(package.read("manifest.json"))["lineage"]
    assert lineage["source_name"] == "mean.bin"
    assert lineage["producer"].startswith("pytorch ")
    image = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)
    with sanderling.load(output, backend="native") as loaded:
        np.testing.assert_allclose(loaded.run(image)[0], image.mean((2, 3)), rtol=1e-6)


class Branching(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Counting(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x + self.calls


class Random(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x + torch.rand_like(x)


class Constant(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x + 1, 7


class Unknown(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.special.bessel_j0(x)


ZEROS = (3,)
REFUSED: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "no examples": (nn.ReLU, None, "needs example inputs: example_inputs="),
    "examples of another kind": (nn.ReLU, 3, "a int is no tensor"),
    "too few arguments": (Heads, (), "Heads cannot be exported.*image"),
    "wrong shape": (Heads, (2, 3), "Heads cannot be exported"),
    "TorchScript": (lambda: torch.jit.script(nn.ReLU()), ZEROS, "pass the nn.Module itself"),
    "a branch on values": (Branching, ZEROS, "Branching cannot be exported.*must not depend on values"),
    "a state": (Counting, ZEROS, "changes calls when it runs"),
    "randomness": (Random, ZEROS, "anything random"),
    "a constant result": (Constant, ZEROS, "is the constant 7"),
    "an operator that ONNX lacks": (Unknown, ZEROS, "cannot write the program as ONNX.*bessel_j0"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_with_its_cause(name: str) -> None:
    make, shape, text = REFUSED[name]
    examples = torch.zeros(shape) if isinstance(shape, tuple) and shape else shape
    with pytest.raises(ModelError, match=f"(?s){text}"):
        load(make(), example_inputs=examples)


def test_examples_are_refused_where_the_model_has_its_own(saved: Path) -> None:
    program = torch.export.load(saved)
    for source in (saved, program):
        with pytest.raises(ModelError, match="exported program"):
            load(source, example_inputs=(torch.zeros(2, 3, 8, 8),))


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_program_that_is_cut_short_is_refused(saved: Path, kept: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelError, match=r"mean\.pt2"):
        load(saved)


def test_a_damaged_program_is_refused(saved: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pt2"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"{" if name.endswith("models/model.json") else old.read(name))
    with pytest.raises(ModelError, match=r"damaged\.pt2 cannot be read as an exported program"):
        load(damaged)


@pytest.mark.parametrize("what", ["weights", "whole module"])
def test_a_pickled_module_is_refused_with_the_way_out(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.ReLU() if what == "whole module" else nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ModelError, match=r"looks like a PyTorch file.*torch\.export\.save"):
        load(path)


def test_without_pytorch_the_extra_is_named(saved: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from sanderling.cli import main; "
        f"sys.exit(main(['compile', {str(saved)!r}, '-o', {str(saved.with_suffix('.sand'))!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'sanderling[pytorch]'" in done.stderr
    assert not saved.with_suffix(".sand").exists()
