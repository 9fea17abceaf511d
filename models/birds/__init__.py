"""The bird detector: rendered camera scenes, a small network, its training, weights and evaluation."""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("birds.onnx")
PIPELINE = Path(__file__).with_name("pipeline.json")
