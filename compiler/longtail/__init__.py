"""The long tail: kernels for every node that no template takes. See `docs/compiler.md`."""

from .lower import KernelFunc, Lowered, lower_node

__all__ = ["KernelFunc", "Lowered", "lower_node"]
