"""From a Program and its memory plan to plan.bin (`docs/package-format.md`, section 3).

`make_plan` resolves names to places; `encode_plan` writes the bytes. `sanderling.runtime.plan` decodes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sanderling.runtime import codes
from sanderling.runtime import plan as layout
from sanderling.runtime.plan import (
    Argument,
    Blob,
    Bound,
    Buffer,
    Invocation,
    Kind,
    Pipeline,
    Plan,
    Tensor,
    decode_plan,
)

from .errors import CompileError
from .graph import TensorType
from .memory import MemoryPlan
from .program import Arg, Call, Program
from .target import Target

__all__ = ["decode_plan", "encode_plan", "make_plan"]


def make_plan(
    program: Program,
    target: Target,
    memory: MemoryPlan,
    *,
    param_offsets: Mapping[str, int],
    blobs: tuple[Blob, ...],
    pipeline: Pipeline | None = None,
    labels: tuple[str, ...] = (),
) -> Plan:
    """Resolve every name in the program to a place and an offset.

    `param_offsets` are bytes into params.bin. Raises CompileError for an argument outside what it names.
    """
    for level in pipeline.levels if pipeline is not None else ():
        for index in filter(None, (level.cls, level.box, level.obj)):
            name = list(program.outputs)[index - len(program.inputs)]
            if name in program.bounds:
                raise CompileError(f"the size of output {name!r} depends on the data: no pipeline decodes it")
    places = _places(program, memory, param_offsets)
    return Plan(
        target=target.name,
        arch=target.arch,
        features=target.features,
        arena_bytes=memory.arena_bytes,
        scratch_bytes=program.scratch_bytes,
        blobs=blobs,
        tensors=(*_tensors("input", program.inputs), *_outputs(program, memory)),
        buffers=tuple(
            Buffer(memory.offsets[name], life.size, life.first, life.last)
            for name, life in memory.lifetimes.items()
        ),
        calls=tuple(
            Invocation(
                symbol=call.symbol,
                tasks=call.tasks,
                grain=call.grain,
                args=tuple(_argument(arg, call, places) for arg in call.args),
                node=call.node,
                kind=call.kind,
                flops=call.flops,
            )
            for call in program.calls
        ),
        pipeline=pipeline,
        labels=labels,
    )


def _tensors(role: str, types: Mapping[str, TensorType]) -> Iterable[Tensor]:
    return (Tensor(name, role, type_.dtype, type_.shape, type_.nbytes) for name, type_ in types.items())


def _outputs(program: Program, memory: MemoryPlan) -> Iterable[Tensor]:
    buffers = {name: index for index, name in enumerate(memory.lifetimes)}
    for tensor in _tensors("output", program.outputs):
        bound = program.bounds.get(tensor.name)
        yield tensor if bound is None else replace(tensor, bound=Bound(bound.axis, buffers[bound.count]))


_Places = Mapping[tuple[str, str], tuple[str, int, int, int]]


def _places(program: Program, memory: MemoryPlan, param_offsets: Mapping[str, int]) -> _Places:
    """(place, name) of the program → (place in the plan, index, offset there, size)."""
    first_output = len(program.inputs)
    return {
        ("scratch", ""): ("scratch", 0, 0, program.scratch_bytes),
        **{
            ("buffer", name): ("arena", index, 0, life.size)
            for index, (name, life) in enumerate(memory.lifetimes.items())
        },
        **{
            ("param", name): ("params", 0, offset, program.params[name].nbytes)
            for name, offset in param_offsets.items()
        },
        **{("input", name): ("input", i, 0, t.nbytes) for i, (name, t) in enumerate(program.inputs.items())},
        **{
            ("output", name): ("output", i, 0, t.nbytes)
            for i, (name, t) in enumerate(program.outputs.items(), start=first_output)
        },
    }


def _argument(arg: Arg, call: Call, places: _Places) -> Argument:
    what = f"kernel {call.symbol} of node {call.node!r}: {arg.place} {arg.name!r}"
    if (arg.place, arg.name) not in places:
        raise CompileError(f"{what} is not in the program")
    place, index, base, size = places[arg.place, arg.name]
    if arg.offset < 0 or arg.size < 1 or arg.offset > size or arg.size > size - arg.offset:
        raise CompileError(f"{what} has {size} bytes; {arg.size} bytes at {arg.offset} lie outside")
    offset = base + arg.offset
    if place in ("arena", "params", "scratch") and offset % arg.align:
        raise CompileError(f"{what}: offset {offset} is no multiple of the alignment {arg.align}")
    return Argument(place, arg.access, index, arg.align, offset, arg.size)


def encode_plan(plan: Plan) -> bytes:
    """The bytes of plan.bin; equal plans give equal bytes. Raises CompileError for too long a text."""
    strings = _Strings()
    kernels = {
        symbol: index for index, symbol in enumerate(dict.fromkeys(call.symbol for call in plan.calls))
    }
    rows: dict[Kind, list[tuple[Any, ...]]] = {
        Kind.TARGET: [(*strings.add(plan.target), _code(codes.ARCHES, plan.arch), 0, len(plan.features), 0)],
        Kind.FEATURES: [strings.add(feature) for feature in plan.features],
        Kind.BLOBS: [(_code(codes.BLOBS, blob.name), 0, blob.size, blob.sha256) for blob in plan.blobs],
        Kind.TENSORS: [_tensor_row(tensor, strings) for tensor in plan.tensors],
        Kind.KERNELS: [strings.add(symbol) for symbol in kernels],
        Kind.BUFFERS: [(b.offset, b.size, b.first, b.last) for b in plan.buffers],
        Kind.CALLS: _call_rows(plan.calls, kernels, strings),
        Kind.ARGS: [_arg_row(arg) for call in plan.calls for arg in call.args],
        Kind.PIPELINE: [] if plan.pipeline is None else [_pipeline_row(plan.pipeline, len(plan.labels))],
        Kind.LEVELS: [] if plan.pipeline is None else [_level_row(level) for level in plan.pipeline.levels],
        Kind.LABELS: [strings.add(label) for label in plan.labels],
    }
    sections = {Kind.STRINGS: bytes(strings.data)} | {
        kind: b"".join(layout.RECORDS[kind].pack(*row) for row in records) for kind, records in rows.items()
    }
    return _assemble(plan, {kind: data for kind, data in sections.items() if data})


def _assemble(plan: Plan, sections: Mapping[Kind, bytes]) -> bytes:
    table, body = b"", b""
    start = layout.HEADER.size + len(sections) * layout.SECTION.size
    for kind, data in sections.items():
        record = layout.RECORDS[kind].size
        table += layout.SECTION.pack(kind, record, start + len(body), len(data) // record)
        body += data + bytes(-len(data) % 8)
    header = (
        layout.MAGIC,
        layout.VERSION,
        layout.HEADER.size,
        start + len(body),
        len(sections),
        layout.KERNEL_ABI,
    )
    sizes = (plan.arena_bytes, plan.scratch_bytes)
    unsigned = layout.HEADER.pack(*header, *sizes, bytes(32), bytes(16)) + table + body
    return layout.HEADER.pack(*header, *sizes, layout.plan_digest(unsigned), bytes(16)) + table + body


class _Strings:
    """The STRINGS section while it grows; equal strings are stored once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._known: dict[str, tuple[int, int]] = {}

    def add(self, text: str) -> tuple[int, int]:
        """(offset, length) of the text."""
        if text not in self._known:
            raw = text.encode()
            if len(raw) > layout.MAX_STRING or b"\0" in raw:
                raise CompileError(
                    f"a name has {len(raw)} bytes (limit {layout.MAX_STRING}) or a NUL: {text[:60]!r}…"
                )
            self._known[text] = (len(self.data), len(raw))
            self.data += raw + b"\0"
        return self._known[text]


