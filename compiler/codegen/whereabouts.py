"""Where every value of a graph lies, decided before any kernel is built.

What moves data only becomes a view of its input. What is written by a template that follows strides is
written where its reader wants it: into a concatenation, or turned as a later Transpose would turn it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from ..graph import Graph, Node
from ..target import Target
from .channels import Channels
from .groups import Group, is_attention
from .strided import (
    Placed,
    place_attention,
    place_blocked_chain,
    place_chain,
    place_copy,
    place_matmul,
    place_rows,
)
from .views import MOVES, View, coalesced, contiguous, in_blocks, moved, reshaped, sliced, transposed


class Whereabouts:
    """Filled group by group, in order: `settle` or `place` each."""

    def __init__(self, graph: Graph, groups: Sequence[Group], target: Target) -> None:
        self._graph, self._lanes = graph, target.lanes
        self._views: dict[str, View] = {}
        self._wanted = _destinations(graph, groups)
        self.placed: dict[str, Placed] = {}  # by the group's output
        self.joins: dict[str, list[Placed]] = {}  # by the concatenation's name: copies of its parts
        self.moves: set[str] = set()  # nodes that need no call
        self.channels = Channels(graph, target.lanes)
        self.blocked: set[str] = set()  # what can be had in channel blocks, though no kernel writes it so

    def look(self, value: str) -> View:
        """Where a value lies."""
        found = self._views.get(value)
        return found if found is not None else contiguous(value, self._graph.types[value].shape)

    def own(self, value: str, *, blocked: bool) -> View | None:
        """A value in memory of its own, None if strides cannot describe that."""
        shape = self._graph.types[value].shape
        return in_blocks(value, shape, self._lanes) if blocked else contiguous(value, shape)

    def is_same(self, view: View, own: View) -> bool:
        """Whether a view has its elements in the same order in memory as the value's own memory would."""
        return coalesced(view.axes) == coalesced(own.axes)

    def settle(self, value: str, *, blocked: bool) -> None:
        """A template without strides writes the value."""
        if not blocked:
            return
        self.channels.root(value)
        own = self.own(value, blocked=True)
        if own is not None:
            self._views[value] = own

    def place(self, group: Group, blocked: Set[str]) -> Placed | None:
        """Finds a template with strides, or a view. `blocked`: values that exist in channel blocks."""
        node = group.nodes[0]
        self.channels.follow(node)
        self.blocked |= {value for value in node.outputs if self.channels.picks(value) is not None}
        if node.op in MOVES and self._move(node):
            self.moves.add(node.name)
            return None
        kinds = {self._graph.types[v].dtype for n in group.nodes for v in (*n.inputs, *n.outputs) if v}
        if kinds != {"float32"}:
            return None
        if node.op == "Concat":
            self._join(node)
            return None
        placed = self._template(group, blocked)
        if placed is not None:
            self.placed[group.output] = placed
            if placed.output.blocked:
                self.settle(group.output, blocked=True)
            else:
                self._views[group.output] = placed.output
        return placed

    def _template(self, group: Group, blocked: Set[str]) -> Placed | None:
        graph, wanted = self._graph, self._destination(group)
        if group.anchor is None:
            if not group.steps:
                return None
            if group.source in blocked:
                found = place_blocked_chain(graph, group, self.look, self._lanes)
                if found is not None:
                    return found
            return place_chain(graph, group, self.look, wanted)
        if is_attention(group):
            return place_attention(graph, group, self.look, wanted)
        if group.anchor.op == "MatMul":
            return place_matmul(graph, group, self.look, wanted)
        if group.anchor.op in ("Softmax", "LayerNormalization"):
            return place_rows(graph, group, self.look, wanted, self._lanes)
        return None

    def _destination(self, group: Group) -> View | None:
        """Where the output is wanted, unless the same call reads from there."""
        wanted = self._wanted.get(group.output)
        if wanted is None or any(self.look(value).root == wanted.root for value in group.reads()):
            return None
        return wanted

    def _move(self, node: Node) -> bool:
        """Makes the outputs views of the input, or of a row-major copy of it."""
        source = node.inputs[0]
        if source in self._graph.constants:
            return False
        types = self._graph.types
        if types[source].dtype != "float32" and not set(node.outputs).isdisjoint(self._graph.outputs):
            return False  # what is handed out may have to be copied, and copies are of float32
        outputs = [index for index, value in enumerate(node.outputs) if value]
        for view in (self.look(source), contiguous(source, types[source].shape)):
            found = {node.outputs[index]: moved(node, view, index) for index in outputs}
            if all(view is not None for view in found.values()) and (
                types[source].dtype == "float32"
                or all(view is not None and view.is_dense for view in found.values())
            ):
                break
        else:
            return False
        for value, result in found.items():
            assert result is not None
            self._views[value] = result
            shape = types[value].shape
            own = in_blocks(value, shape, self._lanes) if len(shape) > 2 and result.blocked else None
            if own is not None and self.is_same(result, own):
                self.blocked.add(value)
        return True

    def _join(self, node: Node) -> None:
        """A concatenation in row-major order: what was not written in place is copied."""
        output = node.outputs[0]
        own, wanted = contiguous(output, self._graph.types[output].shape), self._wanted.get(output)
        parts = _parts(self._graph, node, wanted) if wanted is not None else None
        # A part that lies in the same memory, but elsewhere, could not be read while this is written.
        clear = parts and all(
            _is_at(self.look(value), part) or self.look(value).root != part.root for value, part in parts
        )
        whole = wanted if wanted is not None and clear else own
        self._views[output] = whole
        copies = []
        for value, part in _parts(self._graph, node, whole) or []:
            view = self.look(value)
            if _is_at(view, part):
                continue
            found = place_copy(view, part) or place_copy(
                contiguous(value, self._graph.types[value].shape), part
            )
            if found is None:
                del self._views[output]
                return
            copies.append(found)
        self.joins[node.name] = copies


