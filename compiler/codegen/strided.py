"""Which strided template takes a group, and where its kernel reads and writes: views instead of copies.

Every function gets the group, `look` (where a value lies) and `wanted` (where the output had better be
written, because that saves a copy later). A value that a kernel cannot read where it lies is asked for in
row-major order: whoever emits the call makes that copy once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from ..graph import Array, Graph
from .groups import Group, channel_axis, channel_vector
from .views import Axes, View, coalesced, contiguous, expanded, in_blocks, joined, refined
from .workload import Attention, Columns, Map, MatMul, Permute, Rows, ceil_div

Look = Callable[[str], View]
Loops = list[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Placed:
    """A workload with what its kernel reads, in the order of its arguments, and what it writes. `arrays`:
    roots among them that are no values of the graph.
    """

    work: Map | Permute | MatMul | Attention | Rows | Columns
    reads: tuple[View, ...]
    output: View
    arrays: dict[str, Array] = field(default_factory=dict)


def _along(loops: Loops) -> Loops:
    """In the order in which the last tensor, the output, lies in memory."""
    return joined(sorted(loops, key=lambda loop: -loop[1][-1]))


def _walked(views: Sequence[View]) -> Loops | None:
    loops = refined([view.axes for view in views])
    return None if loops is None else _along(loops) or [(1, (1,) * len(views))]


def _is_vector(view: View, output: View) -> bool:
    """Whether a view goes along with the output's consecutive elements, or stays the same."""
    loops = _walked((view, output))
    return loops is not None and loops[-1][1][0] in (0, 1) and loops[-1][1][1] == 1


def place_copy(source: View, output: View) -> Placed | None:
    """The copy of one view to another of the same shape; None if their axes cut the elements differently."""
    loops = _walked((source, output))
    if loops is None or loops[-1][1][1] != 1:
        return None
    extents, (read, write) = _unzipped(loops, 2)
    inner = next((index for index, stride in enumerate(read) if stride == 1 and extents[index] > 1), None)
    if read[-1] in (0, 1) or inner is None:
        return Placed(Map(extents, read, (), write, ()), (source,), output)
    outer = [index for index in range(len(extents) - 1) if index != inner]
    work = Permute(
        tuple(extents[index] for index in outer),
        tuple(read[index] for index in outer),
        tuple(write[index] for index in outer),
        rows=extents[-1],
        columns=extents[inner],
        read_stride=read[-1],
        write_stride=write[inner],
    )
    return Placed(work, (source,), output)


def _unzipped(loops: Loops, count: int) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    extents = tuple(extent for extent, _ in loops)
    return extents, [tuple(strides[index] for _, strides in loops) for index in range(count)]


def place_chain(graph: Graph, group: Group, look: Look, wanted: View | None) -> Placed | None:
    """Element-wise nodes in row-major order."""
    shape = graph.types[group.output].shape
    values = [group.source, *group.operands]
    output = wanted or contiguous(group.output, shape)
    views = []
    for value in values:
        view = expanded(look(value), shape)
        views.append(view if _is_vector(view, output) else _plain(graph, value, shape))
    plain = [_plain(graph, value, shape) for value in values]
    for reads, target in ((views, output), (plain, contiguous(group.output, shape))):
        loops = _walked([*reads, target])
        if loops is None or loops[-1][1][-1] != 1 or any(n not in (0, 1) for n in loops[-1][1]):
            continue
        extents, (source, *operands, write) = _unzipped(loops, len(reads) + 1)
        return Placed(Map(extents, source, tuple(operands), write, group.steps), tuple(reads), target)
    return None


def _plain(graph: Graph, value: str, shape: Sequence[int]) -> View:
    return expanded(contiguous(value, graph.types[value].shape), shape)


