"""Operators that move, cut, join or reduce: integer inputs become attributes, indices non-negative."""

from __future__ import annotations

import math

from ...canonical import REDUCTIONS
from ...errors import ModelError, UnsupportedError
from ...graph import Node, TensorType
from .._rewrite import Rewriter
from .attributes import axis, constant, constant_integers, defaults, given, integer, integers, number, text


def reshape(rewriter: Rewriter, node: Node) -> bool:
    """Flatten, Reshape, Squeeze, Unsqueeze: the output's shape is known, so it says everything."""
    x, y = node.inputs[0], node.outputs[0]
    if rewriter.types[x].size != rewriter.types[y].size:
        raise ModelError(
            f"node {node.name!r} ({node.op}): {rewriter.shape(x)} cannot become {rewriter.shape(y)}; "
            "if inputs were given other shapes, the model holds a constant made for the old ones"
        )
    rewriter.emit("Reshape", (x,), y, name=node.name, shape=rewriter.shape(y))
    return True


def expand(rewriter: Rewriter, node: Node) -> bool:
    y = node.outputs[0]
    rewriter.emit("Expand", node.inputs[:1], y, name=node.name, shape=rewriter.shape(y))
    return True


def tile(rewriter: Rewriter, node: Node) -> bool:
    repeats = constant_integers(rewriter, node, 1, "repeats") or ()
    rewriter.emit("Tile", node.inputs[:1], node.outputs[0], name=node.name, repeats=repeats)
    return True


def transpose(rewriter: Rewriter, node: Node) -> bool:
    rank = len(rewriter.shape(node.inputs[0]))
    perm = integers(node, "perm", tuple(reversed(range(rank))))
    rewriter.emit(
        "Transpose", node.inputs, node.outputs[0], name=node.name, perm=tuple(axis(p, rank) for p in perm)
    )
    return True


def concat(rewriter: Rewriter, node: Node) -> bool:
    y = node.outputs[0]
    along = axis(integer(node, "axis", 0), len(rewriter.shape(y)))
    filled = [value for value in node.inputs if rewriter.shape(value)[along]] or list(node.inputs[:1])
    if len(filled) == 1:
        rewriter.emit("Identity", filled, y, name=node.name)
    else:
        rewriter.emit("Concat", filled, y, name=node.name, axis=along)
    return True


def split(rewriter: Rewriter, node: Node) -> bool:
    along = axis(integer(node, "axis", 0), len(rewriter.shape(node.inputs[0])))
    if not all(node.outputs):
        # An omitted part still counts, but has no type to take its size from.
        sizes = constant_integers(rewriter, node, 1, "split") or integers(node, "split", ())
        if not sizes:
            raise UnsupportedError(node.name, node.op, "some of its outputs are omitted; name them all")
    else:
        sizes = tuple(rewriter.shape(value)[along] for value in node.outputs)
    rewriter.keep(node.with_(inputs=node.inputs[:1], attributes={"axis": along, "split": sizes}))
    return True


def slice_(rewriter: Rewriter, node: Node) -> bool:
    shape = rewriter.shape(node.inputs[0])
    starts = constant_integers(rewriter, node, 1, "starts") or ()
    ends = constant_integers(rewriter, node, 2, "ends") or ()
    axes = constant_integers(rewriter, node, 3, "axes") or tuple(range(len(starts)))
    steps = constant_integers(rewriter, node, 4, "steps") or (1,) * len(starts)
    cuts = []
    for start, end, along, step in zip(starts, ends, (axis(a, len(shape)) for a in axes), steps, strict=True):
        # ONNX's rule is Python's: negative counts from the end, then clamp; backwards -1 is before the first.
        first, last, by = slice(start, end, step).indices(shape[along])
        if (first, last, by) != (0, shape[along], 1):
            cuts.append((along, first, last, by))
    if not cuts:
        rewriter.emit("Identity", node.inputs[:1], node.outputs[0], name=node.name)
        return True
    along_, first_, last_, by_ = (tuple(column) for column in zip(*sorted(cuts), strict=True))
    rewriter.emit(
        "Slice", node.inputs[:1], node.outputs[0], name=node.name,
        starts=first_, ends=last_, axes=along_, steps=by_,
    )  # fmt: skip
    return True


