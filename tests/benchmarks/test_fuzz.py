"""What the fuzzing driver reads out of libFuzzer's words, and what a run with findings looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fuzz, results

REPORT = """\
COVERED_FUNC: hits: 28 edges: 2/4 sanderling::Plan::params_blob() const /src/cpp/src/core/plan.h:33
UNCOVERED_FUNC: hits: 0 edges: 0/8 sanderling::report(sanderling::Status const&, sd_error*) /src/cpp/src/api/common.cc:12
COVERED_FUNC: hits: 9 edges: 5/11 sanderling::PlanReader::read() /src/cpp/src/core/plan.cc:103
  UNCOVERED_PC: /src/cpp/src/core/plan.cc:105
UNCOVERED_FUNC: hits: 0 edges: 0/3 f(int) /src/cpp/src/core/plan.cc:300
"""  # noqa: E501


def test_coverage_counts_the_edges_of_the_files_in_question() -> None:
    assert fuzz.count_edges(REPORT, r"cpp/src/core/plan\.(cc|h)") == (7, 18)
    assert fuzz.count_edges(REPORT, r"cpp/src/core/elf\.(cc|h)") == (0, 0)


def test_the_number_of_inputs_is_libfuzzers_own() -> None:
    assert fuzz.executed("#2\tINITED\n#1000\tpulse\nstat::number_of_executed_units: 1024\n") == 1024
    assert fuzz.executed("#2\tINITED\n#512\tNEW\n==1==ERROR: AddressSanitizer\n") == 512
    assert fuzz.executed("") == 0


def target(folder: Path, body: str) -> Path:
    """A program that behaves as a libFuzzer target does on its command line."""
    path = folder / "fuzz_plan"
    path.write_text(
        "#!/bin/sh\nfor word; do case $word in\n"
        f"-print_coverage=1) cat {folder}/report >&2; exit 0;;\n"
        "-artifact_prefix=*) prefix=${word#*=};;\nesac; done\n" + body
    )
    path.chmod(0o755)
    (folder / "report").write_text(REPORT)
    return path


def test_a_row_says_what_was_found(tmp_path: Path) -> None:
    program = target(tmp_path, "echo '#77 NEW' >&2; : > ${prefix}crash-1234; exit 77\n")
    for _ in range(2):  # findings of an earlier run are not counted again
        row = fuzz.fuzz("plan", program, fuzz.TARGETS["plan"], 100, 1)
        assert row["findings"] == ["crash-1234"]
        assert (row["inputs"], row["reached"], row["edges"]) == (77, 7, 18)


def test_a_target_that_cannot_run_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot allocate"):
        fuzz.fuzz(
            "plan", target(tmp_path, "echo cannot allocate >&2; exit 1\n"), fuzz.TARGETS["plan"], 100, 1
        )


def test_committed_figures_reach_a_million_inputs_without_a_finding() -> None:
    rows = {row["target"]: row for row in results.read(results.RESULTS / "fuzz.json")["rows"]}
    assert rows.keys() == fuzz.TARGETS.keys()
    for name in ("package", "plan"):
        assert rows[name]["inputs"] >= 1_000_000
    assert all(row["findings"] == [] for row in rows.values())
