"""The writer's file: readable by zipfile, in the strict profile, reproducible, whole or absent."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sanderling.compiler.errors import CompileError
from sanderling.compiler.measure import check_file
from sanderling.compiler.package import Package, layout_params, make_variant, write_package
from sanderling.compiler.plan import decode_plan
from sanderling.compiler.program import Arg, Call, Program
from sanderling.compiler.target import Target


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


def test_unzip_reads_the_file(path: Path) -> None:
    assert subprocess.run(["unzip", "-tq", str(path)], capture_output=True).returncode == 0


@st.composite
def programs(draw: st.DrawFn, base: Program) -> Program:
    """Calls that write a buffer each, read or change earlier ones, and end in the output."""
    count = draw(st.integers(1, 8))
    sizes = {f"b{i}": draw(st.integers(1, 40)) * 4 for i in range(count)}
    calls = []
    for i, name in enumerate(sizes):
        earlier = [f"b{j}" for j in range(i)]
        read = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        args = [Arg("buffer", other, draw(st.sampled_from(["read", "both"])), sizes[other]) for other in read]
        offset = draw(st.sampled_from([0, 4, 60]))
        args.append(Arg("param", "w", "read", 64 - offset, offset, align=4))
        calls.append(Call("scale", i + 1, (*args, Arg("buffer", name, "write", sizes[name])), f"n{i}", "k"))
    size = base.outputs["y"].nbytes
    last = (Arg("input", "x", "read", size, align=4), Arg("scratch", "", "both", 100))
    calls.append(Call("shift", 1, (*last, Arg("output", "y", "write", size, align=4)), "last", "k"))
    return replace(base, buffers=sizes, calls=tuple(calls), scratch_bytes=128)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_runtime_takes_whatever_is_planned(
    affine: Program, host: Target, tmp_path: Path, data: st.DataObject
) -> None:
    program = data.draw(programs(affine))
    variant = make_variant(program, host)
    path = tmp_path / "made.sand"
    write_package(path, Package("made", "1.0.0", program.inputs, program.outputs, b"onnx", (variant,)))
    check_file(path)
    plan = decode_plan(variant.plan)
    assert [call.node for call in plan.calls] == [call.node for call in program.calls]
    assert sum(len(call.args) for call in plan.calls) == sum(len(call.args) for call in program.calls)
