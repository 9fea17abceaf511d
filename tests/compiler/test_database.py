"""The tuning database: layers, merging in any order, and damage that costs a line and no more."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.database import (
    KERNELS_VERSION,
    Choice,
    Database,
    Key,
    default_paths,
    merge,
)
from sanderling.compiler.errors import CompileError

TIMES = {"7x2": 2e-3, "14x2": 1e-3}


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tuning.jsonl"
    database = Database.open(path)
    assert database.lookup("conv 3x3", "x86-64-v4") is None
    database.record("conv 3x3", "x86-64-v4", "14x2", TIMES)
    assert database.lookup("conv 3x3", "x86-64-v4") == Choice("14x2", TIMES)
    database.save()
    again = Database.open(path)
    assert again.lookup("conv 3x3", "x86-64-v4") == Choice("14x2", TIMES)
    assert again.lookup("conv 3x3", "x86-64-v3") is None
    assert Database.open(path, version="other").lookup("conv 3x3", "x86-64-v4") is None


def test_a_save_keeps_what_another_process_wrote_and_equal_records_give_equal_files(tmp_path: Path) -> None:
    first, second = Database.open(tmp_path / "a"), Database.open(tmp_path / "a")
    first.record("one", "t", "7x2", TIMES)
    second.record("two", "t", "14x2", TIMES)
    first.save()
    second.save()
    assert Database.open(tmp_path / "a").lookup("one", "t") == Choice("7x2", TIMES)
    other = Database.open(tmp_path / "b")
    other.record("two", "t", "14x2", TIMES)
    other.record("one", "t", "7x2", dict(reversed(TIMES.items())))
    other.save()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def _save_one(path: Path, name: str) -> None:
    database = Database.open(path)
    database.record(name, "t", "7x2", TIMES)
    database.save()


def test_processes_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    names = [f"workload {i}" for i in range(8)]
    children = [context.Process(target=_save_one, args=(tmp_path / "t", name)) for name in names]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [key.workload for key in Database.open(tmp_path / "t").own] == names


def test_the_users_record_wins_over_the_shipped_one(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for path, choice in ((shipped, "7x2"), (own, "14x2")):
        database = Database.open(path)
        database.record("w", "t", choice, TIMES)
        database.record(f"only {path.name}", "t", choice, TIMES)
        database.save()
    before = shipped.read_bytes()
    layered = Database.open(shipped, own)
    assert layered.lookup("w", "t") == Choice("14x2", TIMES)
    assert layered.lookup("only shipped", "t") == Choice("7x2", TIMES)
    layered.record("w", "t", "7x2", {"7x2": 1e-4})
    layered.save()
    assert shipped.read_bytes() == before
    assert Database.open(shipped, own).lookup("w", "t") == Choice("7x2", {"7x2": 1e-4})


times = st.dictionaries(st.sampled_from("abc"), st.sampled_from([1e-3, 2e-3, 3e-3]), min_size=1)
choices = times.flatmap(lambda t: st.builds(Choice, st.sampled_from(sorted(t)), st.just(t)))
keys = st.builds(Key, st.sampled_from(["v", "w"]), st.just("t"), st.just(KERNELS_VERSION))
parts = st.lists(st.dictionaries(keys, choices), min_size=3, max_size=3)


@given(parts)
def test_merging_depends_on_neither_order_nor_grouping(records: list[dict[Key, Choice]]) -> None:
    a, b, c = records
    expected = merge(a, b, c)
    assert all(merge(*order) == expected for order in itertools.permutations(records))
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == expected
    assert merge(expected, expected) == expected


def test_the_more_thorough_search_then_the_faster_choice_wins() -> None:
    key = Key("w", "t", KERNELS_VERSION)
    quick, full, slow = (
        Choice("a", {"a": 1.0}),
        Choice("b", {"a": 3.0, "b": 2.0}),
        Choice("b", {"a": 3.0, "b": 2.5}),
    )
    assert merge({key: quick}, {key: full}, {key: slow}) == {key: full}


GOOD = json.dumps(
    {"workload": "w", "target": "t", "version": KERNELS_VERSION, "choice": "a", "times": {"a": 1e-3}}
).encode()
BAD_LINES = [
    b"\xff\xfe\x00",
    b"{",
    b"[]",
    b"null",
    GOOD[:-5],
    GOOD.replace(b'"choice": "a"', b'"choice": "b"'),
    GOOD.replace(b"0.001", b"-1"),
    GOOD.replace(b"0.001", b"NaN"),
    GOOD.replace(b"0.001", b'"fast"'),
    GOOD.replace(b'"w"', b"7"),
    GOOD.replace(b'{"a": 0.001}', b'"a"'),
    b"[" * 100_000,
]


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_damaged_file_is_set_aside_and_its_good_lines_are_used(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "tuning.jsonl"
    path.write_bytes(bad + b"\n" + GOOD + b"\n")
    with pytest.warns(UserWarning, match=r"tuning.jsonl: 1 damaged line.*line 1.*tuning.jsonl.corrupt"):
        database = Database.open(path)
    assert database.lookup("w", "t") == Choice("a", {"a": 1e-3})
    assert path.with_name("tuning.jsonl.corrupt").read_bytes() == bad + b"\n" + GOOD + b"\n"
    assert not path.exists()


def test_what_was_good_in_a_damaged_file_is_saved_again(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    path.write_bytes(b"{\n" + GOOD + b"\n")
    with pytest.warns(UserWarning, match="corrupt"):
        database = Database.open(path)
    database.record("new", "t", "a", {"a": 1.0})
    database.save()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Database.open(path)
    assert again.lookup("w", "t")
    assert again.lookup("new", "t")


def test_a_damaged_shipped_file_stays_in_place(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped.jsonl"
    shipped.write_bytes(b"{\n" + GOOD + b"\n")
    with pytest.warns(UserWarning, match=r"shipped.jsonl.*left out"):
        database = Database.open(shipped, tmp_path / "own.jsonl")
    assert database.lookup("w", "t")
    assert shipped.exists()


@pytest.mark.parametrize(
    ("choice", "measured", "cause"),
    [
        ("a", {}, "'a' is not among"),
        ("a", {"a": 0.0}, "positive seconds"),
        ("a", {"a": float("inf")}, "positive"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(
    tmp_path: Path, choice: str, measured: dict, cause: str
) -> None:
    with pytest.raises(CompileError, match=cause):
        Database.open(tmp_path / "t").record("w", "t", choice, measured)


def test_the_user_file_follows_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_paths()[-1] == tmp_path / "sanderling" / "tuning.jsonl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_paths()[-1] == Path.home() / ".cache" / "sanderling" / "tuning.jsonl"
