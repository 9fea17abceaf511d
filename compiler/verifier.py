"""What must hold of every graph, as a table of rules; run after every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .canonical import COMMUTATIVE, FORMS, ShapeError
from .graph import Graph, TensorType

Rule = Callable[[Graph], Iterator[str]]


def verify(graph: Graph, canonical: bool = False) -> list[str]:
    """All violations, each as one sentence; empty if the graph is well-formed.

    Args:
        canonical: whether nodes must be in canonical form, too.
    """
    found = _violations(RULES, graph)
    if found or not canonical:
        return found  # the canonical rules rely on a well-formed graph
    return _violations(CANONICAL_RULES, graph)


def _violations(rules: Mapping[str, Rule], graph: Graph) -> list[str]:
    return [f"{name}: {violation}" for name, rule in rules.items() for violation in rule(graph)]


def _unique_names(graph: Graph) -> Iterator[str]:
    seen: set[str] = set()
    for node in graph.nodes:
        if not node.name or node.name in seen:
            yield f"node name {node.name!r} is empty or not unique"
        seen.add(node.name)


def _unique_producers(graph: Graph) -> Iterator[str]:
    seen = set(graph.inputs)
    for name in graph.inputs:
        if name in graph.constants:
            yield f"{name!r} is both an input and a constant"
    seen.update(graph.constants)
    for node in graph.nodes:
        for value in node.outputs:
            if value and value in seen:
                yield f"{value!r} is made again by {node.name!r}"
            seen.add(value)


def _topological_order(graph: Graph) -> Iterator[str]:
    known = {"", *graph.inputs, *graph.constants}
    for node in graph.nodes:
        for value in node.inputs:
            if value not in known:
                yield f"{node.name!r} reads {value!r} before anything makes it"
        known.update(node.outputs)


def _typed(graph: Graph) -> Iterator[str]:
    values = {
        *graph.inputs,
        *graph.constants,
        *(value for node in graph.nodes for value in node.outputs if value),
    }
    for value in sorted(values - graph.types.keys()):
        yield f"{value!r} has no type"
    for value in sorted(graph.types.keys() - values):
        yield f"type of {value!r}, which does not exist"


def _interface(graph: Graph) -> Iterator[str]:
    made = {value for node in graph.nodes for value in node.outputs}
    if not graph.outputs:
        yield "the graph has no output"
    for names, kind in ((graph.inputs, "input"), (graph.outputs, "output")):
        if len(set(names)) < len(names) or "" in names:
            yield f"{kind} names are empty or not unique"
    for value in graph.outputs:
        if value not in made:
            yield f"output {value!r} is made by no node"


def _constants(graph: Graph) -> Iterator[str]:
    for name, array in graph.constants.items():
        found = TensorType(str(array.dtype), array.shape)
        if graph.types.get(name) != found:
            yield f"constant {name!r} is {found}, but its type says {graph.types.get(name)}"


RULES: Mapping[str, Rule] = {
    "unique names": _unique_names,
    "unique producers": _unique_producers,
    "topological order": _topological_order,
    "every value typed": _typed,
    "interface": _interface,
    "constants agree with types": _constants,
}


def _canonical_attributes(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        form = FORMS.get(node.op)
        if form is None:
            continue
        found = {name: type(value) for name, value in node.attributes.items()}
        if found != form.attributes:
            yield f"{node.name!r} ({node.op}) has attributes {found}, not {dict(form.attributes)}"


def _canonical_inputs(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        form = FORMS.get(node.op)
        if form is not None and form.inputs not in (-1, len(node.inputs)):
            yield f"{node.name!r} ({node.op}) has {len(node.inputs)} inputs, not {form.inputs}"
        if (
            node.op in COMMUTATIVE
            and len(node.inputs) == 2
            and node.inputs[0] in graph.constants
            and node.inputs[1] not in graph.constants
        ):
            yield f"{node.name!r} ({node.op}) has its constant first"


def _shapes(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        form = FORMS.get(node.op)
        if form is None or form.infer is None:
            continue
        try:
            expected = form.infer(node, [graph.types[value] if value else None for value in node.inputs])
        except (ShapeError, KeyError, ValueError, IndexError) as error:
            yield f"{node.name!r} ({node.op}): {error}"
            continue
        for value, type_ in zip(node.outputs, expected, strict=True):
            if value and graph.types[value] != type_:
                yield f"{node.name!r} ({node.op}) makes {type_}, but {value!r} is {graph.types[value]}"


CANONICAL_RULES: Mapping[str, Rule] = {
    "canonical attributes": _canonical_attributes,
    "canonical inputs": _canonical_inputs,
    "shapes follow": _shapes,
}