def pad(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    rank = len(type_.shape)
    pads = constant_integers(rewriter, node, 1, "pads") or ()
    fill = constant(rewriter, node, 2, "constant value")
    axes = constant_integers(rewriter, node, 3, "axes")
    axes = tuple(range(rank)) if axes is None else tuple(axis(a, rank) for a in axes)
    before, after = [0] * rank, [0] * rank
    for index, along in enumerate(axes):
        before[along], after[along] = pads[index], pads[index + len(axes)]
    if not any(before + after):
        rewriter.emit("Identity", (x,), y, name=node.name)
        return True
    mode = text(node, "mode", "constant")
    if min(before + after) < 0:
        if mode != "constant":
            raise UnsupportedError(node.name, node.op, f"negative padding in mode {mode!r} has no kernel")
        x = _cropped(rewriter, node, before, after)
        before, after = [max(0, size) for size in before], [max(0, size) for size in after]
        if not any(before + after):
            rewriter.emit("Identity", (x,), y, name=f"{node.name}_identity")
            return True
    value = 0.0 if fill is None else float(fill.reshape(-1)[0])
    rewriter.emit("Pad", (x,), y, name=node.name, pads=(*before, *after), value=value, mode=mode)
    return True


def _cropped(rewriter: Rewriter, node: Node, before: list[int], after: list[int]) -> str:
    type_ = rewriter.types[node.inputs[0]]
    axes = tuple(a for a in range(len(type_.shape)) if min(before[a], after[a]) < 0)
    starts = tuple(max(0, -before[a]) for a in axes)
    ends = tuple(type_.shape[a] - max(0, -after[a]) for a in axes)
    shape = list(type_.shape)
    for along, start, end in zip(axes, starts, ends, strict=True):
        shape[along] = end - start
    cropped = rewriter.value(f"{node.outputs[0]}_cropped", TensorType(type_.dtype, tuple(shape)))
    return rewriter.emit(
        "Slice", node.inputs[:1], cropped, name=f"{node.name}_crop",
        starts=starts, ends=ends, axes=axes, steps=(1,) * len(axes),
    )  # fmt: skip


def reduce(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    rank = len(type_.shape)
    axes = constant_integers(rewriter, node, 1, "axes") or integers(node, "axes", ())
    axes = tuple(sorted(axis(a, rank) for a in axes))
    if not axes:
        if integer(node, "noop_with_empty_axes", 0):
            rewriter.emit("Identity", (x,), y, name=node.name)
            return True
        axes = tuple(range(rank))
    keep = integer(node, "keepdims", 1)
    if (
        node.op == "ReduceMean"
        and rank > 3
        and axes == tuple(range(2, rank))
        and type_.dtype.startswith("float")
    ):
        return _global_average(rewriter, node, keep)
    rewriter.emit(node.op, (x,), y, name=node.name, axes=axes, keepdims=keep)
    return True


def _global_average(rewriter: Rewriter, node: Node, keep: int) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    if keep:
        rewriter.emit("GlobalAveragePool", (x,), y, name=node.name)
        return True
    kept = TensorType(type_.dtype, type_.shape[:2] + (1,) * (len(type_.shape) - 2))
    pooled = rewriter.emit("GlobalAveragePool", (x,), rewriter.value(f"{y}_pooled", kept), name=node.name)
    rewriter.emit("Reshape", (pooled,), y, name=f"{node.name}_reshape", shape=rewriter.shape(y))
    return True


def softmax(rewriter: Rewriter, node: Node) -> bool:
    """Before version 13 everything from the axis on was one long row."""
    x, y = node.inputs[0], node.outputs[0]
    type_ = rewriter.types[x]
    rank = len(type_.shape)
    modern = rewriter.opset >= 13
    along = axis(integer(node, "axis", -1 if modern else 1), rank)
    if modern or along == rank - 1:
        rewriter.emit(node.op, (x,), y, name=node.name, axis=along)
        return True
    rows = TensorType(type_.dtype, (math.prod(type_.shape[:along]), math.prod(type_.shape[along:])))
    flat = rewriter.value(f"{x}_rows", rows)
    rewriter.emit("Reshape", (x,), flat, name=f"{node.name}_rows", shape=rows.shape)
    made = rewriter.emit(node.op, (flat,), rewriter.value(f"{y}_rows", rows), name=node.name, axis=1)
    rewriter.emit("Reshape", (made,), y, name=f"{node.name}_reshape", shape=type_.shape)
    return True


def with_axis(rewriter: Rewriter, node: Node) -> bool:
    """Operators whose only shorthand is a negative axis. Their axis counts dimensions of the first input."""
    attributes = {**defaults(node.op, rewriter.opset), **node.attributes}
    rank = len(rewriter.shape(node.inputs[0]))
    attributes["axis"] = axis(int(attributes["axis"]), rank)  # type: ignore[arg-type]
    if "select_last_index" not in attributes and node.op in ("ArgMax", "ArgMin"):
        attributes["select_last_index"] = 0
    inputs = node.inputs if any(node.inputs[1:]) else node.inputs[:1]
    rewriter.keep(node.with_(inputs=inputs, attributes=attributes))
    return True


def gather(rewriter: Rewriter, node: Node) -> bool:
    """Taking one constant index is a Slice, which needs no index at run time."""
    x, y = node.inputs[0], node.outputs[0]
    index = rewriter.constants.get(node.inputs[1])
    type_ = rewriter.types[x]
    if index is None or index.size != 1:
        return with_axis(rewriter, node)
    along = axis(integer(node, "axis", 0), len(type_.shape))
    start = axis(int(index.reshape(-1)[0]), type_.shape[along])
    if not 0 <= start < type_.shape[along]:
        raise ModelError(f"node {node.name!r} (Gather): index {start} is outside of {type_.shape}")
    shape = (*type_.shape[:along], 1, *type_.shape[along + 1 :])
    taken = rewriter.value(f"{y}_taken", TensorType(type_.dtype, shape))
    rewriter.emit(
        "Slice", (x,), taken, name=node.name,
        starts=(start,), ends=(start + 1,), axes=(along,), steps=(1,),
    )  # fmt: skip
    rewriter.emit("Reshape", (taken,), y, name=f"{node.name}_reshape", shape=rewriter.shape(y))
    return True


def layer_normalization(rewriter: Rewriter, node: Node) -> bool:
    if any(node.outputs[1:]):
        raise UnsupportedError(node.name, node.op, "its outputs for training have no kernel")
    rank = len(rewriter.shape(node.inputs[0]))
    rewriter.emit(
        "LayerNormalization", (*node.inputs[:2], given(node, 2)), node.outputs[0], name=node.name,
        axis=axis(integer(node, "axis", -1), rank), epsilon=number(node, "epsilon", 1e-5),
    )  # fmt: skip
    return True


RULES = {
    "Concat": concat,
    "Expand": expand,
    "Gather": gather,
    "LayerNormalization": layer_normalization,
    "Pad": pad,
    "Slice": slice_,
    "Split": split,
    "Tile": tile,
    "Transpose": transpose,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), softmax),
    **dict.fromkeys(("ArgMax", "ArgMin", "GatherElements"), with_axis),
}
