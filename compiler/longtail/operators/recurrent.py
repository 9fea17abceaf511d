"""RNN, GRU and LSTM: what does not depend on the state for all steps at once, then step after step.

A task is one sequence in one direction. Weights must be constant: those of the state are stored transposed,
so that the innermost loop runs through the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from ...graph import Array, Graph, Node
from ..computation import Computation
from ..stage import Axis, Expr, RawStage, Tensor
from ._formula import Formula, at, known, number, total, whole

_ACTIVATIONS: Mapping[str, Callable[[Expr], Expr]] = {
    "Relu": lambda x: tirx.Max(x, number(0.0)),
    "Sigmoid": tirx.sigmoid,
    "Tanh": tirx.tanh,
}


@dataclass(frozen=True)
class _Cell:
    """An operator: gates, default activations, and inputs by position."""

    gates: int
    activations: tuple[str, ...]
    step: Callable[[_Sequence, Sequence[Callable[[Expr], Expr]]], list[Expr]]
    cell_state: int = 0  # position of the initial cell state
    peepholes: int = 0


@dataclass(frozen=True)
class _Sequence:
    """What a step works on, of one sequence in one direction: its gates [gates · H], state and cell [H]."""

    size: int
    direction: Expr
    gates: Tensor
    state: Tensor
    spare: Tensor
    cell: Tensor
    weights: Tensor
    late_bias: Tensor | None
    peepholes: Tensor | None

    def gate(self, index: int, unit: Expr) -> Expr:
        return known(self.gates, whole(index * self.size) + unit)

    def each(self, body: Callable[[Expr], list[Expr]], size: int | None = None) -> Expr:
        return _loop(size or self.size, lambda unit: _statements(body(unit)))

    def add_products(self, source: Tensor, first: int, count: int) -> Expr:
        """Gates from `first` on += source · weights."""
        start = whole(first * self.size)

        def inner(k: Expr) -> list[Expr]:
            def one(unit: Expr) -> list[Expr]:
                gate = start + unit
                product = known(source, k) * known(self.weights, self.direction, k, gate)
                return [_put(self.gates, known(self.gates, gate) + product, gate)]

            return [self.each(one, count * self.size)]

        return self.each(inner)


def _loop(extent: int, body: Callable[[Expr], Expr]) -> Expr:
    var = tirx.Var("j", "int64")
    return tirx.For(var, whole(0), whole(extent), tirx.ForKind.SERIAL, body(var))


def _statements(parts: Sequence[Expr]) -> Expr:
    return parts[0] if len(parts) == 1 else tirx.SeqStmt(list(parts))


def _put(tensor: Tensor, value: Expr, *indices: Expr) -> Expr:
    return tirx.BufferStore(tensor.buffer, value, list(indices))


def _rnn_step(own: _Sequence, f: Sequence[Callable[[Expr], Expr]]) -> list[Expr]:
    return [
        own.add_products(own.state, 0, 1),
        own.each(lambda unit: [_put(own.state, f[0](own.gate(0, unit)), unit)]),
    ]


def _gru_step(own: _Sequence, f: Sequence[Callable[[Expr], Expr]]) -> list[Expr]:
    """Gates: update, reset, hidden. `late_bias`: the reset acts on the product, not on the state."""
    late = own.late_bias

    def reset(unit: Expr) -> list[Expr]:
        r = f[0](own.gate(1, unit))
        kept = r * known(own.state, unit) if late is None else r
        return [_put(own.spare, kept, unit)]

    def finish(unit: Expr) -> list[Expr]:
        z, old = f[0](own.gate(0, unit)), known(own.state, unit)
        new = f[1](own.gate(2, unit))
        return [_put(own.state, (number(1.0) - z) * new + z * old, unit)]

    if late is None:
        product = [own.add_products(own.spare, 2, 1)]
    else:
        # The product by itself: what the input gave to the gate waits in the cell meanwhile.
        bias = late

        def begin(unit: Expr) -> list[Expr]:
            place = whole(2 * own.size) + unit
            return [
                _put(own.cell, own.gate(2, unit), unit),
                _put(own.gates, known(bias, own.direction, unit), place),
            ]

        def end(unit: Expr) -> list[Expr]:
            place = whole(2 * own.size) + unit
            joined = known(own.cell, unit) + known(own.spare, unit) * own.gate(2, unit)
            return [_put(own.gates, joined, place)]

        product = [own.each(begin), own.add_products(own.state, 2, 1), own.each(end)]
    return [own.add_products(own.state, 0, 2), own.each(reset), *product, own.each(finish)]


def _lstm_step(own: _Sequence, f: Sequence[Callable[[Expr], Expr]]) -> list[Expr]:
    """Gates: input, output, forget, cell."""

    def peep(index: int, unit: Expr, cell: Expr) -> Expr:
        if own.peepholes is None:
            return number(0.0)
        return known(own.peepholes, own.direction, whole(index * own.size) + unit) * cell

    def cells(unit: Expr) -> list[Expr]:
        old = known(own.cell, unit)
        i = f[0](own.gate(0, unit) + peep(0, unit, old))
        forget = f[0](own.gate(2, unit) + peep(2, unit, old))
        return [_put(own.cell, forget * old + i * f[1](own.gate(3, unit)), unit)]

    def states(unit: Expr) -> list[Expr]:
        cell = known(own.cell, unit)
        return [_put(own.state, f[0](own.gate(1, unit) + peep(1, unit, cell)) * f[2](cell), unit)]

    return [own.add_products(own.state, 0, 4), own.each(cells), own.each(states)]


_CELLS = {
    "GRU": _Cell(3, ("Sigmoid", "Tanh"), _gru_step),
    "LSTM": _Cell(4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step, cell_state=6, peepholes=7),
    "RNN": _Cell(1, ("Tanh",), _rnn_step),
}


def _recurrent(graph: Graph, node: Node, symbol: str) -> Computation:
    formula, cell = Formula(graph, node, symbol), _CELLS[node.op]
    by_batch = bool(formula.attribute("layout", 0))
    steps, batch, width = formula.shape(0)
    if by_batch:
        steps, batch = batch, steps
    weights, recurrent = formula.constant(1, "weights"), formula.constant(2, "recurrence weights")
    directions, size = recurrent.shape[0], recurrent.shape[2]
    _refuse(formula, steps, cell, directions)
    bias, late = _biases(formula, cell, directions, size)
    x = formula.input(0)
    w, b = formula.table(weights), formula.table(bias)

    def product(d: Expr, t: Expr, n: Expr, g: Expr, k: Expr) -> Expr:
        return (known(x, n, t, k) if by_batch else known(x, t, n, k)) * known(w, d, g, k)

    gates = formula.reduce(
        formula.temporary("float32", (directions, steps, batch, cell.gates * size)), (width,),
        total("float32"), product, lambda sum_, d, t, n, g: sum_ + known(b, d, g),
    )  # fmt: skip
    own = _Sequence(
        size=size,
        direction=tirx.Var("direction", "int64"),
        gates=Tensor.make("gates", "float32", (cell.gates * size,)),
        state=Tensor.make("state", "float32", (size,)),
        spare=Tensor.make("spare", "float32", (size,)),
        cell=Tensor.make("cell", "float32", (size,)),
        weights=formula.table(recurrent.transpose(0, 2, 1)),
        late_bias=None if late is None else formula.table(late),
        peepholes=_peepholes(formula, cell),
    )
    axes = (Axis(own.direction, directions), Axis.make("n", batch))
    formula.add(_walk(formula, cell, own, gates, axes, steps, by_batch))
    return formula.done()


def _refuse(formula: Formula, steps: int, cell: _Cell, directions: int) -> None:
    if "clip" in formula.node.attributes or formula.attribute("input_forget", 0):
        raise formula.unsupported("its clip and input_forget have no kernel")
    if formula.graph.types[formula.node.inputs[0]].dtype != "float32":
        raise formula.unsupported("it has a kernel for float32 only")
    if formula.has(4) and (formula.constant(4, "sequence lengths") != steps).any():
        raise formula.unsupported("sequences that end early have no kernel")
    names = _names(formula, cell, directions)
    unknown = sorted(set(names) - _ACTIVATIONS.keys())
    if unknown or names != names[: len(cell.activations)] * directions:
        raise formula.unsupported(f"its activations {', '.join(unknown) or 'differ by direction'}")


def _names(formula: Formula, cell: _Cell, directions: int) -> tuple[str, ...]:
    given: Any = formula.attribute("activations", cell.activations * directions)
    return tuple(str(name).capitalize() for name in given)[: len(cell.activations) * directions]


def _biases(formula: Formula, cell: _Cell, directions: int, size: int) -> tuple[Array, Array | None]:
    """Of the gates [directions, gates · H]; and what a GRU adds before its reset acts."""
    both = np.zeros((directions, 2 * cell.gates * size), np.float32)
    if formula.has(3):
        both = formula.constant(3, "biases")
    first, second = np.split(both, 2, axis=1)
    if not (formula.node.op == "GRU" and formula.attribute("linear_before_reset", 0)):
        return first + second, None
    early = np.concatenate([second[:, : 2 * size], np.zeros_like(second[:, 2 * size :])], axis=1)
    return first + early, second[:, 2 * size :]


def _peepholes(formula: Formula, cell: _Cell) -> Tensor | None:
    if not cell.peepholes or not formula.has(cell.peepholes):
        return None
    return formula.table(formula.constant(cell.peepholes, "peepholes"))


def _walk(
    formula: Formula,
    cell: _Cell,
    own: _Sequence,
    gates: Tensor,
    axes: tuple[Axis, Axis],
    steps: int,
    by_batch: bool,
) -> RawStage:
    """All steps of one sequence."""
    d, n = axes[0].var, axes[1].var
    directions, batch = axes[0].extent, axes[1].extent
    last = (batch, directions, own.size) if by_batch else (directions, batch, own.size)
    every = (batch, steps, directions, own.size) if by_batch else (steps, directions, batch, own.size)
    wanted = [*formula.node.outputs, "", ""][:3]
    outs = {k: formula.output(k, every if k == 0 else last) for k, name in enumerate(wanted) if name}
    states = {1: own.state, 2: own.cell}
    names = _names(formula, cell, directions)[: len(cell.activations)]
    functions = [_ACTIVATIONS[name] for name in names]

    def place(unit: Expr) -> tuple[Expr, ...]:
        return (n, d, unit) if by_batch else (d, n, unit)

    def start(tensor: Tensor, position: int) -> Expr:
        given = formula.input(position) if position and formula.has(position) else None
        return own.each(
            lambda unit: [_put(tensor, number(0.0) if given is None else at(given, *place(unit)), unit)]
        )

    def step(count: Expr) -> Expr:
        backwards = whole(steps - 1) - count
        reverse = formula.attribute("direction", "forward") == "reverse"
        t = backwards if reverse else tirx.Select(tirx.EQ(d, whole(1)), backwards, count)
        taken = own.each(lambda gate: [_put(own.gates, known(gates, d, t, n, gate), gate)], own.gates.size)
        made = [taken, *cell.step(own, functions)]
        if 0 in outs:

            def result(unit: Expr) -> list[Expr]:
                where = (n, t, d, unit) if by_batch else (t, d, n, unit)
                return [_put(outs[0], known(own.state, unit), *where)]

            made.append(own.each(result))
        return _statements(made)

    body = [start(own.state, 5), start(own.cell, cell.cell_state), _loop(steps, step)]
    for index in (1, 2):
        if index in outs:
            tensor, out = states[index], outs[index]
            body.append(
                own.each(lambda unit, t=tensor, o=out: [_put(o, known(t, unit), *place(unit))])  # type: ignore[misc]
            )
    return RawStage(
        tuple(outs.values()), axes, _statements(body), steps=steps * cell.gates * own.size * own.size,
        scratch=(own.gates, own.state, own.spare, own.cell),
    )  # fmt: skip


OPERATORS = dict.fromkeys(_CELLS, _recurrent)
