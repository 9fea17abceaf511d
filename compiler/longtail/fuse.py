"""Fewer, larger steps: producers move into readers, reductions finish their work, rows stay together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import tvm
from tvm import tirx

from .stage import AnyStage, Axis, Expr, Stage, Tensor, count, is_operator, loads, map_loads, substitute

_MATH = ("exp", "log", "tanh", "erf", "sigmoid", "pow", "sqrt", "rsqrt", "sin", "cos", "fmod")
_SMALL_VALUE = 12  # nodes: what a reduction may compute again for every element
_SMALL_WORK = 16384  # evaluations: not worth a second thread, so calls are saved instead
_ENOUGH_ROWS = 8
_MAX_SOURCES = 20  # tensors that one kernel reads: a call has at most 24 arguments


@dataclass(frozen=True)
class Group:
    """Stages of one kernel: their first `rows` axes are one loop, and `inner` tensors live within one row."""

    stages: tuple[AnyStage, ...]
    rows: int = 0
    inner: tuple[Tensor, ...] = ()


def fuse(stages: Iterable[AnyStage], outputs: Collection[Tensor]) -> tuple[Group, ...]:
    """Kernels in order. `outputs` must exist afterwards; every other tensor may vanish."""
    remaining = _without_dead(_with_epilogues(_inlined(list(stages), outputs), outputs), outputs)
    return _grouped(remaining, outputs)


def _reads(stage: AnyStage, tensor: Tensor) -> list[Expr]:
    return [
        load for expr in stage.expressions() for load in loads(expr) if load.source.same_as(tensor.buffer)
    ]


def _sources(stage: AnyStage) -> set[Expr]:
    """The tensors it reads."""
    return {load.source for expr in stage.expressions() for load in loads(expr)}


def _readers(stages: Sequence[AnyStage], tensor: Tensor) -> list[AnyStage]:
    return [stage for stage in stages if _reads(stage, tensor)]


def _is_math(call: Expr) -> bool:
    return any(is_operator(call, name) for name in _MATH)


def _nodes(expr: Expr) -> int:
    return count(expr, (tvm.ir.Expr,))


def _may_inline(producer: Stage, reader: AnyStage, reads: int) -> bool:
    """Whether computing `producer` again at every use costs less than a pass through memory."""
    value = producer.value
    plain = not count(value, (tvm.ir.Call, tirx.Select))
    if not loads(value) or (plain and _nodes(value) <= len(producer.axes) + 4):
        return isinstance(reader, Stage)
    if not isinstance(reader, Stage):
        return False
    if reader.combine is not None:
        return plain and _nodes(value) <= _SMALL_VALUE
    heavy = count(value, (tvm.ir.Call,), _is_math) > 0
    return not heavy or (reads == 1 and producer.out.size >= reader.out.size)


def _inlined(stages: list[AnyStage], outputs: Collection[Tensor]) -> list[AnyStage]:
    position = 0
    while position < len(stages):
        producer = stages[position]
        position += 1
        if not isinstance(producer, Stage) or producer.combine is not None or producer.out in outputs:
            continue
        readers = _readers(stages, producer.out)
        reads = sum(len(_reads(reader, producer.out)) for reader in readers)
        if not readers or not all(_may_inline(producer, reader, reads) for reader in readers):
            continue
        if any(len(_sources(reader) | _sources(producer)) > _MAX_SOURCES for reader in readers):
            continue
        position -= 1
        stages = [
            stage.map(_inliner(producer)) if isinstance(stage, Stage) and stage in readers else stage
            for stage in stages
            if stage is not producer
        ]
    return stages


def _inliner(producer: Stage) -> Callable[[Expr], Expr]:
    def replace_load(load: Expr) -> Expr:
        if not load.source.same_as(producer.out.buffer):
            return load
        return substitute(
            producer.value, {axis.var: index for axis, index in zip(producer.axes, load.indices, strict=True)}
        )

    return lambda expr: map_loads(expr, replace_load)


def _with_epilogues(stages: list[AnyStage], outputs: Collection[Tensor]) -> list[AnyStage]:
    """A reduction whose only reader works on it element by element finishes that work itself."""
    result: list[AnyStage] = []
    for position, stage in enumerate(stages):
        after = stages[position + 1 :]
        merged = _with_epilogue(result, stage, after, outputs) if isinstance(stage, Stage) else None
        if merged is None:
            result.append(stage)
        else:
            producer, finished = merged
            result.remove(producer)
            result.append(finished)
    return result


def _with_epilogue(
    before: Sequence[AnyStage], reader: Stage, after: Sequence[AnyStage], outputs: Collection[Tensor]
) -> tuple[Stage, Stage] | None:
    if reader.combine is not None:
        return None
    for producer in before:
        if not isinstance(producer, Stage) or producer.combine is None or producer.finish is not None:
            continue
        reads = _reads(reader, producer.out)
        if not reads or producer.out in outputs or producer.out.shape != reader.out.shape:
            continue
        if _readers([*before, *after], producer.out):
            continue
        if all(_is_identity(load.indices, reader.axes) for load in reads):
            return producer, _finished(producer, reader)
    return None


def _is_identity(indices: Sequence[Expr], axes: Sequence[Axis]) -> bool:
    return all(
        index.same_as(axis.var) or (axis.extent == 1 and _is_zero(index))
        for index, axis in zip(indices, axes, strict=True)
    )


def _is_zero(index: Expr) -> bool:
    return isinstance(index, tirx.IntImm) and index.value == 0


def _finished(producer: Stage, reader: Stage) -> Stage:
    partial = tirx.Var("partial", producer.out.dtype)
    finish = map_loads(
        reader.value, lambda load: partial if load.source.same_as(producer.out.buffer) else load
    )
    axes = {theirs.var: ours.var for theirs, ours in zip(reader.axes, producer.axes, strict=True)}
    return replace(producer, out=reader.out, partial=partial, finish=substitute(finish, axes))


def _without_dead(stages: list[AnyStage], outputs: Collection[Tensor]) -> list[AnyStage]:
    alive: list[AnyStage] = []
    for stage in reversed(stages):
        if any(out in outputs or _readers(alive, out) for out in stage.outs):
            alive.insert(0, stage)
    return alive


def _grouped(stages: Sequence[AnyStage], outputs: Collection[Tensor]) -> tuple[Group, ...]:
    """Neighbours that pass tensors along within a row become one kernel, if rows enough are left."""
    groups: list[Group] = []
    for stage in stages:
        joined = _joined(groups[-1], stage, stages) if groups else None
        if joined is None:
            groups.append(Group((stage,)))
        else:
            groups[-1] = joined
    return tuple(_with_inner(group, stages, outputs) for group in groups)


def _joined(group: Group, stage: AnyStage, stages: Sequence[AnyStage]) -> Group | None:
    members = (*group.stages, stage)
    if not all(isinstance(member, Stage) for member in members):
        return None
    if len(set[Expr]().union(*map(_sources, members))) + len(members) > _MAX_SOURCES:
        return None
    made = [out for member in group.stages for out in member.outs if _reads(stage, out)]
    if not made:
        return None
    rows = _common_rows([member for member in members if isinstance(member, Stage)])
    if group.rows:
        rows = min(rows, group.rows)
    if rows == 0:
        return None
    count_of_rows = prod(axis.extent for axis in stage.axes[:rows])
    work = sum(member.work for member in members)
    if count_of_rows < _ENOUGH_ROWS and work > _SMALL_WORK:
        return None
    return Group(members, rows)


def _common_rows(stages: Sequence[Stage]) -> int:
    """Leading axes that all stages share and within which all that passes between them stays."""
    rows = min(len(stage.axes) for stage in stages)
    for rank in range(rows):
        if len({stage.axes[rank].extent for stage in stages}) > 1:
            rows = rank
            break
    for producer in stages:
        for reader in stages:
            for load in _reads(reader, producer.out):
                matching = 0
                while matching < rows and _is_identity(
                    load.indices[matching : matching + 1], reader.axes[matching : matching + 1]
                ):
                    matching += 1
                rows = matching
    return rows


def _with_inner(group: Group, stages: Sequence[AnyStage], outputs: Collection[Tensor]) -> Group:
    outside = [stage for stage in stages if stage not in group.stages]
    inner = tuple(
        out
        for stage in group.stages
        for out in stage.outs
        if out not in outputs and not _readers(outside, out)
    )
    return replace(group, inner=inner if len(group.stages) > 1 else ())
