"""Passes: functions Graph → Graph, in the order in which they run, with the verifier between them."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import CompileError
from ..graph import Graph
from ..verifier import verify as check
from .activations import recognize_activations
from .canonicalize import canonicalize
from .eliminate import eliminate
from .fold_affine import fold_affine
from .fold_constants import fold_constants
from .fold_pad import fold_pad
from .normalization import recognize_normalization
from .share import share
from .sink_scale import sink_scale

Pass = Callable[[Graph], Graph]

ONCE: tuple[Pass, ...] = (canonicalize,)
"""What turns an imported graph into a canonical one."""

REPEATED: tuple[Pass, ...] = (
    fold_constants,
    eliminate,
    recognize_activations,
    recognize_normalization,
    fold_affine,
    fold_pad,
    sink_scale,
    share,
)
"""Canonical → canonical; each may make room for the others, so all of them repeat until nothing changes."""

PASSES = ONCE + REPEATED

_MAX_ROUNDS = 20  # each round shortens the graph or spells a node better, so this many are never needed

__all__ = ["ONCE", "PASSES", "REPEATED", "Pass", "run_passes"]


def run_passes(graph: Graph, verify: bool = True) -> Graph:
    """Canonicalise and simplify an imported graph.

    Raises:
        UnsupportedError: a node has no canonical form.
        CompileError: a pass broke the graph (a defect of ours; the text names the pass).
    """
    for step in ONCE:
        graph = _run(step, graph, verify)
    for _ in range(_MAX_ROUNDS):
        before = graph
        for step in REPEATED:
            graph = _run(step, graph, verify)
        if graph is before:
            break
    return graph


def _run(step: Pass, graph: Graph, verify: bool) -> Graph:
    result = step(graph)
    if verify and result is not graph:
        violations = check(result, canonical=True)
        if violations:
            raise CompileError(f"defect in pass {step.__name__}: " + "; ".join(violations[:5]))
    return result
