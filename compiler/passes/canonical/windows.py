"""Operators with sliding windows: geometry spelled out, so that templates need not know ONNX's shorthands."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ModelError, UnsupportedError
from ...graph import Node, TensorType
from .._rewrite import Rewriter
from .attributes import given, integer, integers, text


@dataclass(frozen=True, slots=True)
class _Window:
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far one window reaches, dilation included."""
        return tuple(
            (size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)
        )

    @property
    def pads(self) -> tuple[int, ...]:
        return self.before + self.after


def _window(rewriter: Rewriter, node: Node, kernel: tuple[int, ...]) -> _Window:
    """The node's window over its input, automatic padding resolved."""
    sizes = rewriter.shape(node.inputs[0])[2:]
    if min(rewriter.shape(node.outputs[0])[2:], default=1) < 1:
        raise ModelError(f"node {node.name!r} ({node.op}): a window of {kernel} does not fit into {sizes}")
    rank = len(sizes)
    strides = integers(node, "strides", (1,) * rank)
    dilations = integers(node, "dilations", (1,) * rank)
    automatic = text(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = integers(node, "pads", (0,) * 2 * rank)
        return _Window(kernel, strides, dilations, pads[:rank], pads[rank:])
    window = _Window(kernel, strides, dilations, (0,) * rank, (0,) * rank)
    if automatic == "VALID":
        return window
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(sizes, strides, window.extents, strict=True)
    ]
    less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    before, after = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return _Window(kernel, strides, dilations, before, after)


def convolution(rewriter: Rewriter, node: Node) -> bool:
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    group = integer(node, "group", 1)
    channels, filters = rewriter.shape(x)[1], rewriter.shape(w)
    if group < 1 or channels != filters[1] * group or filters[0] % group:
        raise ModelError(
            f"node {node.name!r} (Conv): {channels} channels do not fit weights {filters} in {group} groups"
        )
    window = _window(rewriter, node, integers(node, "kernel_shape", rewriter.shape(w)[2:]))
    rewriter.emit(
        "Conv", (x, w, given(node, 2)), y, name=node.name,
        kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations, pads=window.pads,
        group=group,
    )  # fmt: skip
    return True


def transposed_convolution(rewriter: Rewriter, node: Node) -> bool:
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    group = integer(node, "group", 1)
    channels, filters = rewriter.shape(x)[1], rewriter.shape(w)
    if group < 1 or channels != filters[0] or channels % group:
        raise ModelError(
            f"node {node.name!r} (ConvTranspose): {channels} channels do not fit weights {filters} "
            f"in {group} groups"
        )
    sizes, wanted = rewriter.shape(x)[2:], rewriter.shape(y)[2:]
    rank = len(sizes)
    extra = integers(node, "output_padding", (0,) * rank)
    kernel = integers(node, "kernel_shape", rewriter.shape(w)[2:])
    automatic = text(node, "auto_pad", "NOTSET")
    fixed = node.with_(attributes={**node.attributes, "auto_pad": "NOTSET"})
    window = _window(rewriter, fixed, kernel)
    if automatic != "NOTSET" or "output_shape" in node.attributes:
        totals = [
            stride * (size - 1) + more + extent - out
            for stride, size, more, extent, out in zip(
                window.strides, sizes, extra, window.extents, wanted, strict=True
            )
        ]
        # What no window reaches is padding of the output, too.
        extra = tuple(more + max(0, -total) for more, total in zip(extra, totals, strict=True))
        totals = [max(0, total) for total in totals]
        less, more_ = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        before, after = (less, more_) if automatic == "SAME_UPPER" else (more_, less)
        if automatic == "VALID":
            before, after = (0,) * rank, tuple(totals)
        window = _Window(kernel, window.strides, window.dilations, before, after)
    rewriter.emit(
        "ConvTranspose", (x, w, given(node, 2)), y, name=node.name,
        kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations, pads=window.pads,
        group=group, output_padding=extra,
    )  # fmt: skip
    return True


def max_pool(rewriter: Rewriter, node: Node) -> bool:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnsupportedError(
            node.name, node.op, "its second output, the places of the maxima, has no kernel"
        )
    window, _ = _pooling_window(rewriter, node)
    rewriter.emit(
        "MaxPool", node.inputs, node.outputs[0], name=node.name,
        kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations, pads=window.pads,
    )  # fmt: skip
    return True


def average_pool(rewriter: Rewriter, node: Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    window, missing = _pooling_window(rewriter, node)
    counted = integer(node, "count_include_pad", 0)
    if window.kernel == rewriter.shape(x)[2:] and not any(window.pads) and set(window.dilations) <= {1}:
        rewriter.emit("GlobalAveragePool", (x,), y, name=node.name)
        return True
    if counted and any(missing):
        # Padding is counted, what ceil_mode adds at the end is not: pad first, then count only what is there.
        after = tuple(have - more for have, more in zip(window.after, missing, strict=True))
        x = _padded(rewriter, node, x, window.before, after)
        window = _Window(window.kernel, window.strides, window.dilations, (0,) * len(missing), missing)
        counted = 0
    if not any(window.pads):
        counted = 0
    rewriter.emit(
        "AveragePool", (x,), y, name=node.name,
        kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations, pads=window.pads,
        count_include_pad=counted,
    )  # fmt: skip
    return True


def _pooling_window(rewriter: Rewriter, node: Node) -> tuple[_Window, tuple[int, ...]]:
    """The window, its end padding large enough for ceil_mode, and how much was added for that."""
    sizes, outputs = rewriter.shape(node.inputs[0])[2:], rewriter.shape(node.outputs[0])[2:]
    window = _window(rewriter, node, integers(node, "kernel_shape", ()))
    missing = tuple(
        max(0, (out - 1) * stride + extent - size - before - after)
        for out, stride, extent, size, before, after in zip(
            outputs, window.strides, window.extents, sizes, window.before, window.after, strict=True
        )
    )
    after = tuple(have + more for have, more in zip(window.after, missing, strict=True))
    return _Window(window.kernel, window.strides, window.dilations, window.before, after), missing


def _padded(rewriter: Rewriter, node: Node, x: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    if not any(before + after):
        return x
    type_ = rewriter.types[x]
    spatial = tuple(b + size + a for b, size, a in zip(before, type_.shape[2:], after, strict=True))
    padded = rewriter.value(f"{node.outputs[0]}_padded", TensorType(type_.dtype, type_.shape[:2] + spatial))
    pads = (0, 0, *before, 0, 0, *after)
    return rewriter.emit("Pad", (x,), padded, name=f"{node.name}_pad", pads=pads, value=0.0, mode="constant")


RULES = {
    "AveragePool": average_pool,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "MaxPool": max_pool,
}
