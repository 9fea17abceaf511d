"""load: which backend runs a package and why; damaged and foreign packages are refused with their cause."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanderling import Package, PackageError, SanderlingError, TargetError, load
from sanderling.compiler.archive import write_archive
from sanderling.compiler.target import host_target
from sanderling.runtime.cpu import default_threads
from tests.support.tiny_package import write_affine, write_constant

X = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)
ALIEN = replace(host_target(), name="alien", features=("sse2", "warpdrive", "flux"))


@pytest.fixture(scope="module")
def alien_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled for a CPU that does not exist."""
    return write_affine(tmp_path_factory.mktemp("alien") / "alien.sand", target=ALIEN)


Entries = dict[str, bytes]


def entries(path: Path) -> Entries:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(source: Path, target: Path, edit: Callable[[Entries], object]) -> Path:
    """A copy in the same strict container, with other contents."""
    contents = entries(source)
    edit(contents)
    with target.open("wb") as file:
        write_archive(file, list(contents.items()))
    return target


def edit_manifest(contents: Entries, **changes: Any) -> None:
    contents["manifest.json"] = json.dumps(json.loads(contents["manifest.json"]) | changes).encode()


def flip(contents: Entries, name: str, at: int = -1) -> None:
    data = bytearray(contents[name])
    data[at] ^= 1
    contents[name] = bytes(data)


def plan_name(contents: Mapping[str, Any]) -> str:
    return next(name for name in contents if name.endswith("/plan.bin"))


# --- which backend ----------------------------------------------------------------------------------------


def test_auto_is_native_where_a_variant_fits(affine_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load(affine_path)
    with model:
        assert (model.backend, model.variant) == ("native", host_target().name)
        assert host_target().name in model.backend_reason
        assert model.threads == default_threads()


def test_auto_falls_back_with_a_warning_that_says_why(alien_path: Path) -> None:
    with pytest.warns(UserWarning, match="warpdrive") as caught:
        model = load(alien_path)
    assert caught[0].filename == __file__  # the line that called load
    with model:
        assert model.backend == "onnxruntime"
        assert "warpdrive" in model.backend_reason
        assert {row.backend for row in model.placement} == {"onnxruntime"}
        np.testing.assert_array_equal(model.run(X)[1], 3 * X + 1)


def test_without_a_variant_the_reason_is_the_node(onnx_only_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"node 'sum' \(Add\): left out by this test"):
        load(onnx_only_path).close()
    with pytest.raises(TargetError, match="left out by this test"):
        load(onnx_only_path, backend="native")


def test_native_on_another_cpu_names_both(alien_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        load(alien_path, backend="native")
    assert "alien" in str(caught.value)
    assert "warpdrive" in str(caught.value)


def test_a_named_variant_never_falls_back(affine_path: Path, alien_path: Path) -> None:
    with pytest.raises(TargetError, match="no variant 'riscv', only " + host_target().name):
        load(affine_path, variant="riscv")
    with pytest.raises(TargetError, match="warpdrive"):
        load(alien_path, variant="alien")
    with load(affine_path, variant=host_target().name) as model:
        assert model.backend == "native"


def test_without_onnxruntime_the_error_names_both_causes(
    alien_path: Path, affine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(TargetError, match=r"warpdrive.*ONNX Runtime is not installed.*sanderling\[onnx\]"):
        load(alien_path)
    with pytest.raises(SanderlingError, match="not installed"):
        load(affine_path, backend="onnxruntime")
    load(affine_path).close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "cuda"}, ["backend", "auto, native, onnxruntime", "'cuda'"]),
        ({"verify": "none"}, ["verify", "fast, full"]),
        ({"threads": 0}, ["threads", "0"]),
        ({"threads": -1}, ["threads"]),
        ({"threads": 100_000}, ["threads", "256"]),
        ({"backend": "onnxruntime", "variant": "x"}, ["variant"]),
    ],
)
def test_wrong_options_are_named(affine_path: Path, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SanderlingError) as caught:
        load(affine_path, **options)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_file_descriptor_will_do(affine_path: Path) -> None:
    fd = os.open(affine_path, os.O_RDONLY)
    try:
        with load(fd) as model:
            np.testing.assert_array_equal(model.run(X)[0], 2 * X + 1)
        os.fstat(fd)  # still the caller's
    finally:
        os.close(fd)


