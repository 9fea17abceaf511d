"""plan.bin: what is encoded is decoded again, and damage is refused with its cause."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.errors import CompileError
from sanderling.compiler.package import make_variant
from sanderling.compiler.plan import decode_plan, encode_plan
from sanderling.compiler.program import Arg, Program
from sanderling.compiler.target import Target
from sanderling.runtime import codes
from sanderling.runtime import plan as layout
from sanderling.runtime.plan import (
    Argument,
    Blob,
    Buffer,
    Invocation,
    Level,
    Pipeline,
    Plan,
    PlanError,
    Tensor,
)

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
f32 = st.floats(width=32, allow_nan=False)
text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)


def named(names: dict[int, str]) -> st.SearchStrategy[str]:
    return st.sampled_from(list(names.values()))


shapes = st.lists(st.integers(1, 2**62), max_size=8).map(tuple)
tensors = st.builds(Tensor, text, named(codes.ROLES), named(codes.DTYPES), shapes, u64)
arguments = st.builds(Argument, named(codes.PLACES), named(codes.ACCESSES), u32, u32, u64, u64)
calls = st.builds(Invocation, text, u32, u32, st.lists(arguments, max_size=4).map(tuple), text, text, u64)
optional = st.none() | st.integers(0, 2**32 - 2)
levels = st.lists(st.builds(Level, u32, u32, optional, optional), max_size=3).map(tuple)
pipelines = st.builds(
    Pipeline,
    named(codes.TASKS),
    u32,
    named(codes.COLORS),
    named(codes.RESIZES),
    st.tuples(f32, f32, f32),
    st.tuples(f32, f32, f32),
    f32,
    named(codes.DECODES),
    named(codes.SCORES),
    f32,
    f32,
    u32,
    levels,
)
blobs = st.tuples(
    *(
        st.builds(Blob, st.just(name), u64, st.binary(min_size=32, max_size=32))
        for name in codes.BLOBS.values()
    )
)
plans = st.builds(
    Plan,
    text,
    named(codes.ARCHES),
    st.lists(text, max_size=4).map(tuple),
    u64,
    u64,
    blobs,
    st.lists(tensors, max_size=4).map(tuple),
    st.lists(st.builds(Buffer, u64, u64, u32, u32), max_size=4).map(tuple),
    st.lists(calls, max_size=4).map(tuple),
    st.none() | pipelines,
    st.lists(text, max_size=4).map(tuple),
)


@given(plans)
def test_decoding_gives_back_what_was_encoded(plan: Plan) -> None:
    assert decode_plan(encode_plan(plan)) == plan


@pytest.fixture(scope="module")
def affine_plan(affine: Program, host: Target) -> bytes:
    return make_variant(affine, host).plan


def test_places_of_a_program_are_resolved(affine_plan: bytes, affine: Program, host: Target) -> None:
    plan = decode_plan(affine_plan)
    assert (plan.target, plan.arch, plan.features) == (host.name, host.arch, host.features)
    assert [(t.name, t.role, t.shape, t.nbytes) for t in plan.tensors] == [
        ("x", "input", (4, 16), 256),
        ("y", "output", (4, 16), 256),
    ]
    assert plan.buffers == (Buffer(offset=0, size=256, first=0, last=1),)
    assert plan.arena_bytes == 256
    scale, shift = plan.calls
    assert scale.args == (
        Argument("input", "read", 0, 4, 0, 256),
        Argument("params", "read", 0, 64, 0, 64),
        Argument("arena", "write", 0, 64, 0, 256),
    )
    assert shift.args[1] == Argument("params", "read", 0, 64, 64, 64)
    assert shift.args[2] == Argument("output", "write", 1, 4, 0, 256)
    assert (shift.symbol, shift.tasks, shift.node, shift.flops) == ("shift", 4, "add", 128)


@pytest.mark.parametrize(
    ("arg", "cause"),
    [
        (Arg("param", "missing", "read", 4), "param 'missing' is not in the program"),
        (Arg("input", "y", "read", 4), "input 'y' is not in the program"),
        (Arg("param", "w", "read", 65), "has 64 bytes; 65 bytes at 0 lie outside"),
        (Arg("param", "w", "read", 2**63, offset=2**63), "lie outside"),
        (Arg("input", "x", "read", 4, offset=-4), "lie outside"),
        (Arg("param", "w", "read", 4, offset=4), "offset 4 is no multiple of the alignment 64"),
        (Arg("param", "w", "read", 0), "0 bytes at 0 lie outside"),
        (Arg("scratch", "", "both", 1), "has 0 bytes; 1 bytes at 0 lie outside"),
    ],
)
def test_an_argument_outside_its_place_is_refused(
    affine: Program, host: Target, arg: Arg, cause: str
) -> None:
    first = affine.calls[0]
    broken = replace(affine, calls=(replace(first, args=(*first.args, arg)), *affine.calls[1:]))
    with pytest.raises(CompileError, match=cause):
        make_variant(broken, host)


def test_every_truncation_is_refused(affine_plan: bytes) -> None:
    for length in range(len(affine_plan)):
        with pytest.raises(PlanError):
            decode_plan(affine_plan[:length])


def test_every_flipped_byte_is_refused(affine_plan: bytes) -> None:
    for index in range(len(affine_plan)):
        damaged = bytearray(affine_plan)
        damaged[index] ^= 0xFF
        with pytest.raises(PlanError):
            decode_plan(bytes(damaged))


def resealed(data: bytearray) -> bytes:
    data[layout.DIGEST] = layout.plan_digest(bytes(data))
    return bytes(data)


@given(st.data())
def test_a_plan_with_a_right_digest_decodes_or_is_refused(affine_plan: bytes, data: st.DataObject) -> None:
    damaged = bytearray(affine_plan)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged) // 4 - 1)) * 4
        struct.pack_into("<I", damaged, position, data.draw(st.sampled_from([0, 1, 2**31, 2**32 - 1])))
    with contextlib.suppress(PlanError):
        decode_plan(resealed(damaged))


SECTION_TABLE = 96


@pytest.mark.parametrize(
    ("offset", "value", "cause"),
    [
        (8, struct.pack("<I", 2), "format version is 2, not 1"),
        (28, struct.pack("<I", 9), "kernel ABI version is 9, not 1"),
        (24, struct.pack("<I", 33), "33 sections"),
        (24, struct.pack("<I", 32), "section"),
        (SECTION_TABLE, struct.pack("<I", 77), "kind 77"),
        (SECTION_TABLE + 4, struct.pack("<I", 8), "records of 8 bytes"),
        (SECTION_TABLE + 8, struct.pack("<Q", 2**63), "STRINGS lies outside"),
        (SECTION_TABLE + 8, struct.pack("<Q", 97), "STRINGS lies outside"),
        (SECTION_TABLE + 16, struct.pack("<Q", 2**64 - 1), "STRINGS lies outside"),
        (SECTION_TABLE + 8, struct.pack("<Q", 96), "STRINGS overlaps"),
    ],
)
def test_structure_faults_are_named(affine_plan: bytes, offset: int, value: bytes, cause: str) -> None:
    damaged = bytearray(affine_plan)
    damaged[offset : offset + len(value)] = value
    with pytest.raises(PlanError, match=cause):
        decode_plan(resealed(damaged))
