"""Operators whose mathematics we write ourselves: TVM's importer lacks them, or means something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...graph import Graph, Node
from ..computation import Computation
from . import indexing, recurrent, regions, resize

OPERATORS: Mapping[str, Callable[[Graph, Node, str], Computation]] = {
    **indexing.OPERATORS,
    **recurrent.OPERATORS,
    **regions.OPERATORS,
    **resize.OPERATORS,
}

__all__ = ["OPERATORS"]