# --- damaged packages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["fast", "full"])
@pytest.mark.parametrize("backend", ["auto", "native", "onnxruntime"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.pop("manifest.json"), ["manifest.json"]),
        (lambda c: c.update({"manifest.json": b"{}"}), ["manifest.json", "format"]),
        (lambda c: c.update({"manifest.json": b" " * (1 << 20) + b"{}"}), ["manifest.json", "limit"]),
        (lambda c: edit_manifest(c, format=2), ["format 2"]),
        (lambda c: edit_manifest(c, entries={}), ["not in its manifest"]),
        (lambda c: c.update({"extra.bin": b"x"}), ["extra.bin", "not in its manifest"]),
        (lambda c: c.update({"model.onnx": c["model.onnx"] + b"x"}), ["model.onnx", "bytes"]),
    ],
)
def test_a_wrong_manifest_is_refused(
    affine_path: Path,
    tmp_path: Path,
    edit: Callable[[Entries], object],
    words: list[str],
    backend: Any,
    verify: Any,
) -> None:
    path = rewrite(affine_path, tmp_path / "wrong.sand", edit)
    with pytest.raises(PackageError) as caught:
        load(path, backend=backend, verify=verify)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("file", "backend", "verify"),
    [
        ("plan.bin", "native", "fast"),
        ("plan.bin", "auto", "fast"),
        ("kernels.so", "native", "fast"),
        ("kernels.so", "auto", "fast"),
        ("params.bin", "native", "full"),
        ("model.onnx", "onnxruntime", "fast"),
        ("model.onnx", "native", "full"),
    ],
)
def test_changed_bytes_are_refused_and_never_fall_back(
    affine_path: Path, tmp_path: Path, file: str, backend: Any, verify: Any
) -> None:
    name = next(name for name in entries(affine_path) if name.endswith(file))
    path = rewrite(affine_path, tmp_path / "changed.sand", lambda c: flip(c, name))
    with pytest.raises(PackageError, match=file.replace(".", r"\.")):
        load(path, backend=backend, verify=verify)


def test_a_plan_of_another_package_is_refused(affine_path: Path, tmp_path: Path) -> None:
    """Whole in itself, but not the one that the manifest, and so a signature, vouches for."""
    other = write_affine(tmp_path / "other.sand", shape=(1, 3, 8, 16))
    theirs = entries(other)

    def swap(contents: Entries) -> None:
        for name in contents:
            if name.startswith("variants/"):
                contents[name] = theirs[name]
        document = json.loads(contents["manifest.json"])
        for name, row in document["entries"].items():
            row["size"] = len(contents[name])
        contents["manifest.json"] = json.dumps(document).encode()

    path = rewrite(affine_path, tmp_path / "mixed.sand", swap)
    with pytest.raises(PackageError, match=r"plan\.bin: its SHA-256"):
        load(path)


def test_every_truncation_is_refused(affine_path: Path, tmp_path: Path) -> None:
    data = affine_path.read_bytes()
    path = tmp_path / "short.sand"
    for size in [*range(0, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(SanderlingError):
            load(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ["birds.sand", "No such file"]),
        (lambda path: path.mkdir(), ["birds.sand", "regular file"]),
        (lambda path: path.write_bytes(b""), ["birds.sand", "empty"]),
        (lambda path: path.write_bytes(b"PK" * 100), ["birds.sand", "not a package"]),
        (lambda path: path.symlink_to(path), ["birds.sand", "symbolic links"]),
    ],
)
def test_what_is_no_package_is_named(
    tmp_path: Path, make: Callable[[Path], object], words: list[str]
) -> None:
    path = tmp_path / "birds.sand"
    make(path)
    with pytest.raises(SanderlingError) as caught:
        load(path)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("path", ["birds\0.sand", -1, 10**6])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(SanderlingError, match=r"NUL|descriptor"):
        load(path)


