"""Operators that find as many elements as the data has: what is found first, then padding; and the count.

Non-maximum suppression follows ONNX Runtime's, ties and edge cases included: boxes by falling score, equal
ones by rising index, each kept unless a kept one of its class overlaps it by more than the threshold. A heap
gives the best candidate that is left, so no more are sorted than are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tvm import tirx

from ..errors import UnsupportedError
from ..graph import Graph, Node
from .stage import AnyStage, Axis, Expr, RawStage, Tensor

_Computed = tuple[tuple[AnyStage, ...], Mapping[str, Tensor], Mapping[str, Tensor]]
_FIELDS = 5  # of a kept box: corners and area


def _int(value: int) -> Expr:
    return tirx.const(value, "int64")


def _float(value: float) -> Expr:
    return tirx.const(value, "float32")


def _serial(name: str, extent: Expr | int, body: Callable[[Expr], Expr]) -> Expr:
    var = tirx.Var(name, "int64")
    end = _int(extent) if isinstance(extent, int) else extent
    return tirx.For(var, _int(0), end, tirx.ForKind.SERIAL, body(var))


def _sequence(*statements: Expr) -> Expr:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def _if(condition: Expr, then: Expr, otherwise: Expr = None) -> Expr:
    return tirx.IfThenElse(condition, then, otherwise)


@dataclass(frozen=True, eq=False)
class _Cell:
    """A variable that changes."""

    buffer: Expr

    @staticmethod
    def make(name: str, dtype: str = "int64") -> _Cell:
        return _Cell(tirx.decl_buffer((1,), dtype, name, scope="local"))

    @property
    def value(self) -> Expr:
        return tirx.BufferLoad(self.buffer, [_int(0)])

    def set(self, value: Expr) -> Expr:
        return tirx.BufferStore(self.buffer, value, [_int(0)])

    def add(self, step: int) -> Expr:
        return self.set(self.value + _int(step))


def _at(tensor: Tensor, *indices: Expr) -> Expr:
    return tirx.BufferLoad(tensor.buffer, list(indices))


def _put(tensor: Tensor, value: Expr, *indices: Expr) -> Expr:
    return tirx.BufferStore(tensor.buffer, value.astype(tensor.dtype), list(indices))


def _of(graph: Graph, name: str) -> Tensor:
    return Tensor.make(name, graph.types[name].dtype, graph.types[name].shape)


def _results(graph: Graph, node: Node, symbol: str) -> tuple[Tensor, Tensor]:
    """The padded result and the count, which nobody may have asked for."""
    out = graph.types[node.outputs[0]]
    return (
        Tensor.make(node.outputs[0], out.dtype, out.shape),
        Tensor.make(node.outputs[1] or f"{symbol}.count", "int64", ()),
    )


def _named(node: Node, *tensors: Tensor) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors if tensor.name in node.outputs}


@dataclass(frozen=True)
class _Heap:
    """Indices in `items`, the best at 0, each better than its children at 2i + 1 and 2i + 2."""

    items: Tensor
    size: _Cell
    better: Callable[[Expr, Expr], Expr]
    hole: _Cell
    child: _Cell
    item: _Cell

    def at(self, place: Expr) -> Expr:
        return _at(self.items, place).astype("int64")

    def push_unordered(self, index: Expr) -> Expr:
        return _sequence(_put(self.items, index, self.size.value), self.size.add(1))

    def order(self) -> Expr:
        half = self.size.value // _int(2)
        return _serial("i", half, lambda i: self.sift(half - _int(1) - i))

    def sift(self, start: Expr) -> Expr:
        """Moves the item at `start` down to its place."""
        hole, child, item, size = self.hole, self.child, self.item, self.size
        second = child.value + _int(1)
        pick = _if(
            second < size.value,
            _if(self.better(self.at(second), self.at(child.value)), child.set(second)),
        )
        rise = _sequence(
            _put(self.items, self.at(child.value), hole.value),
            hole.set(child.value),
            child.set(hole.value * _int(2) + _int(1)),
        )
        step = _if(self.better(self.at(child.value), item.value), rise, child.set(size.value))
        return _sequence(
            hole.set(start),
            item.set(self.at(start)),
            child.set(hole.value * _int(2) + _int(1)),
            tirx.While(child.value < size.value, _sequence(pick, step)),
            _put(self.items, item.value, hole.value),
        )

    def pop(self, into: _Cell) -> Expr:
        last = self.size.value - _int(1)
        return _sequence(
            into.set(self.at(_int(0))),
            _put(self.items, self.at(last), _int(0)),
            self.size.set(last),
            _if(self.size.value > _int(0), self.sift(_int(0))),
        )


def non_max_suppression(graph: Graph, node: Node, symbol: str) -> _Computed:
    """Each class of each image on its own, then all of them one behind the other."""
    if len(node.outputs) != 2:
        raise UnsupportedError(node.name, node.op, "how many boxes it finds depends on the data")
    boxes, scores = (_of(graph, name) for name in node.inputs[:2])
    limits = {place: _of(graph, name) for place, name in enumerate(node.inputs) if place > 2 and name}
    batch, classes, count = scores.shape
    out, found = _results(graph, node, symbol)
    most = max(out.shape[0] // (batch * classes), 1)
    given = node.inputs[2] if len(node.inputs) > 2 else ""
    wanted = int(graph.constants[given].reshape(-1)[0]) if given else 0
    kept = Tensor.make(f"{symbol}.kept", "int32", (batch, classes, most))
    counts = Tensor.make(f"{symbol}.counts", "int32", (batch, classes))
    search = _search(node, boxes, scores, limits, kept, counts, min(max(wanted, 0), count))
    inputs = {tensor.name: tensor for tensor in (boxes, scores, *limits.values())}
    return (search, _joined(kept, counts, out, found)), inputs, _named(node, out, found)


def _search(
    node: Node,
    boxes: Tensor,
    scores: Tensor,
    limits: Mapping[int, Tensor],
    kept: Tensor,
    counts: Tensor,
    most: int,
) -> RawStage:
    batch, classes, count = scores.shape
    b, c = Axis.make("b", batch), Axis.make("c", classes)

    def limit(place: int) -> Expr:
        return _at(limits[place], *(_int(0) for _ in limits[place].shape)) if place in limits else None

    def score(index: Expr) -> Expr:
        return _at(scores, b.var, c.var, index)

    def better(one: Expr, other: Expr) -> Expr:
        first, second = score(one), score(other)
        return tirx.Or(first > second, tirx.And(first.equal(second), one < other))

    cells = {name: _Cell.make(name) for name in ("size", "hole", "child", "item", "found", "index", "j")}
    heap = _Heap(
        Tensor.make("heap", "int32", (count,)),
        cells["size"], better, cells["hole"], cells["child"], cells["item"],
    )  # fmt: skip
    corners = Tensor.make("corners", "float32", (max(most, 1), _FIELDS))
    own = [_Cell.make(name, "float32") for name in ("x1", "y1", "x2", "y2", "area")]
    inter = _Cell.make("inter", "float32")
    found, index, j = cells["found"], cells["index"], cells["j"]
    box = [_at(boxes, b.var, index.value, _int(k)) for k in range(4)]
    threshold = limit(3)
    overlaps = _overlap(
        [cell.value for cell in own], [_at(corners, j.value, _int(k)) for k in range(_FIELDS)]
    )
    keep = _sequence(
        *(_put(corners, cell.value, found.value, _int(k)) for k, cell in enumerate(own)),
        _put(kept, index.value, b.var, c.var, found.value),
        found.add(1),
    )
    compare = _sequence(
        inter.set(overlaps.intersection),
        # Overlapped by j: past all of them, and so past the loop.
        _if(
            overlaps.exceeds(inter.value, _float(0) if threshold is None else threshold),
            j.set(found.value + _int(1)),
            j.add(1),
        ),
    )
    body = _sequence(
        heap.size.set(_int(0)),
        found.set(_int(0)),
        _serial("i", count if most else 0, lambda i: _candidate(heap, i, score(i), limit(4))),
        heap.order(),
        tirx.While(
            tirx.And(heap.size.value > _int(0), found.value < _int(most)),
            _sequence(
                heap.pop(index),
                *_corners(own, box, bool(node.attributes.get("center_point_box", 0))),
                j.set(_int(0)),
                tirx.While(j.value < found.value, compare),
                _if(j.value.equal(found.value), keep),
            ),
        ),
        _put(counts, found.value, b.var, c.var),
    )
    locals_ = (*(cell.buffer for cell in cells.values()), *(cell.buffer for cell in own), inter.buffer)
    return RawStage((kept, counts), (b, c), body, 8 * count, locals_, (heap.items, corners))


def _candidate(heap: _Heap, index: Expr, score: Expr, threshold: Expr) -> Expr:
    push = heap.push_unordered(index)
    return push if threshold is None else _if(score > threshold, push)


def _corners(cells: list[_Cell], box: list[Expr], is_center: bool) -> list[Expr]:
    """Left, top, right, bottom and area of y1, x1, y2, x2 in any order, or of x, y, width, height."""
    x1, y1, x2, y2, area = cells
    if is_center:
        half = _float(0.5)
        sides = [
            box[0] - box[2] * half,
            box[1] - box[3] * half,
            box[0] + box[2] * half,
            box[1] + box[3] * half,
        ]
    else:
        sides = [
            tirx.Min(box[1], box[3]),
            tirx.Min(box[0], box[2]),
            tirx.Max(box[1], box[3]),
            tirx.Max(box[0], box[2]),
        ]
    product = (x2.value - x1.value) * (y2.value - y1.value)
    stores = [cell.set(side) for cell, side in zip((x1, y1, x2, y2), sides, strict=True)]
    return [*stores, area.set(_rounded(product))]


def _rounded(product: Expr) -> Expr:
    """A product that is not negative, kept from being fused with the sum that it enters.

    A fused multiply-add rounds once less, and a box that overlaps by just the threshold would be lost.
    """
    return tirx.Max(product, _float(0))


@dataclass(frozen=True)
class _Overlap:
    intersection: Expr
    areas: tuple[Expr, Expr]

    def exceeds(self, intersection: Expr, threshold: Expr) -> Expr:
        first, second = self.areas
        union = first + second - intersection
        positive = [part > _float(0) for part in (intersection, first, second, union)]
        result = intersection / union > threshold
        for condition in positive:
            result = tirx.And(result, condition)
        return result


def _overlap(one: list[Expr], other: list[Expr]) -> _Overlap:
    sides = [
        tirx.Max(tirx.Min(one[k + 2], other[k + 2]) - tirx.Max(one[k], other[k]), _float(0)) for k in (0, 1)
    ]
    return _Overlap(_rounded(sides[0] * sides[1]), (one[4], other[4]))


def _joined(kept: Tensor, counts: Tensor, out: Tensor, found: Tensor) -> RawStage:
    """Rows of image, class, box: in that order, as the kept ones stand."""
    batch, classes, most = kept.shape
    total = _Cell.make("total")

    def row(b: Expr, c: Expr, j: Expr) -> Expr:
        values = (b, c, _at(kept, b, c, j))
        stores = [_put(out, value, total.value, _int(k)) for k, value in enumerate(values)]
        return _sequence(*stores, total.add(1))

    def rows(b: Expr, c: Expr) -> Expr:
        return _serial("j", _at(counts, b, c).astype("int64"), lambda j: row(b, c, j))

    body = _sequence(
        total.set(_int(0)),
        _serial("b", batch, lambda b: _serial("c", classes, lambda c: rows(b, c))),
        _put(found, total.value),
        _serial(
            "i",
            _int(out.shape[0]) - total.value,
            lambda i: _sequence(*(_put(out, _int(0), total.value + i, _int(k)) for k in range(3))),
        ),
    )
    return RawStage((out, found), (), body, batch * classes * most, (total.buffer,))


def non_zero(graph: Graph, node: Node, symbol: str) -> _Computed:
    """Coordinates of all elements that are not zero, in row-major order: one row for each dimension."""
    if len(node.outputs) != 2:
        raise UnsupportedError(node.name, node.op, "how many elements it finds depends on the data")
    source = _of(graph, node.inputs[0])
    out, found = _results(graph, node, symbol)
    total = _Cell.make("total")
    width = out.shape[1]

    def visit(places: list[Expr]) -> Expr:
        if len(places) < len(source.shape):
            extent = source.shape[len(places)]
            return _serial(f"i{len(places)}", extent, lambda i: visit([*places, i]))
        element = _at(source, *places)
        is_set = element if source.dtype == "bool" else element != tirx.const(0, source.dtype)
        stores = [_put(out, place, _int(k), total.value) for k, place in enumerate(places)]
        return _if(is_set, _sequence(*stores, total.add(1)))

    body = _sequence(
        total.set(_int(0)),
        visit([]),
        _put(found, total.value),
        _serial(
            "i",
            _int(width) - total.value,
            lambda i: _sequence(
                *(_put(out, _int(0), _int(k), total.value + i) for k in range(len(source.shape)))
            ),
        ),
    )
    stage = RawStage((out, found), (), body, source.size, (total.buffer,))
    return (stage,), {source.name: source}, _named(node, out, found)
