"""Worse is worse only beyond noise; a wrong answer always is; nothing is compared that cannot be."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.bench_compare import BETTER, SAME, UNCLEAR, WORSE, Report, as_json, compare, judge, text
from sanderling.cli.bench_document import parse
from sanderling.cli.errors import CommandError
from tests.support.benchmarks import document, spoil

from .conftest import Command

Change = Callable[[dict[str, Any]], None]


def small() -> dict[str, Any]:
    return document(
        models=["birds"], runtimes=["sanderling", "mnn"], targets=["x86-64-v4"], threads=(1,), layers=0
    )


def report(change: Change, threshold: float = 0.05, force: bool = False) -> Report:
    """`small()` against itself after `change`."""
    new = copy.deepcopy(small())
    change(new)
    return compare(parse(small()), parse(new), threshold, force=force)


def scaled(**factors: float) -> Change:
    """Multiply members of the first row. A changed median takes the figures above it along."""

    def change(value: dict[str, Any]) -> None:
        row = value["rows"][0]
        for name, factor in factors.items():
            row[name] *= factor
        if "p50_ms" in factors:
            for name in ("p90_ms", "p99_ms"):
                row[name] *= factors["p50_ms"]

    return change


@pytest.mark.parametrize(
    ("factors", "verdict", "measure"),
    [
        ({}, SAME, "p50"),
        ({"p50_ms": 1.2, "min_ms": 1.2}, WORSE, "p50"),
        ({"p50_ms": 1.2, "min_ms": 1.2}, WORSE, "min"),
        ({"p50_ms": 1.2}, UNCLEAR, "p50"),
        ({"p50_ms": 1.2, "min_ms": 1.04}, UNCLEAR, "min"),
        ({"min_ms": 1.06}, UNCLEAR, "p50"),
        ({"p50_ms": 1.049, "min_ms": 1.049}, SAME, "p50"),
        ({"p50_ms": 0.8, "min_ms": 0.8}, BETTER, "p50"),
        ({"p50_ms": 0.96, "min_ms": 0.96}, SAME, "p50"),
        ({"min_ms": 0.8}, UNCLEAR, "min"),
        ({"start_ms": 3.0}, WORSE, "start-up"),
        ({"start_ms": 1.3}, SAME, "start-up"),  # 10 ms: within what such figures vary by
        ({"peak_memory_bytes": 1.1}, WORSE, "memory"),
        ({"peak_memory_bytes": 1.02}, SAME, "memory"),  # 0.9 MB
        ({"peak_memory_bytes": 0.9}, BETTER, "memory"),
        ({"model_bytes": 2}, WORSE, "size"),
        ({"model_bytes": 0.5}, BETTER, "size"),
    ],
)
def test_change_is_judged(factors: dict[str, float], verdict: str, measure: str) -> None:
    def change(value: dict[str, Any]) -> None:
        scaled(**factors)(value)
        for name in ("peak_memory_bytes", "model_bytes"):
            value["rows"][0][name] = int(value["rows"][0][name])

    found = report(change)
    assert {c.measure.name: c.verdict for c in found.rows[0].changes}[measure] == verdict
    assert found.rows[0].verdict == verdict
    assert found.rows[1].verdict == SAME
    assert len(found.regressions) == (verdict == WORSE)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("right", "right", SAME),
        ("right", "wrong", WORSE),
        ("right", "failed", WORSE),
        ("right", "unsupported", WORSE),
        ("failed", "wrong", WORSE),
        ("wrong", "right", BETTER),
        ("failed", "right", BETTER),
        ("wrong", "wrong", SAME),
        ("failed", "failed", SAME),
    ],
)
def test_answers_count_more_than_times(old: str, new: str, verdict: str) -> None:
    before, after = small(), small()
    for value, outcome in ((before, old), (after, new)):
        if outcome != "right":
            spoil(value, outcome, "reason", runtime="sanderling")
    # Ten times faster, too: that does not excuse a wrong answer.
    if "p50_ms" in after["rows"][0]:
        scaled(p50_ms=0.1, min_ms=0.1)(after)
    found = compare(parse(before), parse(after), 0.05).rows[0]
    assert found.outcome == verdict
    assert found.verdict == (verdict if (old, new) != ("right", "right") else BETTER)
    assert bool(found.changes) == (old == new == "right")


POSITIVE = st.floats(1e-3, 1e6)


@given(POSITIVE, POSITIVE, st.floats(0, 2), st.sampled_from([0.0, 1.0, 100.0]))
def test_better_is_worse_the_other_way_round(old: float, new: float, threshold: float, floor: float) -> None:
    there, back = judge(old, new, threshold, floor), judge(new, old, threshold, floor)
    assert back == {WORSE: BETTER, BETTER: WORSE, SAME: SAME}[there]


@given(POSITIVE, st.floats(0, 2))
def test_same_figure_is_the_same(value: float, threshold: float) -> None:
    assert judge(value, value, threshold) == SAME


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_threshold_is_kept(threshold: float) -> None:
    assert report(scaled(p50_ms=1.3, min_ms=1.3), threshold).rows[0].verdict == (
        WORSE if threshold < 0.3 else SAME
    )


def test_rows_of_one_file_only_are_listed() -> None:
    def change(value: dict[str, Any]) -> None:
        value["rows"][1]["runtime"] = "ncnn"

    found = report(change)
    assert [row.runtime for row in found.only_old] == ["mnn"]
    assert [row.runtime for row in found.only_new] == ["ncnn"]
    assert found.regressions == ()
    written = text(found)
    assert "only in the old file: birds, mnn native fp32, 1 thread" in written
    assert "only in the new file: birds, ncnn native fp32, 1 thread" in written


def test_means_tell_a_slow_machine_from_a_slow_runtime() -> None:
    def change(value: dict[str, Any]) -> None:
        for row in value["rows"]:
            for name in ("min_ms", "p50_ms", "p90_ms", "p99_ms"):
                row[name] *= 1.5

    assert report(change).means() == pytest.approx({"sanderling": 1.5, "mnn": 1.5})
    assert report(scaled(p50_ms=2.0)).means() == pytest.approx({"sanderling": 2.0, "mnn": 1.0})


def machine(**facts: Any) -> Change:
    return lambda value: value["machine"].update(facts)


def device(name: str) -> Change:
    return lambda value: [row.update(device=name) for row in value["rows"]] and None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (machine(cpu="Cortex-A76"), "cpu: AMD EPYC before, Cortex-A76 now"),
        (machine(cpus=8), "cpus: 2 before, 8 now"),
        (machine(arch="aarch64"), "arch: x86_64 before, aarch64 now"),
        (device("board"), "device: AMD EPYC before, board now"),
        (lambda value: value.update(machine={}), "cpu: AMD EPYC before, unknown now"),
    ],
)
def test_other_machines_are_not_compared_unless_forced(change: Change, cause: str) -> None:
    with pytest.raises(CommandError) as error:
        report(change)
    assert cause in str(error.value)
    assert "--force" in str(error.value)
    found = report(change, force=True)
    assert cause in "; ".join(found.warnings)
    assert len(found.rows) == 2


def test_several_devices_are_kept_apart_even_if_forced() -> None:
    def change(value: dict[str, Any]) -> None:
        value["rows"].append(value["rows"][0] | {"device": "board"})

    found = report(change, force=True)
    assert [row.device for row in found.only_new] == ["AMD EPYC", "AMD EPYC", "board"]


def test_other_settings_are_told() -> None:
    found = report(lambda value: value["settings"].update(duration_s=1.0))
    assert found.warnings == ("measured differently: duration_s 10.0 before, 1.0 now",)


def test_incomplete_document_is_told() -> None:
    assert report(lambda value: value.update(note="incomplete: interrupted")).warnings == (
        "new file: incomplete: interrupted",
    )


def test_text_names_every_change_and_json_says_the_same() -> None:
    def change(value: dict[str, Any]) -> None:
        scaled(p50_ms=2.0, min_ms=2.0)(value)
        spoil(value, "wrong", "error 3.1e-01", runtime="mnn")

    found = report(change)
    written = text(found)
    assert re.search(
        r"^regression: birds, sanderling x86-64-v4 fp32, 1 thread: p50 3\.\d+ ms → 6\.\d+ ms \(\+100\.0%\)$",
        written,
        re.MULTILINE,
    )
    assert "regression: birds, mnn native fp32, 1 thread: right before, wrong now (error 3.1e-01)" in written
    assert "2 regressions in 2 rows" in written
    value = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert value["regressions"] == 2
    assert [row["verdict"] for row in value["rows"]] == [WORSE, WORSE]
    assert value["rows"][0]["changes"]["p50"]["ratio"] == pytest.approx(2)
    assert value["rows"][1]["changes"] == {}


def test_memory_from_nothing_has_no_ratio() -> None:
    before, after = small(), small()
    before["rows"][0]["peak_memory_bytes"] = before["rows"][0]["base_memory_bytes"]
    found = compare(parse(before), parse(after), 0.05)
    assert found.rows[0].verdict == WORSE
    assert "memory 0 B → " in text(found)
    json.dumps(as_json(found), allow_nan=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The same document twice."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for path in (old, new):
        path.write_text(json.dumps(small()))
    return old, new


def rewrite(path: Path, change: Change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_command_tells_by_its_exit_code(sanderling: Command, files: tuple[Path, Path]) -> None:
    old, new = files
    outcome = sanderling("bench", "--compare", old, new)
    assert (outcome.code, outcome.err) == (0, "")
    assert "0 regressions in 2 rows" in outcome.out
    rewrite(new, scaled(p50_ms=1.2, min_ms=1.2))
    assert sanderling("bench", "--compare", old, new).code == 3
    assert sanderling("bench", "--compare", new, old).code == 0
    assert sanderling("bench", "--compare", old, new, "--threshold", "25%").code == 0


def test_command_writes_json(sanderling: Command, files: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = sanderling("bench", "--compare", *files, "--json", "-")
    assert json.loads(outcome.out)["regressions"] == 0
    outcome = sanderling("bench", "--compare", *files, "--json", tmp_path / "out.json")
    assert "0 regressions" in outcome.out
    assert json.loads((tmp_path / "out.json").read_text())["threshold"] == 0.05


def test_command_refuses_other_machines_until_forced(sanderling: Command, files: tuple[Path, Path]) -> None:
    rewrite(files[1], machine(cpu="Cortex-A76"))
    outcome = sanderling("bench", "--compare", *files)
    assert (outcome.code, outcome.out) == (1, "")
    assert "not comparable: cpu: AMD EPYC before, Cortex-A76 now" in outcome.err
    outcome = sanderling("bench", "--compare", *files, "--force")
    assert outcome.code == 0
    assert outcome.err.startswith("sanderling: warning: cpu: ")


@pytest.mark.parametrize(
    ("content", "cause"), [("", "not JSON"), ("{}", "not a benchmark document"), (None, "No such file")]
)
def test_command_names_the_file_that_it_cannot_read(
    sanderling: Command, files: tuple[Path, Path], content: str | None, cause: str
) -> None:
    files[1].unlink()
    if content is not None:
        files[1].write_text(content)
    outcome = sanderling("bench", "--compare", *files)
    assert outcome.code == 1
    assert f"{files[1]}: {cause}" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (("--compare", "a.json"), 2, "expected 2 arguments"),
        (("--compare", "a", "b", "--threshold", "0.05"), 2, "is not a percentage such as 5%"),
        (("--compare", "a", "b", "--report", "c"), 2, "not allowed with"),
        (("model.onnx", "--report", "c"), 2, "not allowed with"),
        (("--compare", "a", "b", "--html", "f.html"), 1, "--html needs a model or --report"),
        (("--report", "a", "--json", "-"), 1, "--json needs a model or --compare"),
        (("--report", "a"), 1, "--report needs --html F or --png DIR"),
        (("model.onnx", "--threshold", "0%"), 1, "--threshold needs --compare"),
        (("model.onnx", "--force"), 1, "--force needs --compare"),
    ],
)
def test_command_refuses_what_it_would_pass_over(
    sanderling: Command, arguments: tuple[str, ...], code: int, cause: str
) -> None:
    outcome = sanderling("bench", *arguments)
    assert outcome.code == code
    assert cause in outcome.err


def test_command_reports_a_stored_document(
    sanderling: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    page, pictures = tmp_path / "page.html", tmp_path / "charts"
    outcome = sanderling("bench", "--report", files[0], "--html", page, "--png", pictures)
    assert outcome.code == 0, outcome.err
    assert "<svg" in page.read_text()
    assert (pictures / "speed-up.png").is_file()


def test_command_that_cannot_read_leaves_no_page(sanderling: Command, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("[]")
    outcome = sanderling("bench", "--report", tmp_path / "old.json", "--html", tmp_path / "p.html")
    assert outcome.code == 1
    assert "not a benchmark document" in outcome.err
    assert not (tmp_path / "p.html").exists()


def test_what_bench_measures_can_be_shown_and_compared(
    sanderling: Command, tiny_package: Path, tmp_path: Path
) -> None:
    stored, page = tmp_path / "bench.json", tmp_path / "bench.html"
    outcome = sanderling(
        "bench", tiny_package, "--runs", 20, "--json", stored, "--html", page, "--png", tmp_path / "charts"
    )
    assert outcome.code == 0, outcome.err
    names = {path.stem for path in (tmp_path / "charts").iterdir()}
    assert {"speed-up", "latency-1-thread", "memory", "start-up"} < names
    assert any(name.startswith("roofline-") for name in names)
    shown = page.read_text()
    assert "Every runtime gave right answers" in shown
    assert sanderling("bench", "--report", stored, "--html", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_text() == shown
    outcome = sanderling("bench", "--compare", stored, stored)
    assert (outcome.code, outcome.err) == (0, "")
