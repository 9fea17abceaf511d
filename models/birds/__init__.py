"""The bird detector: rendered camera scenes, a small network, its training, weights and evaluation."""
