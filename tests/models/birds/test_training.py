"""Training learns, resumes as if nothing had happened, and what it exports computes the same."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="only the `train` extra has PyTorch")

from sanderling.models.birds import export, train  # noqa: E402
from sanderling.models.birds.data import Batch, SceneCache  # noqa: E402
from sanderling.models.birds.loss import assign, generalised_iou, iou  # noqa: E402
from sanderling.models.birds.model import STRIDES, Detector, cells, flatten  # noqa: E402
from sanderling.models.birds.species import LABELS  # noqa: E402

pytestmark = pytest.mark.slow
RECIPE = train.Recipe(steps=40, batch=4, scenes=500, warm_up=5, check_every=40, check_scenes=4)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all training scenes, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("rendered")
    SceneCache(folder, RECIPE.scenes).prepare(lambda done, total: None)
    return folder


@pytest.fixture
def cache(rendered: Path) -> SceneCache:
    cache = SceneCache(rendered, RECIPE.scenes)
    cache.prepare(lambda done, total: None)
    return cache


@pytest.fixture
def out(rendered: Path, tmp_path: Path) -> Path:
    """An output folder of the command with its scenes already rendered."""
    shutil.copytree(rendered, tmp_path / "scenes")
    return tmp_path


def weights(trainer: train.Trainer) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in trainer.averaged.state_dict().items()}


def test_a_few_steps_lower_the_loss(cache: SceneCache) -> None:
    trainer = train.Trainer(RECIPE, torch.device("cpu"))
    losses = [trainer.advance(batch) for batch in train.batches(cache, RECIPE, 0)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_a_resumed_run_gives_the_same_weights(cache: SceneCache, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=6)
    straight = train.Trainer(recipe, torch.device("cpu"))
    for batch in train.batches(cache, recipe, 0):
        straight.advance(batch)

    broken = train.Trainer(recipe, torch.device("cpu"))
    for batch in train.batches(cache, replace(recipe, steps=3), 0):
        # the schedule is the whole run's: only the loop ends early
        broken.advance(batch)
    broken.save(tmp_path / "checkpoint.pt")
    resumed = train.Trainer(replace(recipe, seed=99), torch.device("cpu"))  # other initial weights
    resumed.restore(tmp_path / "checkpoint.pt")
    assert resumed.step == 3
    for batch in train.batches(cache, recipe, resumed.step):
        resumed.advance(batch)
    expected = weights(straight)
    for name, value in weights(resumed).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_command_trains_refuses_to_overwrite_and_resumes(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(out), "--scenes", "500", "--threads", "1", "--device", "cpu"]
    assert train.main([*arguments, "--steps", "2"]) == 0
    assert (out / "birds.onnx").is_file()
    assert train.main([*arguments, "--steps", "3"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert train.main([*arguments, "--steps", "3", "--resume"]) == 0
    assert "step 3/3" in capsys.readouterr().out


def test_interrupt_finishes_the_step_writes_a_checkpoint_and_says_how_to_go_on(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = train.Trainer.advance

    def interrupted(trainer: train.Trainer, batch: Batch) -> float:
        if trainer.step == 1:
            signal.raise_signal(signal.SIGINT)
        return advance(trainer, batch)

    monkeypatch.setattr(train.Trainer, "advance", interrupted)
    assert train.main(["--out", str(out), "--scenes", "500", "--steps", "5", "--device", "cpu"]) == 130
    assert "stopped at step 2" in (said := capsys.readouterr().out)
    assert "--resume" in said
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 2


def test_exported_network_computes_what_the_trained_one_does(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Detector(len(LABELS))
    for module in network.modules():  # batch norms with something to fold
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    network.eval()
    export.save(network, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "birds.onnx", providers=["CPUExecutionProvider"])
    image = torch.randn(1, 3, 320, 320)
    with torch.no_grad():
        expected = network(image)
    for stride, level in zip(STRIDES, expected, strict=True):
        for kind, value in zip(("cls", "box"), level, strict=True):
            (got,) = session.run([f"{kind}_{stride}"], {"image": image.numpy()})
            np.testing.assert_allclose(got, value.numpy(), rtol=1e-3, atol=1e-4)


def test_flattened_outputs_agree_with_the_reference_decoding() -> None:
    from sanderling.models.birds.decode import Thresholds, decode

    torch.manual_seed(0)
    outputs = [
        (torch.randn(1, 7, 320 // s, 320 // s) - 4, torch.randn(1, 4, 320 // s, 320 // s)) for s in STRIDES
    ]
    logits, boxes = flatten(outputs, cells(320, 320))
    named = {
        f"{k}_{s}": v.numpy()
        for s, lv in zip(STRIDES, outputs, strict=True)
        for k, v in zip(("cls", "box"), lv, strict=True)
    }
    found = decode(named, STRIDES, Thresholds(score=0.3, overlap=1.0, most=10_000))
    _, cell, _ = np.nonzero(logits.sigmoid().numpy() >= 0.3)
    expected = boxes[0].numpy()[cell]
    order = np.lexsort(found.boxes.T), np.lexsort(expected.T)
    np.testing.assert_allclose(found.boxes[order[0]], expected[order[1]], rtol=1e-4, atol=1e-3)


def test_every_bird_gets_cells_and_absent_ones_none() -> None:
    where = cells(320, 256)
    true_boxes = torch.tensor([[[40.0, 40, 60, 54], [200, 100, 260, 190], [0, 0, 0, 0]]])
    labels = torch.tensor([[2, 5, -1]])
    torch.manual_seed(0)
    logits = torch.randn(1, len(where), len(LABELS)) - 4
    boxes = torch.cat([where[:, :2] - 15, where[:, :2] + 15], 1)[None]
    targets, matched, positive = assign(logits, boxes, true_boxes, labels, where)
    assert set(targets[0].sum(-1).nonzero().flatten().tolist()) <= set(
        positive[0].nonzero().flatten().tolist()
    )
    for bird, label in ((0, 2), (1, 5)):
        mine = positive[0] & (matched[0] == true_boxes[0, bird]).all(-1)
        assert 1 <= int(mine.sum()) <= 10
        assert set(targets[0][mine].argmax(-1).tolist()) == {label}
    assert float(targets.min()) >= 0
    assert float(targets.max()) <= 1


def test_overlap_measures() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    assert iou(a, a).item() == pytest.approx(1)
    assert iou(a, a + 5).item() == pytest.approx(25 / 175)
    assert generalised_iou(a, a).item() == pytest.approx(1)
    assert generalised_iou(a, a + 90).item() < -0.9
