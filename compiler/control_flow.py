"""If and Loop, as exporters write them: what is decided when the model is compiled is followed right away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, NodeProto

from .errors import UnsupportedError

if TYPE_CHECKING:
    from .importer import Importer

_MAX_ROUNDS = 1024


def follow_if(importer: Importer, node: NodeProto) -> None:
    """The branch that a constant takes; if the data decides, both, and a choice between their results."""
    condition = importer.constant(node.input[0])
    then, otherwise = (_body(node, name) for name in ("then_branch", "else_branch"))
    if condition is not None:
        results = importer.inside(then if condition.reshape(-1)[0] else otherwise)
        for result, output in zip(results, node.output, strict=True):
            importer.alias(result, output)
        return
    name, chooser = importer.name(node), importer.resolve(node.input[0])
    pairs = zip(importer.inside(then), importer.inside(otherwise), node.output, strict=True)
    for yes, no, output in pairs:
        types = importer.types[yes], importer.types[no]
        if types[0] != types[1] or importer.is_bounded(yes) or importer.is_bounded(no):
            reason = f"the data decides what shape {output!r} has: {types[0].shape} or {types[1].shape}"
            raise UnsupportedError(name, "If", reason)
        if len(importer.types[chooser].shape) > len(types[0].shape):
            raise UnsupportedError(name, "If", f"its condition of shape {importer.types[chooser].shape}")
        importer.make("Where", (chooser, yes, no), output, types[0])


def follow_loop(importer: Importer, node: NodeProto) -> None:
    """All rounds one after another, if their number does not depend on the data."""
    name, body = importer.name(node), _body(node, "body")
    most = importer.constant(node.input[0]) if node.input[0] else None
    goes_on = importer.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array(True)
    if goes_on is None or (most is None and node.input[0]):
        raise UnsupportedError(name, "Loop", "the data decides how often it runs")
    state = [importer.resolve(value) for value in node.input[2:]]
    collected: list[list[str]] = [[] for _ in node.output[len(state) :]]
    rounds = 0
    while goes_on.reshape(-1)[0] and (most is None or rounds < int(most.reshape(-1)[0])):
        if rounds == _MAX_ROUNDS:
            raise UnsupportedError(name, "Loop", f"it runs more than {_MAX_ROUNDS} times")
        start = (importer.given("round", np.array(rounds, np.int64)), importer.given("go_on", goes_on))
        inputs = dict(zip((value.name for value in body.input), (*start, *state), strict=True))
        decision, *results = importer.inside(body, inputs)
        state, found = results[: len(state)], results[len(state) :]
        for values, value in zip(collected, found, strict=True):
            values.append(value)
        decided = importer.constant(decision)
        if decided is None:
            raise UnsupportedError(name, "Loop", "the data decides when it ends")
        goes_on, rounds = decided, rounds + 1
    for value, output in zip(state, node.output, strict=False):
        importer.alias(value, output)
    for values, output in zip(collected, node.output[len(state) :], strict=True):
        if not output:
            continue
        if not values:
            raise UnsupportedError(name, "Loop", f"it never runs, so {output!r} is empty")
        importer.stack(values, output)


def _body(node: NodeProto, name: str) -> GraphProto:
    found: Any = next(attribute.g for attribute in node.attribute if attribute.name == name)
    return found
