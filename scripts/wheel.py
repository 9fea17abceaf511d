"""Builds and checks a wheel for Linux on x86-64 or 64-bit ARM, on x86-64: `scripts/wheel.py aarch64`.

A wheel is for the version of Python that runs this script, and for every system whose C library is glibc 2.28
or newer. The compiler is zig's (`cmake/zig.cmake`), which is installed below `build/`. Python's headers are
this machine's: they are the same for both processors, as `cpp/bindings/core.cc` has the compiler confirm.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.binaries import MAGIC, read_binary  # noqa: E402

ARCHITECTURES = ("x86_64", "aarch64")
GLIBC = (2, 28)  # 2018: Debian 10, Ubuntu 18.10, RHEL 8, Raspberry Pi OS 10
TOOLS = ROOT / "build" / "wheel-tools"
_ZIG = "ziglang==0.17.1 --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54\n"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"
_NATIVE = ("_core.cpython-{python}-{arch}-linux-gnu.so", "libsanderling.so", "sanderling-run")
_LIBRARIES = re.compile(r"lib(c|m|dl|pthread)\.so\.\d|libsanderling\.so|ld-linux-.*\.so\.\d")


def platform_tag(arch: str) -> str:
    return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{arch}"


def install_zig() -> Path:
    """The compiler, below `build/`."""
    zig = TOOLS / "ziglang" / "zig"
    if not zig.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        wanted = TOOLS / "requirements.txt"
        wanted.write_text(_ZIG)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--require-hashes", "--target", str(TOOLS), "--requirement", str(wanted)]
        subprocess.run([*pip, *options], check=True)
    return zig


def python_headers(arch: str) -> Path:
    """A folder in which Debian's headers, which choose by processor, find the same configuration for each."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    places = [
        Path(f"/usr/include/{multiarch}/python{_VERSION}/pyconfig.h"),
        Path(sysconfig.get_config_h_filename()),
    ]
    found = next(path for path in places if path.exists() and "SIZEOF_VOID_P" in path.read_text())
    folder = TOOLS / "include"
    copy = folder / f"{arch}-linux-gnu" / f"python{_VERSION}" / "pyconfig.h"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, copy)
    return folder


def build(arch: str, folder: Path) -> Path:
    """Build the wheel into `folder` and return its path."""
    suffix = f".cpython-{_PYTHON[2:]}-{arch}-linux-gnu.so"
    defines = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "cmake" / "zig.cmake",
        "CMAKE_CXX_FLAGS": f"-I{python_headers(arch)}",
        "PYTHON_MODULE_EXTENSION": suffix,
        "PYTHON_MODULE_DEBUG_POSTFIX": "",
    }
    settings = {
        "build-dir": f"build/wheel-{arch}-{_PYTHON}",
        "install.strip": "false",
        "wheel.tags": f"{_PYTHON}-{_PYTHON}-{platform_tag(arch)}",
        **{f"cmake.define.{key}": str(value) for key, value in defines.items()},
    }
    environment = {
        **os.environ,
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        "SANDERLING_ZIG": str(install_zig()),
        "SANDERLING_ARCH": arch,
        "SANDERLING_GLIBC": ".".join(map(str, GLIBC)),
    }
    for key in ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS"):
        environment.pop(key, None)
    return _call_backend(folder, settings, environment)


def _call_backend(folder: Path, settings: Mapping[str, str], environment: Mapping[str, str]) -> Path:
    """PEP 517's `build_wheel`, in a process of its own, whose environment may differ."""
    folder.mkdir(parents=True, exist_ok=True)
    code = (
        "import json, sys, scikit_build_core.build as backend\n"
        "print(backend.build_wheel(sys.argv[1], json.loads(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(folder.resolve()), json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the wheel cannot be built:\n{(done.stdout + done.stderr)[-4000:]}")
    return folder / done.stdout.splitlines()[-1]


def faults(wheel: Path, arch: str) -> Iterator[str]:
    """All that is wrong with a wheel: tags, contents, machine code, too new a C library, leaked paths."""
    tags = wheel.stem.split("-")[-3:]
    if tags != [_PYTHON, _PYTHON, platform_tag(arch)]:
        yield f"its tags are {'-'.join(tags)}"
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name in _NATIVE:
        path = f"sanderling/runtime/{name.format(python=_PYTHON[2:], arch=arch)}"
        if path not in files:
            yield f"{path} is missing"
    if "sanderling/runtime/include/sanderling/sanderling.h" not in files:
        yield "the C header is missing"
    here = [str(ROOT).encode(), str(Path.home()).encode() + b"/", sys.prefix.encode()]
    for name, data in files.items():
        yield from (
            f"{name} names {path.decode()}, a folder of this machine" for path in here if path in data
        )
        if data[:4] == MAGIC:
            yield from (f"{name} {fault}" for fault in _binary_faults(data, arch))


def _binary_faults(data: bytes, arch: str) -> Iterator[str]:
    binary = read_binary(data)
    if binary.arch != arch:
        yield f"is for {binary.arch}"
    if any(path != "$ORIGIN" for path in binary.runpath):
        yield f"looks for libraries in {':'.join(binary.runpath)}"
    yield from (f"needs {name}" for name in binary.needed if not _LIBRARIES.fullmatch(name))
    for version in binary.versions:
        library, _, number = version.partition("_")
        if library != "GLIBC" or tuple(map(int, number.split("."))) > GLIBC:
            yield f"needs {version}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/wheel.py", description=__doc__)
    parser.add_argument("arch", choices=ARCHITECTURES)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR")
    args = parser.parse_args(arguments)
    wheel = build(args.arch, args.output)
    found = list(faults(wheel, args.arch))
    for fault in found:
        print(f"{wheel.name}: {fault}", file=sys.stderr)
    if found:
        wheel.unlink()
        return 1
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, needs glibc {GLIBC[0]}.{GLIBC[1]} or newer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