def place_blocked_chain(graph: Graph, group: Group, look: Look, lanes: int) -> Placed | None:
    """Element-wise nodes on a tensor in channel blocks; the last block may have lanes without meaning."""
    batch, channels, *image = graph.types[group.output].shape
    axis = channel_axis(None, 2 + len(image))
    padded = ceil_div(channels, lanes) * lanes
    shape = (batch, padded, *image)
    per_channel = (batch, padded, *(1,) * len(image))
    arrays: dict[str, Array] = {}
    views: list[View] = []
    output = in_blocks(group.output, shape, lanes)
    source = in_blocks(group.source, shape, lanes)
    assert output is not None
    assert source is not None
    kinds = [step.operand for step in group.steps if step.takes_argument]
    for kind, value in zip(kinds, group.operands, strict=True):
        view: View | None
        if kind == "tensor":
            view = in_blocks(value, shape, lanes)
        elif kind == "channel_tensor":
            view = in_blocks(value, per_channel, lanes)
        elif kind == "channel":
            if axis != 1:
                return None
            vector = channel_vector(graph.constants[value], graph.types[group.output].shape, axis)
            assert vector is not None
            root = f"{group.name}.{value}"
            arrays[root] = np.pad(vector, (0, padded - channels))
            view = contiguous(root, (1, *per_channel[1:]))
        else:
            kept = graph.types[value].shape
            kept = (1,) * (len(shape) - len(kept)) + kept
            view = expanded(look(value), kept) if kept[1] == 1 else None
        if view is None:
            return None
        views.append(expanded(view, shape))
    loops = _walked([source, *views, output])
    if loops is None or any(stride not in (0, 1) for stride in loops[-1][1]):
        return None
    extents, (read, *operands, write) = _unzipped(loops, len(views) + 2)
    return Placed(Map(extents, read, tuple(operands), write, group.steps), (source, *views), output, arrays)


def place_matmul(graph: Graph, group: Group, look: Look, wanted: View | None) -> Placed | None:
    """A matrix product of two variables, with the element-wise nodes after it."""
    assert group.anchor is not None
    values = [*group.anchor.inputs, *group.operands]
    shapes = [graph.types[value].shape for value in values[:2]]
    if any(len(shape) < 2 for shape in shapes):
        return None
    shape = graph.types[group.output].shape
    (rows, inner), columns = shapes[0][-2:], shapes[1][-1]
    targets = [(*shape[:-2], rows, inner), (*shape[:-2], inner, columns)]
    targets += [shape] * len(group.operands)
    rules = [_is_matrix, _is_readable, *[_is_operand] * len(group.operands)]
    reads = []
    for value, target, rule in zip(values, targets, rules, strict=True):
        view = expanded(look(value), target)
        reads.append(view if rule(view) else _plain(graph, value, target))
    plain = [_plain(graph, value, target) for value, target in zip(values, targets, strict=True)]
    output = contiguous(group.output, shape)
    for views, write in ((reads, wanted), (reads, output), (plain, output)):
        if write is None or not (_is_operand(write) and all(map(_fits, rules, views))):
            continue
        found = _batched([*views, write])
        if found is None:
            continue
        extents, (first, second, *operands, target) = found
        second = _adjusted(second, inner, columns)
        work = MatMul(extents, rows, inner, columns, first, second, tuple(operands), target, group.steps)
        return Placed(work, tuple(views), write)
    return None


def place_attention(graph: Graph, group: Group, look: Look, wanted: View | None) -> Placed | None:
    """Product, softmax, product: see `groups.is_attention`."""
    scores = graph.types[group.anchor.outputs[0] if group.anchor else ""].shape
    first, last = group.nodes[0], group.nodes[-1]
    shape = graph.types[group.output].shape
    inner, width = graph.types[first.inputs[0]].shape[-1], shape[-1]
    values = [*first.inputs, last.inputs[1], *group.operands]
    batch = shape[:-2]
    (rows, keys), whole = scores[-2:], (*batch, *scores[-2:])
    targets = [(*batch, rows, inner), (*batch, inner, keys), (*batch, keys, width)]
    targets += [whole] * len(group.operands)
    rules = [_is_matrix, _is_readable, *[_is_operand] * (1 + len(group.operands))]
    reads = []
    for value, target, rule in zip(values, targets, rules, strict=True):
        view = expanded(look(value), target)
        reads.append(view if rule(view) else _plain(graph, value, target))
    plain = [_plain(graph, value, target) for value, target in zip(values, targets, strict=True)]
    output = contiguous(group.output, shape)
    for views, write in ((reads, wanted), (reads, output), (plain, output)):
        if write is None or not (_is_operand(write) and all(map(_fits, rules, views))):
            continue
        found = _batched([*views, write])
        if found is None:
            continue
        extents, (query, key, value_, *operands, target_) = found
        work = Attention(
            extents, rows, inner, keys, width, query, _adjusted(key, inner, keys),
            _adjusted(value_, keys, width), tuple(operands), target_, group.steps,
        )  # fmt: skip
        return Placed(work, tuple(views), write)
    return None


