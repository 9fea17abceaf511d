"""Trains the bird detector: `python -m sanderling.models.birds.train --out DIR`.

About an hour on two cores. Scenes are rendered once into DIR/scenes; checkpoints go to DIR/checkpoint.pt,
the best weights so far to DIR/birds.onnx. Ctrl-C writes a checkpoint; `--resume` goes on from it as if
nothing had happened.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sanderling.models.birds import export
from sanderling.models.birds.data import CANVAS, VALIDATION_SEEDS, Batch, SceneCache
from sanderling.models.birds.decode import Thresholds, decode
from sanderling.models.birds.letterbox import letterbox
from sanderling.models.birds.loss import detection_loss
from sanderling.models.birds.model import MEAN, SIDE, STD, STRIDES, Detector, cells, flatten
from sanderling.models.birds.scenes import Scene, render_scene
from sanderling.models.birds.scoring import Accuracy, score
from sanderling.models.birds.species import LABELS


@dataclass(frozen=True)
class Recipe:
    """What decides the result. Batches depend on (seed, step) alone, so a resumed run sees the same ones."""

    steps: int = 4500
    batch: int = 16
    scenes: int = 16_000
    rate: float = 2e-3
    warm_up: int = 300
    decay: float = 0.02  # weight decay
    average: float = 0.9985  # of the moving average of weights, reached gradually
    clip: float = 8.0  # gradient norm
    seed: int = 0
    check_every: int = 250  # steps between two evaluations
    check_scenes: int = 100


class Trainer:
    """The state of a training run."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step, self.best = recipe, device, 0, -1.0
        self.network = Detector(len(LABELS)).to(device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(_groups(self.network, recipe.decay), lr=recipe.rate)
        self._where = cells(*CANVAS).to(device)

    def advance(self, batch: Batch) -> float:
        """One step of optimisation; returns the loss."""
        rate = _rate(self.recipe, self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        logits, boxes = flatten(self.network(to_input(batch.images, self.device)), self._where)
        truth, labels = (torch.from_numpy(a).to(self.device) for a in (batch.boxes, batch.labels))
        loss = detection_loss(logits, boxes, truth, labels, self._where)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self._optimizer.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        mine, theirs = self.averaged.state_dict(), self.network.state_dict()
        floats = [name for name in mine if mine[name].is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floats], [theirs[n] for n in floats], 1 - keep)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "step": self.step, "best": self.best, "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(), "optimizer": self._optimizer.state_dict(),
        }  # fmt: skip
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.best = state["step"], state["best"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """RGB bytes [B,H,W,3] → the network's input [B,3,H,W]."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def batches(cache: SceneCache, recipe: Recipe, start: int) -> Iterator[Batch]:
    """The batches of steps `start`, `start` + 1, …"""
    for step in range(start, recipe.steps):
        yield cache.batch(np.random.default_rng((recipe.seed, step)), recipe.batch)


def check(network: nn.Module, device: torch.device, scenes: list[Scene]) -> Accuracy:
    """Accuracy on `scenes`."""
    found = []
    with torch.no_grad():
        for scene in scenes:
            square, placement = letterbox(scene.image, SIDE)
            levels = network(to_input(square[None], device))
            named = {
                f"{kind}_{s}": value.cpu().numpy()
                for s, level in zip(STRIDES, levels, strict=True)
                for kind, value in zip(("cls", "box"), level, strict=True)
            }
            detections = decode(named, STRIDES, Thresholds(score=0.01))
            found.append(
                type(detections)(placement.to_image(detections.boxes), detections.scores, detections.labels)
            )
    return score(scenes, found, LABELS)


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(recipe: Recipe, step: int) -> float:
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@contextlib.contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C or a termination came: a step is never cut in the middle."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, lambda number, _: received.append(number)) for s in signals]
    try:
        yield received
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)


def train(trainer: Trainer, cache: SceneCache, out: Path) -> bool:
    """Train to the end; returns False if it was stopped before, with a checkpoint written."""
    recipe = trainer.recipe
    held_out = [render_scene(VALIDATION_SEEDS + i) for i in range(recipe.check_scenes)]
    checkpoint = out / "checkpoint.pt"
    begin, first, losses = time.monotonic(), trainer.step, []
    with _stop_requested() as stop:
        for batch in batches(cache, recipe, trainer.step):
            losses.append(trainer.advance(batch))
            if trainer.step % 50 == 0 or trainer.step == recipe.steps:
                _progress(trainer.step, recipe, float(np.mean(losses[-50:])), time.monotonic() - begin, first)
            if trainer.step % recipe.check_every == 0 or trainer.step == recipe.steps:
                accuracy = check(trainer.averaged, trainer.device, held_out)
                _say(
                    f"step {trainer.step}: mAP@0.5 {accuracy.map50:.4f}, mAP@0.5:0.95 {accuracy.map50_95:.4f}"
                )
                if accuracy.map50 >= trainer.best:
                    trainer.best = accuracy.map50
                    export.save(copy.deepcopy(trainer.averaged).cpu(), out)
                trainer.save(checkpoint)
            if stop:
                trainer.save(checkpoint)
                return False
    return True


def _progress(step: int, recipe: Recipe, loss: float, seconds: float, first: int) -> None:
    per_step = seconds / (step - first)
    left = int(per_step * (recipe.steps - step))
    speed = recipe.batch / per_step
    _say(
        f"step {step}/{recipe.steps}  loss {loss:.4f}  {speed:.1f} images/s  {left // 60}:{left % 60:02} left"
    )


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sanderling.models.birds.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for scenes, checkpoints and weights")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="default: %(default)s")
    parser.add_argument(
        "--scenes", type=int, default=Recipe.scenes, help="rendered for training; %(default)s"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: all cores")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    name = options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(steps=options.steps, scenes=options.scenes, seed=options.seed)
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists() != options.resume:
        hint = "add --resume to go on from it" if checkpoint.exists() else "start without --resume"
        print(f"{checkpoint} {'exists' if checkpoint.exists() else 'is missing'}: {hint}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "recipe.json").write_text(json.dumps(vars(recipe), indent=2) + "\n")

    trainer = Trainer(recipe, torch.device(name))
    if options.resume:
        trainer.restore(checkpoint)
    cache = SceneCache(options.out / "scenes", recipe.scenes)
    cache.prepare(lambda done, total: _say(f"rendered {done}/{total} scenes"))
    if not train(trainer, cache, options.out):
        again = f"python -m {parser.prog.split()[-1]} --out {options.out} --steps {options.steps} --resume"
        _say(f"stopped at step {trainer.step}; go on with: {again}")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
