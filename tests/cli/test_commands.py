"""Each command on real packages: what it prints, writes, and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sanderling.cli.images import read_image, write_image

from .conftest import Command


def test_compile_writes_a_package_that_verifies(sanderling: Command, tiny_onnx: Path, tmp_path: Path) -> None:
    package = tmp_path / "tiny.sand"
    labels = tmp_path / "labels.txt"
    labels.write_text("ant\nbee\n\ncicada\n")
    outcome = sanderling(
        "compile", tiny_onnx, "-o", package, "--tune", "none", "--labels", labels, "--name", "insects",
        "--version", "2.1.0", "--database", tmp_path / "tuning.jsonl", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["name"], report["version"]) == ("insects", "2.1.0")
    (target,) = report["targets"].values()
    assert target["native"]
    assert max(target["errors"].values()) <= 1e-4
    assert "read the model" in outcome.err
    assert sanderling("verify", package).code == 0
    manifest = json.loads(sanderling("inspect", package, "--json").out)
    assert manifest["labels"] == ["ant", "bee", "cicada"]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--target", "z80"), "unknown target 'z80'"),
        (("--input", "image:1x3"), "image"),
        (("--input", "picture=1x3"), "picture=1x3"),
        (("--version", "new"), "new"),
        (("--budget-ms", "0.0000001", "--tune", "none"), "misses the budget"),
        (("--max-error", "1e-30", "--tune", "none"), "--max-error"),
    ],
)
def test_compile_refuses_and_writes_nothing(
    sanderling: Command, tiny_onnx: Path, tmp_path: Path, arguments: tuple[str, ...], cause: str
) -> None:
    outcome = sanderling("compile", tiny_onnx, "-o", tmp_path / "out.sand", *arguments)
    assert outcome.code == 1
    assert cause in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\n \n"])
def test_compile_refuses_labels(sanderling: Command, tiny_onnx: Path, tmp_path: Path, content: bytes) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content)
    outcome = sanderling("compile", tiny_onnx, "-o", tmp_path / "out.sand", "--labels", labels)
    assert outcome.code == 1
    assert str(labels) in outcome.err
    assert not (tmp_path / "out.sand").exists()


def test_compile_leaves_a_file_that_is_no_database_alone(
    sanderling: Command, tiny_onnx: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "beach.jpg"
    picture.write_bytes(b"\xff\xd8no\ndatabase")
    outcome = sanderling("compile", tiny_onnx, "-o", tmp_path / "out.sand", "--database", picture)
    assert outcome.code == 1
    assert "beach.jpg is not a tuning database" in outcome.err
    assert list(tmp_path.iterdir()) == [picture]
    assert picture.read_bytes() == b"\xff\xd8no\ndatabase"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_compile_leaves_nothing(
    tiny_onnx: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sanderling.cli",
            "compile",
            tiny_onnx,
            "-o",
            tmp_path / "out.sand",
            "--tune",
            "full",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("compile for"):
            break
    process.send_signal(sent)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == code
    assert rest.endswith("sanderling: interrupted\n")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_inspect_tells_what_is_inside(sanderling: Command, tiny_package: Path) -> None:
    outcome = sanderling("inspect", tiny_package, "--calls")
    assert outcome.code == 0
    for expected in (
        "image float32 [1, 3, 8, 8]",
        "scores float32 [1, 3]",
        "ant, bee, cicada",
        "model.onnx",
        "conv2d",
    ):
        assert expected in outcome.out
    document = json.loads(sanderling("inspect", tiny_package, "--json").out)
    (variant,) = document["variants"].values()
    assert variant["present"]
    assert sum(call["flops"] for call in variant["calls"]) > 2 * 8 * 8 * 16 * 27
    assert document["entries"]["model.onnx"] > 1000


def test_inspect_names_every_node_without_a_kernel(sanderling: Command, tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["m"])
    nodes = [
        helper.make_node("Unique", ["x"], ["y"], name="distinct"),
        helper.make_node("Compress", ["x", "c"], ["z"], name="chosen"),
    ]
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [16])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x, c], [y, z]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path, package = tmp_path / "m.onnx", tmp_path / "m.sand"
    onnx.save(model, path)
    assert sanderling("compile", path, "-o", package, "--tune", "none").code == 0
    shown = sanderling("inspect", package).out
    assert "no variant: only the ONNX form" in shown
    for node, operator in (("distinct", "Unique"), ("chosen", "Compress")):
        (line,) = (line for line in shown.splitlines() if line.startswith(node))
        assert line.split()[1] == operator
        assert len(line.split()) > 3  # a reason


def test_verify_names_the_damaged_entry(sanderling: Command, tiny_package: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_package.read_bytes())
    at = data.index(b"\x7fELF") + 100
    data[at] ^= 1
    damaged = tmp_path / "damaged.sand"
    damaged.write_bytes(data)
    outcome = sanderling("verify", damaged)
    assert outcome.code == 1
    assert "kernels.so" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_what_is_no_package_is_one_line(sanderling: Command, tmp_path: Path, command: str) -> None:
    path = tmp_path / "text.sand"
    path.write_text("hello")
    outcome = sanderling(command, path)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("sanderling: ")
    assert "Traceback" not in outcome.err


def test_run_draws_what_it_found(sanderling: Command, red_package: Path, tmp_path: Path) -> None:
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[16:32, 32:48] = (255, 0, 0)
    write_image(tmp_path / "in.png", picture)
    outcome = sanderling(
        "run",
        red_package,
        "--input",
        tmp_path / "in.png",
        "--output",
        tmp_path / "out.png",
        "--json",
        "--threads",
        1,
    )
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    (found,) = result["results"][0]["detections"]
    assert found["label"] == "red"
    assert found["score"] > 0.99
    assert found["box"] == pytest.approx([24, 8, 56, 40], abs=0.6)
    drawn = read_image(tmp_path / "out.png")
    assert (drawn[40, 24:56] != picture[40, 24:56]).any()


def test_run_takes_a_folder_for_many_pictures(sanderling: Command, red_package: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name, np.full((20, 30, 3), 90, np.uint8))
    outcome = sanderling(
        "run", red_package, "--input", tmp_path / "a.jpg", tmp_path / "b.jpg", "--output", tmp_path / "found"
    )
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["a.jpg", "b.jpg"]
    assert outcome.out.count("0 found") == 2


def test_run_prints_the_best_classes(sanderling: Command, tiny_package: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", np.full((9, 7, 3), 200, np.uint8))
    native, reference = (
        json.loads(
            sanderling(
                "run", tiny_package, "--input", tmp_path / "in.png", "--backend", backend, "--json"
            ).out
        )["results"][0]["classes"]
        for backend in ("native", "onnxruntime")
    )
    assert {row["label"] for row in native} == {"ant", "bee", "cicada"}
    assert sum(row["score"] for row in native) == pytest.approx(1, abs=1e-3)
    assert native == reference


def test_run_saves_arrays(sanderling: Command, tiny_package: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), np.float32))
    outcome = sanderling("run", tiny_package, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert outcome.code == 0, outcome.err
    assert np.load(tmp_path / "y.npy").shape == (1, 3)
    assert "scores float32 [1, 3]" in outcome.out
    into_folder = sanderling(
        "run", tiny_package, "--input", f"image={tmp_path}/x.npy", "--output", tmp_path / "all"
    )
    assert into_folder.code == 0, into_folder.err
    assert np.array_equal(np.load(tmp_path / "all" / "scores.npy"), np.load(tmp_path / "y.npy"))


BAD_RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "missing picture": (("--input", "none.jpg"), "none.jpg"),
    "picture and array": (("--input", "in.png", "x.npy"), "not both"),
    "two pictures, one file": (("--input", "in.png", "in.png", "--output", "o.png"), "give a folder"),
    "same name twice": (("--input", "in.png", "sub/in.png", "--output", "o"), "same name"),
    "text as picture": (("--input", "text.png"), "neither JPEG nor PNG"),
    "text as array": (("--input", "text.npy"), "plain numbers"),
    "pickle": (("--input", "pickle.npy"), "plain numbers"),
    "wrong shape": (("--input", "wrong.npy"), "expected shape (1, 3, 32, 32)"),
    "wrong dtype": (("--input", "double.npy"), "expected float32, got float64"),
    "unknown input": (("--input", "picture=x.npy"), "no input 'picture'"),
    "input given twice": (("--input", "x.npy", "x.npy"), "two arrays for the input 'image'"),
    "onto the picture": (("--input", "in.png", "--output", "in.png"), "one of the pictures themselves"),
    "into the pictures' folder": (("--input", "in.png", "--output", "."), "one of the pictures themselves"),
    "two outputs, one file": (("--input", "x.npy", "--output", "y.npy"), "give a folder"),
    "a picture of another kind": (("--input", "in.png", "--output", "out.webp"), ".jpg or .jpeg or .png"),
    "arrays of another kind": (("--input", "x.npy", "--output", "out.csv"), "ending in .npy"),
    "onto the array": (("--input", "cls_8.npy", "--output", "."), "one of the inputs itself"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_run_refuses(
    sanderling: Command, red_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "in.png", np.zeros((8, 8, 3), np.uint8))
    for name in ("text.png", "text.npy"):
        (tmp_path / name).write_text("hello")
    np.save("x.npy", np.zeros((1, 3, 32, 32), np.float32))
    np.save("cls_8.npy", np.zeros((1, 3, 32, 32), np.float32))
    np.save("wrong.npy", np.zeros((1, 3, 32, 31), np.float32))
    np.save("double.npy", np.zeros((1, 3, 32, 32)))
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    before = sorted(tmp_path.iterdir())
    arguments, cause = BAD_RUNS[case]
    outcome = sanderling("run", red_package, *arguments)
    assert outcome.code == 1
    assert outcome.err.startswith("sanderling: ")
    assert cause in outcome.err
    assert sorted(path for path in tmp_path.iterdir() if path.is_file()) == [p for p in before if p.is_file()]


def test_bench_compares_in_turns(sanderling: Command, tiny_package: Path, tmp_path: Path) -> None:
    page, results = tmp_path / "b.html", tmp_path / "b.json"
    options = ["--runs", "30", "--threads", "1,2", "--json", results, "--html", page]
    outcome = sanderling("bench", tiny_package, *options)
    assert outcome.code == 0, outcome.err
    assert "× onnxruntime (native, 2 threads)'s median" in outcome.out
    document = json.loads(results.read_text())
    assert [(row["runtime"], row["threads"], row["runs"]) for row in document["rows"]] == [
        ("sanderling", 1, 30),
        ("onnxruntime", 1, 30),
        ("sanderling", 2, 30),
        ("onnxruntime", 2, 30),
    ]
    ours, peer = document["rows"][:2]
    assert ours["outcome"] == peer["outcome"] == "right"
    assert ours["error"] <= 1e-4
    assert peer["error"] is None
    assert ours["model_bytes"] == tiny_package.stat().st_size
    assert {layer["threads"] for layer in document["layers"]} == {1, 2}
    assert all(layer["bytes"] > 0 and layer["us"] > 0 for layer in document["layers"])
    assert "</html>" in page.read_text()


def test_bench_alone_and_as_json(sanderling: Command, tiny_package: Path) -> None:
    outcome = sanderling("bench", tiny_package, "--duration", "0.2", "--peers", "none", "--json", "-")
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)["rows"]
    assert row["runs"] > 10
    assert row["outcome"] == "right", "checked against ONNX Runtime, although that is not measured"


def test_bench_measures_others_where_we_cannot(sanderling: Command, tmp_path: Path) -> None:
    node = helper.make_node("FusedMatMul", ["x", "x"], ["y"], name="foreign", domain="com.microsoft")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xy")
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "fused", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), tmp_path / "m.onnx")
    outcome = sanderling("bench", tmp_path / "m.onnx", "--runs", "5", "--json", "-")
    assert outcome.code == 0, outcome.err
    ours, peer = json.loads(outcome.out)["rows"]
    assert ours["outcome"] == "unsupported"
    assert "foreign" in ours["note"]
    assert (peer["outcome"], peer["runs"]) == ("right", 5)


def test_interrupted_bench_keeps_what_it_has(tiny_package: Path, tmp_path: Path) -> None:
    results = tmp_path / "b.json"
    command = [
        sys.executable,
        "-m",
        "sanderling.cli",
        "bench",
        tiny_package,
        "--threads",
        "1",
        "--json",
        results,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr
    assert "measuring in turns\n" in process.stderr  # reads up to that line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    document = json.loads(results.read_text())
    assert document["note"] == "incomplete: interrupted"
    assert all(row["note"] == "incomplete: interrupted" for row in document["rows"])
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


BAD_BENCHES = {
    "no model": ([], "which model?"),
    "peers on a device": (
        ["m.onnx", "--on", "ssh://box", "--peers", "ncnn"],
        "measured on this machine only",
    ),
}


@pytest.mark.parametrize("case", BAD_BENCHES)
def test_bench_refuses_what_makes_no_sense(sanderling: Command, case: str) -> None:
    arguments, cause = BAD_BENCHES[case]
    outcome = sanderling("bench", *arguments)
    assert (outcome.code, cause in outcome.err) == (1, True), outcome.err


def test_bench_wants_an_address_of_a_device(sanderling: Command) -> None:
    outcome = sanderling("bench", "m.onnx", "--on", "box")
    assert outcome.code == 2
    assert "no address of the form ssh://" in outcome.err
