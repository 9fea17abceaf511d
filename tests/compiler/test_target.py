"""Targets are complete and consistent; every machine gets the one that fits it best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from sanderling.compiler.errors import CompileError
from sanderling.compiler.target import find_target, host_target, known_targets

ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
GRAVITON3 = (
    f"{ARMV8_2} jscvt fcma sha3 sm3 sm4 sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp "
    "svei8mm svebf16 i8mm bf16 dgh rng"
)
HASWELL = "fpu sse2 fma avx avx2 bmi1 bmi2 f16c"
SKYLAKE_SP = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"


def arm(features: str, *parts: int, implementer: int = 0x41) -> str:
    """`/proc/cpuinfo` of cores with these part numbers."""
    return "\n".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: {implementer:#x}\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part:#x}\nCPU revision\t: 3\n"
        for number, part in enumerate(parts)
    )


def x86(flags: str) -> str:
    return f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {flags}\n\n"


@pytest.mark.parametrize(
    ("machine", "arch", "name"),
    [
        (x86(HASWELL), "x86_64", "x86-64-v3"),
        (x86(SKYLAKE_SP), "x86_64", "x86-64-v4"),
        (arm(ARMV8_0, *[0xD03] * 4), "aarch64", "aarch64-cortex-a53"),  # Raspberry Pi 3
        (arm(ARMV8_0, *[0xD08] * 4), "aarch64", "aarch64-cortex-a72"),  # Raspberry Pi 4
        (arm(ARMV8_0, *[0xD03] * 4, *[0xD08] * 2), "aarch64", "aarch64-cortex-a72"),  # RK3399
        (arm(ARMV8_2, *[0xD0B] * 4), "aarch64", "aarch64-cortex-a76"),  # Raspberry Pi 5
        (arm(ARMV8_2, *[0xD05] * 4, *[0xD0B] * 4), "aarch64", "aarch64-cortex-a76"),  # RK3588
        (arm(ARMV8_2, 0xD0C), "aarch64", "aarch64-neoverse-n1"),  # Graviton2
        (arm(GRAVITON3, 0xD40), "aarch64", "aarch64-neoverse-v1"),
        (arm(GRAVITON3 + " sve2", 0xD4F), "aarch64", "aarch64-neoverse-v2"),  # Graviton4
        # Of another maker: by features alone.
        (arm(ARMV8_0, 0x0A1, implementer=0x43), "aarch64", "aarch64-cortex-a72"),  # ThunderX
        (arm(ARMV8_2, 0xD0C, implementer=0x48), "aarch64", "aarch64-neoverse-n1"),
        # The features count, not the name: a kernel may mask what the core could do.
        (arm(ARMV8_0, 0xD0B), "aarch64", "aarch64-cortex-a72"),
    ],
)
def test_a_machine_gets_the_target_that_fits_it_best(machine: str, arch: str, name: str) -> None:
    assert host_target(machine, arch).name == name


@pytest.mark.parametrize(
    ("machine", "arch"),
    [(x86("fpu sse2"), "x86_64"), ("", "aarch64"), (x86(SKYLAKE_SP), "riscv64"), ("flags", "x86_64")],
)
def test_a_machine_that_fits_none_is_told_the_targets(machine: str, arch: str) -> None:
    with pytest.raises(CompileError, match=r"none of the targets .*x86-64-v3.*--target"):
        host_target(machine, arch)


@pytest.mark.parametrize(
    ("aliases", "name"),
    [
        (("raspberry-pi-3", "rasp3b"), "aarch64-cortex-a53"),
        (("raspberry-pi-4", "rasp4b", "rk3399"), "aarch64-cortex-a72"),
        (("raspberry-pi-5",), "aarch64-cortex-a76"),
        (("graviton2", "ml_c6g", "ml_m6g", "c6g"), "aarch64-neoverse-n1"),
        (("graviton3", "ml_c7g", "m7g"), "aarch64-neoverse-v1"),
        (("graviton4", "r8g"), "aarch64-neoverse-v2"),
        (("avx2", "ml_c4"), "x86-64-v3"),
        (("avx512", "ml_c5"), "x86-64-v4"),
    ],
)
def test_users_names_for_machines(aliases: Sequence[str], name: str) -> None:
    assert {find_target(alias).name for alias in aliases} == {name}


def test_no_name_means_two_targets() -> None:
    names = Counter(name for t in known_targets().values() for name in (t.name, *t.aliases))
    assert [name for name, count in names.items() if count > 1] == []
    assert "host" not in names


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CompileError, match="unknown target 'pdp-11'; known: host, aarch64-cortex-a53"):
        find_target("pdp-11")


@pytest.mark.parametrize("name", known_targets())
def test_a_target_is_consistent(name: str) -> None:
    target = find_target(name)
    assert target.triple == f"{target.arch}-linux-gnu"
    assert len(set(target.features)) == len(target.features) > 0
    assert target.vector_bytes in (16, 32, 64)
    assert target.vector_registers in (16, 32)
    assert bool(target.parts) == (target.arch == "aarch64")
    assert target.fma_in_flight < target.vector_registers