def _is_at(view: View, part: View) -> bool:
    same = (view.root, view.blocked, view.offset) == (part.root, part.blocked, part.offset)
    return same and coalesced(view.axes) == coalesced(part.axes)


def _parts(graph: Graph, node: Node, whole: View) -> list[tuple[str, View]] | None:
    """The operands of a concatenation, and where each belongs; None if strides cannot say that."""
    axis = int(str(node.attributes["axis"]))
    found, start = [], 0
    for value in node.inputs:
        size = graph.types[value].shape[axis]
        part = sliced(whole, axis, start, size)
        if part is None:
            return None
        found.append((value, part))
        start += size
    return found


def _destinations(graph: Graph, groups: Sequence[Group]) -> dict[str, View]:
    """Where values had better be written: found backwards, from who reads them."""
    wanted: dict[str, View] = {}
    for group in reversed(groups):
        node = group.nodes[0]
        if node.op not in ("Transpose", "Reshape", "Concat") or not node.outputs[0]:
            continue
        output = node.outputs[0]
        whole = wanted.get(output) or contiguous(output, graph.types[output].shape)
        if node.op == "Concat":
            candidates = _parts(graph, node, whole) or []
        else:
            source = node.inputs[0]
            candidates = [(source, found)] if (found := _before(graph, node, whole, wanted)) else []
        for value, view in candidates:
            readers = graph.consumers.get(value, ())
            if (
                len(readers) == 1
                and node.inputs.count(value) == 1
                and value not in graph.outputs
                and value not in graph.inputs
                and value not in graph.constants
            ):
                wanted[value] = view
    return wanted


def _before(graph: Graph, node: Node, whole: View, wanted: dict[str, View]) -> View | None:
    """Where the input of a Transpose or Reshape must lie for its output to lie at `whole`."""
    shape = graph.types[node.inputs[0]].shape
    if node.op == "Reshape":
        output = node.outputs[0]
        return reshaped(whole, shape) if output in wanted or output in graph.outputs else None
    perm = [int(str(axis)) for axis in node.attributes["perm"]]  # type: ignore[union-attr]
    if perm[-1] != len(perm) - 1:
        return None
    return transposed(whole, [perm.index(axis) for axis in range(len(perm))])
