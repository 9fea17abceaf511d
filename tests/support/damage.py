"""Damaged model files: bits flipped, bytes lost or doubled, fields in another order or with other values."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from .random_graphs.sketch import Pick

Damage = Callable[[bytes, Pick], bytes]


def flipped(data: bytes, pick: Pick) -> bytes:
    """A few bits."""
    changed = bytearray(data)
    for _ in range(1 + pick(8)):
        changed[pick(len(changed))] ^= 1 << pick(8)
    return bytes(changed)


def overwritten(data: bytes, pick: Pick) -> bytes:
    """A byte with one of the values that lengths and tags make the most of."""
    changed = bytearray(data)
    for _ in range(1 + pick(3)):
        changed[pick(len(changed))] = (0x00, 0x7F, 0x80, 0xFF)[pick(4)]
    return bytes(changed)


def cut(data: bytes, pick: Pick) -> bytes:
    return data[: pick(len(data))]


def moved(data: bytes, pick: Pick) -> bytes:
    """A piece of the file appears elsewhere, in its old place or not."""
    start, length, place = pick(len(data)), 1 + pick(64), pick(len(data))
    piece = data[start : start + length]
    rest = data if pick(2) else data[:start] + data[start + length :]
    return rest[:place] + piece + rest[place:]


def shuffled(data: bytes, pick: Pick) -> bytes:
    """Still protocol buffers, but nodes, inputs, constants and attributes change places."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    fields = [graph.node, graph.initializer, graph.input, graph.output]
    fields += [field for node in graph.node for field in (node.input, node.output, node.attribute)]
    for _ in range(1 + pick(4)):
        field = fields[pick(len(fields))]
        if len(field) > 1:
            items = list(field)
            i, j = pick(len(items)), pick(len(items))
            items[i], items[j] = items[j], items[i]
            del field[:]
            field.extend(items)
    return bytes(model.SerializeToString())


_NUMBERS = (0, 1, -1, 2, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))


def renumbered(data: bytes, pick: Pick) -> bytes:
    """Still protocol buffers, with wild numbers for dimensions and attributes."""
    model = onnx.ModelProto.FromString(data)
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    values = [*model.graph.input, *model.graph.output]
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    for _ in range(1 + pick(3)):
        number = _NUMBERS[pick(len(_NUMBERS))]
        if attributes and pick(2):
            attribute = attributes[pick(len(attributes))]
            if attribute.ints:
                attribute.ints[pick(len(attribute.ints))] = number
            else:
                attribute.i = number
        elif dims:
            dims[pick(len(dims))].dim_value = number
    return bytes(model.SerializeToString())


DAMAGES: tuple[Damage, ...] = (flipped, overwritten, cut, moved, shuffled, renumbered)
