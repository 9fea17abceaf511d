"""The memory plan: no overlap of live buffers, and sizes within their bounds, for arbitrary programs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.errors import CompileError
from sanderling.compiler.memory import Lifetime, lifetimes, plan_memory
from sanderling.compiler.program import Arg, Call, Program


def program(buffers: dict[str, int], *calls: dict[str, str]) -> Program:
    """A program whose calls use buffers as {name: access}."""
    made = tuple(
        Call(
            "k",
            1,
            tuple(Arg("buffer", name, access, buffers.get(name, 0)) for name, access in uses.items()),
            "n",
            "k",
        )
        for uses in calls
    )
    return Program("t", {}, {}, buffers, {}, made, 0, b"")


@st.composite
def programs(draw: st.DrawFn) -> Program:
    calls: list[dict[str, str]] = [{} for _ in range(draw(st.integers(1, 12)))]
    buffers = {}
    for index in range(draw(st.integers(0, 14))):
        first = draw(st.integers(0, len(calls) - 1))
        last = draw(st.integers(first, len(calls) - 1))
        buffers[f"b{index}"] = draw(st.integers(0, 2000))
        calls[last][f"b{index}"] = "read"
        calls[first][f"b{index}"] = "write"
    return program(buffers, *calls)


def aligned(size: int) -> int:
    return (size + 63) // 64 * 64


@given(programs())
def test_buffers_alive_together_do_not_overlap(subject: Program) -> None:
    plan = plan_memory(subject)
    for (a, x), (b, y) in itertools.combinations(plan.lifetimes.items(), 2):
        if x.first <= y.last and y.first <= x.last:
            assert (
                plan.offsets[a] + x.size <= plan.offsets[b] or plan.offsets[b] + y.size <= plan.offsets[a]
            ), f"{a} and {b} overlap"


@given(programs())
def test_arena_lies_between_the_largest_live_set_and_the_sum(subject: Program) -> None:
    plan = plan_memory(subject)
    lives = plan.lifetimes.values()
    largest = max(
        sum(aligned(life.size) for life in lives if life.first <= call <= life.last)
        for call in range(len(subject.calls))
    )
    assert largest <= plan.arena_bytes <= sum(aligned(life.size) for life in lives)


@given(programs())
def test_offsets_are_aligned_and_inside_the_arena(subject: Program) -> None:
    plan = plan_memory(subject)
    assert all(offset % 64 == 0 for offset in plan.offsets.values())
    assert all(
        offset + plan.lifetimes[name].size <= plan.arena_bytes for name, offset in plan.offsets.items()
    )
    assert plan.offsets.keys() == plan.lifetimes.keys()


def test_a_chain_needs_only_its_two_largest_neighbours() -> None:
    sizes = {f"b{i}": 64 * size for i, size in enumerate((10, 3, 8, 1, 9))}
    chain = program(
        sizes, *({f"b{i - 1}": "read", f"b{i}": "write"} if i else {"b0": "write"} for i in range(5))
    )
    assert plan_memory(chain).arena_bytes == 64 * 13


@pytest.mark.parametrize(
    ("buffers", "arena"),
    [
        # Size in lines of 64 bytes, first call, last call. By breadth alone: 9; by size alone: 8.
        ({"a": (3, 3, 3), "b": (4, 1, 2), "c": (2, 3, 3), "d": (2, 1, 3)}, 8),
        # By size alone: 8; by breadth alone: 7.
        ({"a": (3, 1, 1), "b": (2, 2, 2), "c": (3, 1, 2), "d": (2, 2, 2)}, 7),
    ],
)
def test_the_better_of_two_orders_is_taken(buffers: dict[str, tuple[int, int, int]], arena: int) -> None:
    calls: list[dict[str, str]] = [{} for _ in range(4)]
    for name, (_, first, last) in buffers.items():
        calls[last][name] = "read"
        calls[first][name] = "write"
    subject = program({name: 64 * lines for name, (lines, _, _) in buffers.items()}, *calls)
    assert plan_memory(subject).arena_bytes == 64 * arena


def test_lifetimes_run_from_the_first_use_to_the_last() -> None:
    subject = program(
        {"a": 4, "b": 8, "unused": 9}, {"a": "write"}, {"a": "read", "b": "write"}, {"a": "both"}
    )
    assert lifetimes(subject) == {"a": Lifetime(4, 0, 2), "b": Lifetime(8, 1, 1)}


@pytest.mark.parametrize(
    ("subject", "cause"),
    [
        (program({}, {"a": "write"}), "'a', which the program does not declare"),
        (program({"a": 4}, {"a": "read"}), "reads buffer 'a' before anything is written"),
        (program({"a": 4}, {"a": "both"}), "reads buffer 'a' before anything is written"),
    ],
)
def test_a_wrong_program_is_refused(subject: Program, cause: str) -> None:
    with pytest.raises(CompileError, match=cause):
        plan_memory(subject)