def _code(names: Mapping[int, str], name: str) -> int:
    for code, known in names.items():
        if known == name:
            return code
    raise CompileError(f"{name!r} cannot be written to a package; known: {', '.join(names.values())}")


def _tensor_row(tensor: Tensor, strings: _Strings) -> tuple[Any, ...]:
    rank = len(tensor.shape)
    if rank > codes.MAX_RANK:
        raise CompileError(
            f"{tensor.role} {tensor.name!r} has rank {rank}; a package allows {codes.MAX_RANK}"
        )
    dims = (*tensor.shape, *(0,) * (codes.MAX_RANK - rank))
    bounded, count = (0, 0) if tensor.bound is None else (tensor.bound.axis + 1, tensor.bound.buffer)
    numbers = (_code(codes.ROLES, tensor.role), _code(codes.DTYPES, tensor.dtype), rank, bounded)
    return (*strings.add(tensor.name), *numbers, *dims, tensor.nbytes, count, 0)


def _call_rows(
    calls: Iterable[Invocation], kernels: Mapping[str, int], strings: _Strings
) -> list[tuple[Any, ...]]:
    rows, first = [], 0
    for call in calls:
        text = (*strings.add(call.node), *strings.add(call.kind))
        rows.append(
            (kernels[call.symbol], call.tasks, first, len(call.args), call.grain, 0, *text, call.flops)
        )
        first += len(call.args)
    return rows


def _arg_row(arg: Argument) -> tuple[int, ...]:
    numbers = (_code(codes.PLACES, arg.place), _code(codes.ACCESSES, arg.access))
    return (*numbers, arg.index, arg.align, arg.offset, arg.size)


def _pipeline_row(pipeline: Pipeline, labels: int) -> tuple[Any, ...]:
    return (
        _code(codes.TASKS, pipeline.task),
        pipeline.input,
        _code(codes.COLORS, pipeline.color),
        _code(codes.RESIZES, pipeline.resize),
        *pipeline.mean,
        *pipeline.std,
        pipeline.pad_value,
        _code(codes.DECODES, pipeline.decode),
        _code(codes.SCORES, pipeline.score),
        pipeline.score_threshold,
        pipeline.nms_iou,
        pipeline.max_detections,
        *(0, len(pipeline.levels), 0, labels),
        *(0, 0, 0, 0),
    )


def _level_row(level: layout.Level) -> tuple[int, ...]:
    return (
        level.stride,
        level.cls,
        *(layout.NONE if index is None else index for index in (level.box, level.obj)),
    )
