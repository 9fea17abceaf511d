"""The bird detector: rendered camera scenes, a small network, its training, its weights and their evaluation."""
