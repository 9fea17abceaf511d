"""Peers are found, refused or installed as a whole, and a conversion that fails is a row with its reason."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sanderling.cli import peers
from sanderling.cli.arguments import PEERS, peer_names
from sanderling.cli.contest import Limits, Result, measure, reference_outputs
from sanderling.cli.errors import CommandError
from sanderling.models import birds, zoo

from .conftest import Command

FEEDS = {"image": np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)}
OTHERS = ("openvino", "ncnn", "mnn")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No peers are installed."""
    monkeypatch.setenv("SANDERLING_PEERS", str(tmp_path / "peers"))
    return tmp_path / "peers"


def test_names_are_checked() -> None:
    assert peer_names("ncnn,mnn,ncnn") == ("ncnn", "mnn")
    assert peer_names("none") == ()
    assert tuple(peers.PEERS) == PEERS
    assert peer_names("all") == ("onnxruntime", *OTHERS)
    with pytest.raises(argparse.ArgumentTypeError, match="unknown peer 'tvm'; known: onnxruntime, openvino"):
        peer_names("ncnn,tvm")


def test_environment_is_in_the_cache_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SANDERLING_PEERS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert peers.environment() == tmp_path / "sanderling" / f"peers-{version}"
    monkeypatch.setenv("SANDERLING_PEERS", "/opt/peers")
    assert peers.interpreter() == Path("/opt/peers/bin/python")


def test_missing_peers_name_the_command_that_installs_them(
    sanderling: Command, nowhere: Path, tiny_package: Path
) -> None:
    outcome = sanderling("bench", tiny_package, "--peers", "all")
    assert outcome.code == 1
    assert f"openvino, ncnn, mnn: not installed in {nowhere}" in outcome.err
    assert "sanderling bench --install-peers" in outcome.err


def test_reference_needs_no_environment_of_peers(nowhere: Path) -> None:
    assert peers.require(["onnxruntime"]) == {}


@pytest.mark.parametrize("answer", ["exit 1", "echo garbage", 'echo \'{"openvino": "1.0"}\''])
def test_broken_environment_counts_as_missing(nowhere: Path, answer: str) -> None:
    python = nowhere / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    with pytest.raises(CommandError, match=r"ncnn, mnn: not installed"):
        peers.require(["onnxruntime", "ncnn", "mnn"])


def test_failed_installation_says_why(nowhere: Path) -> None:
    nowhere.write_text("a file is in the way")
    with pytest.raises(CommandError, match=r"making .*peers: exit 1"):
        peers.install()


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        ("exit 7", "unsupported", "conversion: exit 7: it said nothing"),
        ("kill -SEGV $$", "failed", "conversion: killed by SIGSEGV: it said nothing"),
        (
            "echo no layer Foo",
            "unsupported",
            "conversion: no model.mnn was written: no layer Foo",
        ),
    ],
    ids=["refusal", "crash", "nothing written"],
)
def test_failed_conversion_is_an_entry_with_its_reason(
    nowhere: Path, tiny_onnx: Path, tmp_path: Path, script: str, outcome: str, reason: str
) -> None:
    python = nowhere / "bin" / "python"
    python.parent.mkdir(parents=True)
    versions = '\'{"MNN": "9.9"}\''
    python.write_text(f'#!/bin/sh\ncase "$*" in *importlib*) echo {versions};; *) {script};; esac\n')
    python.chmod(0o755)
    (entry,) = peers.entries(["mnn"], tiny_onnx, FEEDS, tmp_path)
    (result,) = measure([entry], 1, Limits(runs=1, starts=1), FEEDS, reference={})
    assert (result.outcome, result.note, result.version) == (outcome, reason, "9.9")


def test_peers_are_held_where_they_can_be(tiny_onnx: Path, tmp_path: Path) -> None:
    native, held = peers.entries(
        ["onnxruntime"], tiny_onnx, FEEDS, tmp_path, held_to=("x86-64-v4", "x86-64-v3")
    )
    assert (native.target, native.note) == ("native", None)
    assert held.target == "x86-64-v3"
    assert held.note == "cannot be held to x86-64-v3: it has no such switch"


@pytest.fixture(scope="module")
def installed() -> None:
    """The real peers, installed once for the user."""
    try:
        peers.require(PEERS)
    except CommandError:
        peers.install()


def _race(path: Path, feeds: dict[str, Any], folder: Path, wanted: Sequence[str] = OTHERS) -> list[Result]:
    entries = list(peers.entries(wanted, path, feeds, folder, held_to=("x86-64-v3",)))
    reference = reference_outputs(path, feeds)
    return measure(entries, 2, Limits(runs=5, starts=1), feeds, reference=reference)


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("model", ["birds", "squeezenet1_1"])
def test_every_peer_runs_and_is_right(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip, called = tmp_path / "bin" / "pip", tmp_path / "called"
    pip.parent.mkdir()
    pip.write_text(f"#!/bin/sh\ntouch {called}\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{pip.parent}:{os.environ['PATH']}")
    path, size = birds.WEIGHTS, 320
    if model != "birds":
        path, size = tmp_path / "m.onnx", 224
        path.write_bytes(zoo.materialize(model).SerializeToString())
    name = onnx.load(path).graph.input[0].name
    feeds = {name: np.random.default_rng(3).random((1, 3, size, size), np.float32)}
    results = {(r.entry.runtime, r.entry.target): r for r in _race(path, feeds, tmp_path)}
    for runtime in OTHERS:
        native = results[runtime, "native"]
        assert native.outcome == "right", native
        assert native.error is not None
        assert native.error <= 1e-4, f"{runtime} does not compute in single precision"
        assert native.version
        assert native.start is not None
        assert native.start.peak_bytes > native.start.base_bytes
    assert results["openvino", "x86-64-v3"].outcome == "right"
    assert results["mnn", "x86-64-v3"].outcome == "unsupported"
    assert not called.exists(), "a peer installs packages while it is measured"


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_model_that_a_peer_cannot_run_is_a_row_with_a_reason(tmp_path: Path) -> None:
    node = helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xy")
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "fused", [x], [y])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
    feeds = {"x": np.eye(4, dtype=np.float32)}
    for result in _race(path, feeds, tmp_path, ["ncnn", "mnn"]):
        assert result.outcome in ("unsupported", "failed")
        assert result.note
