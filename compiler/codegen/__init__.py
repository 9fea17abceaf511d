"""Code generation: groups, layouts, kernel templates, calls. `generate` is its door."""

from .generate import generate, unsupported_nodes

__all__ = ["generate", "unsupported_nodes"]