def test_a_path_may_have_any_bytes(affine_path: Path, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"v\xf6gel.sand")
    with open(path, "wb") as file:
        file.write(affine_path.read_bytes())
    load(os.fsdecode(path), backend="native").close()


def test_a_model_that_serves_outlives_a_bad_one(affine_path: Path, tmp_path: Path) -> None:
    with load(affine_path) as model:
        path = rewrite(affine_path, tmp_path / "bad.sand", lambda c: flip(c, plan_name(c), 200))
        with pytest.raises(PackageError):
            load(path)
        np.testing.assert_array_equal(model.run(X)[0], 2 * X + 1)


# --- Package ----------------------------------------------------------------------------------------------


def test_a_package_says_what_it_holds(affine_path: Path, tmp_path: Path) -> None:
    contents = entries(affine_path)
    with Package(affine_path) as package:
        assert package.entries == {name: len(data) for name, data in contents.items()}
        assert package.variants == (host_target().name,)
        assert package.read("model.onnx") == contents["model.onnx"]
        assert package.digest == hashlib.sha256(contents["manifest.json"]).hexdigest()
        assert not package.signed
        package.verify()
    with pytest.raises(SanderlingError, match="closed"):
        package.read("model.onnx")
    path = rewrite(affine_path, tmp_path / "s.sand", lambda c: c.update({"signature.json": b"{}"}))
    with Package(path) as package:
        assert package.signed
        package.verify()


def test_a_thin_package_keeps_its_identity(affine_path: Path, tmp_path: Path) -> None:
    thin = rewrite(
        affine_path,
        tmp_path / "thin.sand",
        lambda c: [c.pop(name) for name in list(c) if name.startswith("variants/")],
    )
    with Package(thin) as package, Package(affine_path) as whole:
        package.verify()
        assert package.digest == whole.digest
        assert package.variants == ()
    with pytest.raises(TargetError, match="no compiled variant"):
        load(thin, backend="native")


@pytest.mark.parametrize("name", ["plan.bin", "kernels.so", "params.bin", "model.onnx"])
def test_verify_finds_any_changed_entry(affine_path: Path, tmp_path: Path, name: str) -> None:
    entry = next(entry for entry in entries(affine_path) if entry.endswith(name))
    path = rewrite(affine_path, tmp_path / "changed.sand", lambda c: flip(c, entry))
    with Package(path) as package, pytest.raises(PackageError, match=name.replace(".", r"\.")):
        package.verify()


def test_the_pipeline_must_fit_the_question(affine_path: Path, tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    with load(affine_path) as model:
        for use in (model.detect, model.preprocess):
            with pytest.raises(SanderlingError, match="no pipeline"):
                use(frame)
    classifier = {
        "task": "classify",
        "input": {"name": "image", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "output": {"score": "softmax"},
    }
    path = write_constant(
        tmp_path / "c.sand", classifier, (1, 3, 4, 4), {"y": np.zeros((1, 2), np.float32)}, ("a", "b")
    )
    with load(path) as model:
        assert model.labels == ("a", "b")
        assert model.preprocess(frame).shape == (1, 3, 4, 4)
        with pytest.raises(SanderlingError, match="'classify', not 'detect'"):
            model.detect(frame)


# --- cost -------------------------------------------------------------------------------------------------


def test_import_loads_nothing_but_what_is_used(affine_path: Path) -> None:
    code = f"""
import sys, numpy
import sanderling
light = [m for m in sys.modules if m.startswith("sanderling.")]
assert light == [], light
sanderling.load({str(affine_path)!r}, backend="native").close()
heavy = {{"onnx", "onnxruntime", "tvm", "cv2", "torch", "sanderling.compiler", "sanderling.runtime.vision"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
