"""RoiAlign (He et al., Mask R-CNN, 2017), with the bounds, weights and maxima of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from ...graph import Graph, Node
from ..computation import Computation
from ..stage import Axis, Expr, RawStage, Tensor
from ._formula import Formula, at, lowest, number, whole


@dataclass(frozen=True)
class _Span:
    """One side of a region: where it starts, the length of a bin, and how many samples a bin takes."""

    start: Expr
    bin: Expr
    samples: Expr

    def place(self, index: Expr, sample: Expr) -> Expr:
        share = (_single(sample) + number(0.5)) / _single(self.samples)
        return self.start + (_single(index) + share) * self.bin


def _single(value: Expr) -> Expr:
    return value.astype("float32")


def _roi_align(graph: Graph, node: Node, symbol: str) -> Computation:
    formula = Formula(graph, node, symbol)
    x, regions, images = formula.input(0), formula.input(1), formula.input(2)
    if x.dtype != "float32" or regions.dtype != "float32":
        raise formula.unsupported("it has a kernel for float32 only")
    y = formula.output(0)
    count, channels, rows, columns = y.shape
    region, channel = Axis.make("region", count), Axis.make("channel", channels)
    spans = [_span(formula, regions, region.var, *side) for side in ((1, 3, rows), (0, 2, columns))]
    is_max = formula.attribute("mode", "avg") == "max"
    image = at(images, region.var).astype("int64")
    total = tirx.decl_buffer((1,), "float32", "total", scope="local")
    sum_ = tirx.BufferLoad(total, [whole(0)])

    def bin_(row: Expr, column: Expr) -> Expr:
        def sample(i: Expr, j: Expr) -> Expr:
            parts = _corners(x, image, channel.var, spans[0].place(row, i), spans[1].place(column, j))
            return _store(total, _largest(parts, sum_) if is_max else sum_ + _added(parts))

        loops = _loop(spans[0].samples, lambda i: _loop(spans[1].samples, lambda j: sample(i, j)))
        number_of = _single(spans[0].samples * spans[1].samples)
        result = sum_ if is_max else sum_ / tirx.Max(number_of, number(1.0))
        result = tirx.Select(number_of > number(0.0), result, number(0.0))
        begin = _store(total, lowest("float32") if is_max else number(0.0))
        end = tirx.BufferStore(y.buffer, result, [region.var, channel.var, row, column])
        return tirx.SeqStmt([begin, loops, end])

    body = _loop(whole(rows), lambda row: _loop(whole(columns), lambda column: bin_(row, column)))
    formula.add(RawStage((y,), (region, channel), body, steps=rows * columns * 16, locals=(total,)))
    return formula.done()


def _span(formula: Formula, regions: Tensor, region: Expr, first: int, last: int, bins: int) -> _Span:
    scale = number(float(formula.attribute("spatial_scale", 1.0)))
    half = formula.attribute("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    shift = number(0.5 if half else 0.0)
    start = at(regions, region, whole(first)) * scale - shift
    length = at(regions, region, whole(last)) * scale - shift - start
    if not half:
        length = tirx.Max(length, number(1.0))
    ratio = int(formula.attribute("sampling_ratio", 0))
    size = length / number(float(bins))
    # A region can be of any size, the time that it takes must not be.
    limit = number(float(4 * max(formula.shape(0)[2:])))
    adaptive = tirx.Max(number(0.0), tirx.Min(tirx.ceil(size), limit)).astype("int64")
    return _Span(start, size, whole(ratio) if ratio > 0 else adaptive)


def _corners(x: Tensor, image: Expr, channel: Expr, row: Expr, column: Expr) -> list[Expr]:
    """The four weighted neighbours of a point; zeros outside of the image."""
    sides = [_neighbours(place, extent) for place, extent in zip((row, column), x.shape[2:], strict=True)]
    inside = tirx.all(*(condition for condition, _ in sides))
    safe = tirx.Max(whole(0), tirx.Min(image, whole(x.shape[0] - 1)))
    return [
        tirx.Select(
            inside, tirx.BufferLoad(x.buffer, [safe, channel, r, c]) * r_weight * c_weight, number(0.0)
        )
        for r, r_weight in sides[0][1]
        for c, c_weight in sides[1][1]
    ]


def _neighbours(place: Expr, extent: int) -> tuple[Expr, list[tuple[Expr, Expr]]]:
    """Whether a coordinate counts as inside, and both elements next to it with their weights."""
    inside = tirx.all(place >= number(-1.0), place <= number(float(extent)))
    bounded = tirx.Max(number(0.0), tirx.Min(place, number(float(extent - 1))))
    low = tirx.Max(whole(0), tirx.Min(tirx.floor(bounded).astype("int64"), whole(extent - 1)))
    high = tirx.Min(low + whole(1), whole(extent - 1))
    share = bounded - _single(low)
    return inside, [(low, number(1.0) - share), (high, share)]


def _largest(parts: list[Expr], first: Expr) -> Expr:
    for part in parts:
        first = tirx.Max(first, part)
    return first


def _added(parts: list[Expr]) -> Expr:
    return (parts[0] + parts[1]) + (parts[2] + parts[3])


def _store(cell: Any, value: Expr) -> Expr:
    return tirx.BufferStore(cell, value, [whole(0)])


def _loop(extent: Expr, body: Callable[[Expr], Expr]) -> Expr:
    var = tirx.Var("i", "int64")
    return tirx.For(var, whole(0), extent, tirx.ForKind.SERIAL, body(var))


OPERATORS = {"RoiAlign": _roi_align}
