"""Operators whose algorithm carries something along a loop, which tensor expressions cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tvm import tirx

from ..errors import UnsupportedError
from ..graph import Graph, Node
from .bounded import non_max_suppression, non_zero
from .stage import AnyStage, Axis, Expr, RawStage, Tensor

Special = tuple[tuple[AnyStage, ...], Mapping[str, Tensor], Mapping[str, Tensor]]


def _int(value: int) -> Expr:
    return tirx.const(value, "int64")


def _loop(name: str, extent: Expr, body: Callable[[Expr], Expr]) -> Expr:
    var = tirx.Var(name, "int64")
    return tirx.For(var, _int(0), extent, tirx.ForKind.SERIAL, body(var))


@dataclass(frozen=True)
class _Rows:
    """All one-dimensional rows of a tensor along one of its axes."""

    axes: tuple[Axis, ...]
    along: int

    @staticmethod
    def of(shape: tuple[int, ...], along: int) -> _Rows:
        along %= len(shape)
        others = (extent for rank, extent in enumerate(shape) if rank != along)
        return _Rows(tuple(Axis.make(f"i{rank}", extent) for rank, extent in enumerate(others)), along)

    def at(self, index: Expr) -> list[Expr]:
        """The tensor's indices of one element of the row."""
        others = [axis.var for axis in self.axes]
        return [*others[: self.along], index, *others[self.along :]]


def _tensor(graph: Graph, name: str) -> Tensor:
    type_ = graph.types[name]
    return Tensor.make(name, type_.dtype, type_.shape)


def _constant(graph: Graph, node: Node, position: int, what: str) -> int:
    name = node.inputs[position]
    if name not in graph.constants:
        raise UnsupportedError(node.name, node.op, f"its {what} must be a constant")
    return int(graph.constants[name].reshape(()))


def _cumulative_sum(graph: Graph, node: Node, symbol: str) -> Special:
    source, out = _tensor(graph, node.inputs[0]), _tensor(graph, node.outputs[0])
    rows = _Rows.of(source.shape, _constant(graph, node, 1, "axis"))
    length = source.shape[rows.along]
    total = tirx.decl_buffer((1,), source.dtype, "total", scope="local")
    sum_ = tirx.BufferLoad(total, [_int(0)])

    def step(index: Expr) -> Expr:
        position = _int(length - 1) - index if node.attributes.get("reverse") else index
        element = tirx.BufferLoad(source.buffer, rows.at(position))
        add = tirx.BufferStore(total, sum_ + element, [_int(0)])
        store = tirx.BufferStore(out.buffer, sum_, rows.at(position))
        return tirx.SeqStmt([store, add] if node.attributes.get("exclusive") else [add, store])

    start = tirx.BufferStore(total, tirx.const(0, source.dtype), [_int(0)])
    body = tirx.SeqStmt([start, _loop("j", _int(length), step)])
    stage = RawStage((out,), rows.axes, body, steps=length, locals=(total,))
    return (stage,), {source.name: source}, {out.name: out}


def _top_k(graph: Graph, node: Node, symbol: str) -> Special:
    """Insertion into the k best so far; equal elements keep their order, as ONNX asks."""
    source = _tensor(graph, node.inputs[0])
    along = node.attributes.get("axis", -1)
    assert isinstance(along, int)
    rows = _Rows.of(source.shape, along)
    length, k = source.shape[rows.along], _constant(graph, node, 1, "K")
    shape = tuple(k if rank == rows.along else extent for rank, extent in enumerate(source.shape))
    names = [*node.outputs, ""][:2]
    values = Tensor.make(names[0] or f"{symbol}.values", source.dtype, shape)
    places = Tensor.make(names[1] or f"{symbol}.places", "int64", shape)
    rank = tirx.decl_buffer((1,), "int64", "rank", scope="local")
    ranked = tirx.BufferLoad(rank, [_int(0)])

    def value(index: Expr) -> Expr:
        return tirx.BufferLoad(values.buffer, rows.at(index))

    def moved(index: Expr) -> Expr:
        place = tirx.BufferLoad(places.buffer, rows.at(index - _int(1)))
        first = tirx.BufferStore(values.buffer, value(index - _int(1)), rows.at(index))
        return tirx.SeqStmt([first, tirx.BufferStore(places.buffer, place, rows.at(index))])

    def step(index: Expr) -> Expr:
        element = tirx.BufferLoad(source.buffer, rows.at(index))
        last = tirx.Min(index, _int(k - 1))

        def better(than: Expr) -> Expr:
            return element > than if node.attributes.get("largest", 1) else element < than

        count = tirx.BufferStore(rank, ranked + _int(1), [_int(0)])
        insert = tirx.SeqStmt(
            [
                tirx.BufferStore(rank, _int(0), [_int(0)]),
                _loop(
                    "j",
                    tirx.Min(index, _int(k)),
                    lambda j: tirx.IfThenElse(tirx.Not(better(value(j))), count, None),
                ),
                tirx.IfThenElse(
                    ranked < _int(k),
                    tirx.SeqStmt(
                        [
                            _loop("j", last - ranked, lambda j: moved(last - j)),
                            tirx.BufferStore(values.buffer, element, rows.at(ranked)),
                            tirx.BufferStore(places.buffer, index, rows.at(ranked)),
                        ]
                    ),
                    None,
                ),
            ]
        )
        return tirx.IfThenElse(tirx.Or(index < _int(k), better(value(_int(k - 1)))), insert, None)

    stage = RawStage(
        (values, places), rows.axes, _loop("i", _int(length), step), steps=length, locals=(rank,)
    )
    return (stage,), {source.name: source}, {t.name: t for t in (values, places) if t.name in node.outputs}


SPECIAL: dict[str, Callable[[Graph, Node, str], Special]] = {
    "CumSum": _cumulative_sum,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": non_zero,
    "TopK": _top_k,
}