def _batched(views: Sequence[View]) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Extents of the loops over matrices, and each matrix's strides in them, by rows and by columns."""
    loops = refined([tuple(axis for axes in view.dims[:-2] for axis in axes) for view in views])
    if loops is None:
        return None
    extents, strides = _unzipped(_along(loops), len(views))
    return extents, [
        (*batch, *map(_step, view.dims[-2:])) for batch, view in zip(strides, views, strict=True)
    ]


def _adjusted(strides: tuple[int, ...], rows: int, columns: int) -> tuple[int, ...]:
    """A step of a dimension of size 1 is never taken: it may count as consecutive."""
    if rows == 1 or columns == 1:
        return (*strides[:-2], strides[-2] or 1, strides[-1] or 1)
    return strides


def _fits(rule: Callable[[View], bool], view: View) -> bool:
    return rule(view)


def _step(axes: Axes) -> int:
    joined_axes = coalesced(axes)
    return joined_axes[0].stride if joined_axes else 0


def _is_matrix(view: View) -> bool:
    return all(len(coalesced(axes)) <= 1 for axes in view.dims[-2:])


def _is_readable(view: View) -> bool:
    """Whether rows or columns are consecutive."""
    steps = [_step(axes) for axes in view.dims[-2:]]
    return _is_matrix(view) and (1 in steps or steps == [0, 0])


def _is_operand(view: View) -> bool:
    return _is_matrix(view) and _step(view.dims[-1]) in (0, 1)


def place_rows(graph: Graph, group: Group, look: Look, wanted: View | None, lanes: int) -> Placed | None:
    """Softmax or layer normalisation."""
    node = group.anchor
    assert node is not None
    shape = graph.types[group.output].shape
    axis = int(str(node.attributes["axis"]))
    if node.op == "Softmax" and prod(shape[axis + 1 :]) != 1:
        return _place_columns(graph, group, look, wanted, axis)
    parameters = [value for value in node.inputs[1:] if value]
    if any(value not in graph.constants for value in parameters):
        return None
    source, output = look(group.source), wanted or contiguous(group.output, shape)
    plain = contiguous(group.source, shape), contiguous(group.output, shape)
    for read, write in ((source, output), (plain[0], output), (source, plain[1]), plain):
        if not (_is_row(read, axis) and _is_row(write, axis)):
            continue
        loops = refined([tuple(a for axes in view.dims[:axis] for a in axes) for view in (read, write)])
        if loops is None:
            continue
        extents, (step_in, step_out) = _unzipped(_along(loops), 2)
        length = prod(shape[axis:])
        if node.op == "Softmax":
            work = Rows("softmax", extents, length, step_in, step_out)
            return Placed(work, (read,), write)
        epsilon = float(str(node.attributes["epsilon"]))
        work = Rows("layernorm", extents, length, step_in, step_out, epsilon, len(parameters) > 1)
        whole = ceil_div(length, lanes) * lanes
        arrays = {
            f"{group.name}.{value}": np.pad(graph.constants[value].reshape(-1), (0, whole - length))
            for value in parameters
        }
        rows = [contiguous(root, array.shape) for root, array in arrays.items()]
        return Placed(work, (read, *rows), write, arrays)
    return None


def _place_columns(graph: Graph, group: Group, look: Look, wanted: View | None, axis: int) -> Placed | None:
    """Softmax over an axis that is not the last."""
    shape = graph.types[group.output].shape
    source, output = look(group.source), wanted or contiguous(group.output, shape)
    plain = contiguous(group.source, shape), contiguous(group.output, shape)
    for read, write in ((source, output), (plain[0], output), (source, plain[1]), plain):
        views = (read, write)
        if any(len(coalesced(view.dims[axis])) > 1 for view in views):
            continue
        rest = [tuple(a for axes in (*v.dims[:axis], *v.dims[axis + 1 :]) for a in axes) for v in views]
        loops = refined(rest)
        if not loops:
            continue
        extents, (step_in, step_out) = _unzipped(_along(loops), 2)
        if (step_in[-1], step_out[-1]) != (1, 1):
            continue
        steps = [_step(view.dims[axis]) for view in views]
        work = Columns(
            extents[:-1], shape[axis], extents[-1], step_in[:-1], steps[0], step_out[:-1], steps[1]
        )
        return Placed(work, (read,), write)
    return None


def _is_row(view: View, axis: int) -> bool:
    axes = coalesced(axis for axes in view.dims[axis:] for axis in axes)
    return not axes or (len(axes) == 1 and axes[0].stride == 1)
