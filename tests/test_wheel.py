"""Wheels hold what they say and nothing of the machine that built them; the checks find what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sanderling import compiler
from sanderling.compiler.target import find_target
from scripts import wheel
from scripts.binaries import read_binary
from tests.support.emulated import ROOT, emulator

NAME = f"sanderling-0.1.0-{wheel._PYTHON}-{wheel._PYTHON}-{wheel.platform_tag('aarch64')}.whl"
RUNTIME = "sanderling/runtime/"
NATIVE = tuple(RUNTIME + name.format(python=wheel._PYTHON[2:], arch="aarch64") for name in wheel._NATIVE)
HEADER = RUNTIME + "include/sanderling/sanderling.h"


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """A function: linker flags → a shared object for ARM (or for what `compiler` compiles for)."""

    def link_(*flags: str, compiler: str = "aarch64-linux-gnu-gcc", source: str = "") -> bytes:
        folder = tmp_path_factory.mktemp("link")
        (folder / "empty.c").write_text(source)
        command = [
            compiler,
            "-shared",
            "-fPIC",
            str(folder / "empty.c"),
            "-o",
            str(folder / "empty.so"),
            *flags,
        ]
        subprocess.run(command, check=True, capture_output=True)
        return (folder / "empty.so").read_bytes()

    return link_


def pack(folder: Path, files: Mapping[str, bytes], name: str = NAME) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in files.items():
            archive.writestr(entry, data)
    return path


def test_a_right_wheel_has_no_faults(link: Callable[..., bytes], tmp_path: Path) -> None:
    good = link("-nostdlib", "-Wl,-rpath,$ORIGIN")
    files = {**dict.fromkeys(NATIVE, good), HEADER: b""}
    assert list(wheel.faults(pack(tmp_path, files), "aarch64")) == []


NEW = "int pthread_create(void*, void*, void*, void*); int f(void) { return pthread_create(0, 0, 0, 0); }"


@pytest.mark.parametrize(
    ("flags", "options", "fault"),
    [
        (("-nostdlib",), {"compiler": "gcc"}, "is for x86_64"),
        (("-nostdlib", "-Wl,-rpath,/opt/lib"), {}, "looks for libraries in /opt/lib"),
        (("-Wl,--no-as-needed", "-lstdc++"), {}, "needs libstdc++.so.6"),
        ((), {"source": NEW}, "needs GLIBC_2.34"),
    ],
)
def test_wrong_machine_code_is_found(
    flags: tuple[str, ...],
    options: dict[str, str],
    fault: str,
    link: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    good = link("-nostdlib")
    files = {**dict.fromkeys(NATIVE, good), HEADER: b"", NATIVE[1]: link(*flags, **options)}
    assert f"{NATIVE[1]} {fault}" in list(wheel.faults(pack(tmp_path, files), "aarch64"))


def test_wrong_contents_are_found(tmp_path: Path) -> None:
    leak = f"built in {ROOT}".encode()
    path = pack(tmp_path, {"sanderling/x.py": leak}, "sanderling-0.1.0-cp38-none-linux_aarch64.whl")
    found = "\n".join(wheel.faults(path, "aarch64"))
    for part in (
        "its tags are cp38-none-linux_aarch64",
        *NATIVE,
        "the C header is missing",
        "sanderling/x.py names",
    ):
        assert part in found


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n"])
def test_what_is_no_binary_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no 64-bit"):
        read_binary(data)


@pytest.mark.slow
def test_the_wheel_for_arm_runs_a_model_on_every_core(tmp_path: Path) -> None:
    assert wheel.main(["aarch64", "--output", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(path, tmp_path / "unpacked", "zip")
    tool = tmp_path / "unpacked" / RUNTIME / "sanderling-run"
    tool.chmod(0o755)
    package = tmp_path / "birds.sand"
    targets = ("aarch64-cortex-a53", "aarch64-cortex-a72", "aarch64-cortex-a76")
    birds = ROOT / "models" / "birds" / "birds.onnx"
    compiler.compile(birds, output=package, target=targets, tune="none", verify=False)
    for target in map(find_target, targets):
        subprocess.run([*emulator(target), tool, package, "--runs", "0"], check=True, capture_output=True)


@pytest.mark.slow
def test_the_wheel_for_x86_installs_and_runs_without_extras(tmp_path: Path) -> None:
    assert wheel.main(["x86_64", "--output", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(installed), str(path)], check=True)
    package = tmp_path / "birds.sand"
    compiler.compile(ROOT / "models" / "birds" / "birds.onnx", output=package, tune="none", verify=False)
    code = (
        "import sys, numpy, sanderling; sys.path.index(sys.argv[2]);"
        "assert sanderling.__file__.startswith(sys.argv[2]), sanderling.__file__;"
        "model = sanderling.load(sys.argv[1], backend='native'); spec = model.inputs[0];"
        "model.run(numpy.zeros(spec.shape, spec.dtype))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run(
        [sys.executable, "-c", code, str(package), str(installed)], check=True, env=environment, cwd=tmp_path
    )
    subprocess.run([installed / RUNTIME / "sanderling-run", package, "--runs", "0"], check=True)
