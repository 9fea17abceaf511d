"""Documents are read whole or refused with the place at fault."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.bench_document import OUTCOMES, Layer, describe, parse, read
from sanderling.cli.errors import CommandError
from tests.support.benchmarks import document, spoil

Document = dict[str, Any]


@pytest.fixture
def small() -> Document:
    return document(models=["birds"], layers=2)


def test_document_is_read_as_it_was_written(tmp_path: Path, small: Document) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(small))
    found = read(path)
    assert [row.key for row in found.rows] == [
        ("birds", row["runtime"], "AMD EPYC", row["target"], "fp32", row["threads"]) for row in small["rows"]
    ]
    first, source = found.rows[0], small["rows"][0]
    assert first.p50_ms == source["p50_ms"]
    assert first.memory_bytes == source["peak_memory_bytes"] - source["base_memory_bytes"]
    assert found.machine_text == "AMD EPYC, 2 CPUs, Debian GNU/Linux 12 (bookworm)"
    assert found.fma_gflops == {"x86-64-v4": 117.6, "x86-64-v3": 117.1}
    assert len(found.layers) == len(small["layers"])


@pytest.mark.parametrize("outcome", ["failed", "unsupported"])
def test_rows_without_times_are_kept_with_their_reason(small: Document, outcome: str) -> None:
    spoil(small, outcome, "it said no", runtime="ncnn")
    rows = [row for row in parse(small).rows if row.runtime == "ncnn"]
    assert rows
    assert all(
        (row.outcome, row.note, row.latency, row.memory_bytes) == (outcome, "it said no", None, None)
        for row in rows
    )


def test_what_an_older_or_poorer_document_lacks_is_unknown(small: Document) -> None:
    for name in ("limits", "settings", "layers", "machine", "command"):
        del small[name]
    for row in small["rows"]:
        del row["base_memory_bytes"], row["start_ms"]
    found = parse(small)
    assert (found.memory_gbps, found.layers, found.machine_text) == (None, (), "")
    assert found.rows[0].memory_bytes is None


def put(path: str, value: Any) -> Callable[[Document], None]:
    """`put("rows.0.p50_ms", 3)` sets that member; `put(…, ...)` deletes it."""

    def change(target: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            target = target[part]
        if value is ...:
            del target[last]
        else:
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (put("schema", 1), "schema 1, but this version reads 2: measure again"),
        (put("schema", ...), "schema 'an older one'"),
        (put("benchmark", "footprint"), "a benchmark of 'footprint'"),
        (put("rows", ...), "not a benchmark document"),
        (put("rows", {}), "rows: not a list"),
        (put("rows.1", 7), "row 2: not an object"),
        (put("rows.1", {}), "row 2: outcome None is none of right"),
        (put("rows.0.outcome", "fine"), "row 1: outcome 'fine'"),
        (put("rows.0.p50_ms", ...), "row 1: p50_ms: missing"),
        (put("rows.0.p50_ms", "3"), "row 1: p50_ms: '3', not a number"),
        (put("rows.0.p50_ms", True), "row 1: p50_ms: True"),
        (put("rows.0.min_ms", 1e9), "row 1: min, p50, p90 and p99"),
        (put("rows.0.min_ms", 0), "row 1: min, p50, p90 and p99"),
        (put("rows.0.threads", 1.5), "row 1: threads: 1.5, not a whole number above 0"),
        (put("rows.0.threads", 0), "row 1: threads: 0"),
        (put("rows.0.model", ""), "row 1: model: '', not a text"),
        (put("rows.0.error", -1), "row 1: error: -1"),
        (put("rows.0.peak_memory_bytes", 1e300), "row 1: peak_memory_bytes"),
        (put("rows.1.target", "x86-64-v4"), "two rows for birds, sanderling x86-64-v4 fp32, 1 thread"),
        (put("layers.1.us", None), "layer 2: us: missing"),
        (put("layers.0", []), "layer 1: not an object"),
        (put("limits", []), "limits: not an object"),
        (put("limits.fma_gflops.x86-64-v4", "fast"), "limits: fma_gflops: x86-64-v4: 'fast'"),
        (put("limits.memory_gbps", -1), "limits: memory_gbps: -1"),
        (put("machine", "a big one"), "machine: not an object"),
    ],
)
def test_broken_document_is_refused_with_the_place(
    small: Document, change: Callable[[Document], None], cause: str
) -> None:
    change(small)
    with pytest.raises(CommandError) as error:
        parse(small)
    assert cause in str(error.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{" * 100_000, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"rows": [NaN]}', "not JSON (NaN is not JSON)"),
        (b"[]", "not a benchmark document"),
        (b"null", "not a benchmark document"),
        (b'{"schema": 2}', "not a benchmark document"),
    ],
)
def test_foreign_file_is_refused_by_name(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(CommandError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert cause in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["rows", "layers", "limits", "settings", "machine"]), JSON)
def test_any_member_is_read_or_refused(name: str, value: Any) -> None:
    whole = document(models=["birds"], runtimes=["sanderling"], layers=1)
    with contextlib.suppress(CommandError):  # anything else would be a crash
        parse(whole | {name: value})


@given(
    st.sampled_from(sorted(document(models=["birds"], runtimes=["sanderling"])["rows"][0])),
    JSON,
    st.sampled_from(OUTCOMES),
)
def test_any_value_in_a_row_is_read_or_refused(name: str, value: Any, outcome: str) -> None:
    whole = document(models=["birds"], runtimes=["sanderling"], layers=1)
    whole["rows"][0] |= {"outcome": outcome, name: value}
    with contextlib.suppress(CommandError):
        parse(whole)


def test_layer_tells_rate_and_intensity() -> None:
    layer = Layer("m", "t", 1, "conv", "conv", flops=2e9, bytes=1e7, us=20_000.0)
    assert layer.gflops == pytest.approx(100)
    assert layer.intensity == pytest.approx(200)
    assert Layer("m", "t", 1, "copy", "layout", 0, 0, 0).gflops == 0


def test_key_is_described_for_people() -> None:
    assert describe(("m", "ncnn", "d", "native", "fp32", 2)) == "m, ncnn native fp32, 2 threads"
