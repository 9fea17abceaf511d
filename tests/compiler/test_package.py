"""The writer's file: readable by zipfile, in the strict profile, reproducible, whole or absent."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.archive import write_archive
from sanderling.compiler.errors import CompileError
from sanderling.compiler.package import Package, layout_params, make_variant, write_package
from sanderling.compiler.plan import decode_plan
from sanderling.compiler.program import Program
from sanderling.compiler.target import Target

LARGE = ("kernels.so", "params.bin", "model.onnx")


@pytest.fixture(scope="module")
def package(affine: Program, host: Target) -> Package:
    x = np.arange(64, dtype=np.float32).reshape(4, 16)
    return Package(
        name="affine",
        version="1.0.0",
        inputs=affine.inputs,
        outputs=affine.outputs,
        model_onnx=b"not looked at here",
        variants=(make_variant(affine, host),),
        lineage={"source_name": "affine.onnx"},
        selftest_inputs={"x": x},
        selftest_outputs={"y": x},
    )


@pytest.fixture
def path(package: Package, tmp_path: Path) -> Path:
    write_package(tmp_path / "affine.sand", package)
    return tmp_path / "affine.sand"


def test_entries_and_digests_agree_with_the_manifest(path: Path, host: Target) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert set(manifest["entries"]) == set(archive.namelist()) - {"manifest.json"}
        for name, entry in manifest["entries"].items():
            data = archive.read(name)
            assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": [4, 16]}]
    row = manifest["variants"][host.name]
    assert row == {
        "arch": host.arch,
        "features": list(host.features),
        "native": True,
        "kernels": 2,
        "arena_bytes": 256,
        "scratch_bytes": 0,
    }


def test_the_plan_names_the_digests_of_kernels_and_params(path: Path, host: Target) -> None:
    with zipfile.ZipFile(path) as archive:
        plan = decode_plan(archive.read(f"variants/{host.name}/plan.bin"))
        for blob in plan.blobs:
            data = archive.read(f"variants/{host.name}/{blob.name}")
            assert (blob.size, blob.sha256) == (len(data), hashlib.sha256(data).digest())


def test_the_same_package_gives_the_same_bytes(path: Path, package: Package) -> None:
    again = path.with_name("again.sand")
    write_package(again, package)
    assert again.read_bytes() == path.read_bytes()


def check_profile(data: bytes) -> None:
    """The container rules of the format that zipfile does not enforce."""
    magic, disk, start_disk, here, total, size, offset, comment = struct.unpack("<IHHHHIIH", data[-22:])
    assert (magic, disk, start_disk, here, comment) == (0x06054B50, 0, 0, total, 0)
    assert offset + size == len(data) - 22
    end = 0
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        assert (info.flag_bits, info.compress_type, info.external_attr, info.extra) == (0, 0, 0, b"")
        local = struct.unpack_from("<IHHHHHIIIHH", data, info.header_offset)
        assert local[2:4] == (0, 0)
        assert local[6:10] == (info.CRC, info.file_size, info.file_size, len(info.filename))
        assert 0 <= info.header_offset - end <= 3
        start = info.header_offset + 30 + local[9] + local[10]
        if info.filename.endswith(LARGE):
            assert start % 65536 == 0
        if info.filename.endswith("plan.bin"):
            assert start % 64 == 0
        end = start + info.file_size
    assert end == offset


def test_the_file_keeps_the_strict_profile(path: Path) -> None:
    check_profile(path.read_bytes())


@given(st.lists(st.integers(0, 140), min_size=1, max_size=6), st.integers(65536 - 140, 65536))
def test_every_position_can_be_aligned(sizes: list[int], filler: int) -> None:
    entries = [("filler", bytes(filler))]
    for index, size in enumerate(sizes):
        entries.append((f"{index}/{LARGE[index % 3] if index % 2 else 'plan.bin'}", bytes(size)))
    file = io.BytesIO()
    write_archive(file, entries)
    check_profile(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        assert [(name, archive.read(name)) for name in archive.namelist()] == entries


def test_equal_parameters_are_stored_once() -> None:
    a, b = np.arange(20, dtype=np.float32), np.ones(3, np.float32)
    offsets, data = layout_params({"a": a, "b": b, "same": a.reshape(4, 5), "big_endian": a.astype(">f4")})
    assert offsets == {"a": 0, "b": 128, "same": 0, "big_endian": 0}
    assert len(data) == 140
    assert np.array_equal(np.frombuffer(data, "<f4", 3, 128), b)


def test_a_transposed_parameter_is_stored_in_its_own_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    _, data = layout_params({"a": array})
    assert np.frombuffer(data, "<f4").tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"name": "a b"}, "model name 'a b'"),
        ({"name": ""}, "model name ''"),
        ({"name": "x" * 65}, "model name"),
        ({"version": "1.0"}, "version '1.0'"),
        ({"version": "01.0.0"}, "version '01.0.0'"),
        ({"selftest_inputs": {"x": np.zeros(3, np.float32)}}, "self-test tensor 'x'"),
        ({"report": {"text": "x" * (1 << 20)}}, "manifest.json would have"),
    ],
)
def test_a_wrong_package_is_refused_and_nothing_is_written(
    package: Package, tmp_path: Path, change: dict, cause: str
) -> None:
    with pytest.raises(CompileError, match=cause):
        write_package(tmp_path / "a.sand", replace(package, **change))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(
    path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sanderling.compiler.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_package(path, replace(package, version="2.0.0"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


FREE = ("-shared", "-nostdlib", "-fPIC", "-s")
KERNELS = "void scale(void) {} void shift(void) {} "
BAD_CODE = {
    "undefined symbol": (KERNELS + "float sinf(float); void more(float* x) { *x = sinf(*x); }", FREE),
    "DT_NEEDED": (KERNELS, ("-shared", "-fPIC", "-s", "-Wl,--no-as-needed")),
    "runs code when loaded": (KERNELS + "__attribute__((constructor)) void start(void) {}", FREE),
    "thread-local": (KERNELS + "__thread int local;", FREE),
    "not stripped": (KERNELS, ("-shared", "-nostdlib", "-fPIC")),
    "does not define scale, shift": ("void other(void) {}", FREE),
}


@pytest.mark.parametrize("cause", BAD_CODE)
def test_code_that_breaks_the_kernel_abi_is_refused(
    affine: Program, host: Target, compile_c: Callable[..., bytes], cause: str
) -> None:
    with pytest.raises(CompileError, match=cause):
        make_variant(replace(affine, code=compile_c(*BAD_CODE[cause])), host)


@pytest.mark.parametrize("code", [b"", b"\x7fELF", b"MZ" * 100])
def test_code_that_is_no_elf_file_is_refused(affine: Program, host: Target, code: bytes) -> None:
    with pytest.raises(CompileError, match="not a whole ELF file"):
        make_variant(replace(affine, code=code), host)


def test_code_for_another_machine_is_refused(affine: Program, host: Target) -> None:
    with pytest.raises(CompileError, match="is not aarch64"):
        make_variant(affine, replace(host, arch="aarch64"))


def test_unzip_reads_the_file(path: Path) -> None:
    assert subprocess.run(["unzip", "-tq", str(path)], capture_output=True).returncode == 0
