"""The loop that is judged is the one that the processor spends its time in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import mca, results

DISASSEMBLY = """
kernel.o:	file format elf64-littleaarch64

Disassembly of section .text.kernel:

0000000000000000 <kernel>:
       0:      	cmp	w0, w1
       4:      	b.ge	0x30 <kernel+0x30>
       8:      	mov	w10, #0xaaab            // =43691
       c:      	ldr	q1, [x2], #0x10
      10:      	fmla	v0.4s, v1.4s, v2.s[0]
      14:      	b.ne	0xc <kernel+0xc>
      18:      	ldp	q4, q5, [x3], #0x20
      1c:      	fmla	v0.4s, v4.4s, v2.s[0]
      20:      	fmla	v3.4s, v5.4s, v2.s[0]
      24:      	stp	q0, q3, [x4]
      28:      	cbnz	x14, 0x18 <kernel+0x18>
      2c:      	b.ne	0x8 <kernel+0x8>
      30:      	ret
"""


def addresses(code: list[mca.Instruction]) -> tuple[int, int]:
    return code[0].address, code[-1].address


def test_inner_loops_are_found_by_control_flow() -> None:
    code = mca.parse(DISASSEMBLY)
    assert len(code) == 13
    assert code[2].text == "mov w10, #0xaaab"
    assert [addresses(loop) for loop in mca.inner_loops(code)] == [(0x0C, 0x14), (0x18, 0x28)]


def test_the_hot_loop_has_most_multiply_adds() -> None:
    loop = mca.hot_loop(mca.parse(DISASSEMBLY))
    assert addresses(loop) == (0x18, 0x28)
    assert mca.multiply_adds(loop) == 2
    assert mca.memory_accesses(loop, "ldp", "ld") == 2
    assert mca.memory_accesses(loop, "stp", "st") == 2


@pytest.mark.parametrize(
    "changed",
    [
        ("stp	q0, q3, [x4]", "b.eq	0x30 <kernel+0x30>"),  # may leave in the middle
        ("stp	q0, q3, [x4]", "bl	0x100 <elsewhere>"),  # is busy elsewhere
        (
            "mov	w10, #0xaaab            // =43691",
            "b.eq	0x1c <kernel+0x1c>",
        ),  # may be entered in the middle
    ],
)
def test_what_is_no_simple_loop_is_not_taken_for_one(changed: tuple[str, str]) -> None:
    loops = mca.inner_loops(mca.parse(DISASSEMBLY.replace(*changed)))
    assert [addresses(loop) for loop in loops] == [(0x0C, 0x14)]


def test_code_without_a_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="no inner loop"):
        mca.hot_loop(mca.parse(DISASSEMBLY.replace("fmla", "fmul")))


def test_the_committed_figures_reach_the_goal() -> None:
    document = results.read(results.RESULTS / "mca.json")
    rows = [row for row in document["rows"] if row["target"] == "aarch64-cortex-a76"]
    assert {row["kernel"] for row in rows} == set(mca.KERNELS)
    for row in rows:
        assert row["share"] == pytest.approx(
            row["fmla"] / row["fmla_a_cycle_limit"] / row["cycles"], abs=1e-3
        )
        assert row["share"] >= mca.GOAL


@pytest.mark.slow
def test_todays_kernels_reach_the_goal(tmp_path: Path) -> None:
    assert shutil.which("llvm-mca-19"), "run scripts/setup mca"
    assert mca.main(["--output", str(tmp_path)]) == 0
    rows = results.read(tmp_path / "mca.json")["rows"]
    assert {(row["target"], row["kernel"]) for row in rows} == {
        (t, k) for t in mca.MODELS for k in mca.KERNELS
    }
