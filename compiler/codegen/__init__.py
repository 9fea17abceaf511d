"""Code generation: groups, layouts, kernel templates, calls. `generate` is its door."""

from .generate import generate

__all__ = ["generate"]
