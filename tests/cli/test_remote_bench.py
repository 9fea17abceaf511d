"""`bench --on` over real ssh to this machine: rows like any other, and nothing is left on the device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sanderling import load
from sanderling.cli.bench_document import parse
from sanderling.compiler import database
from sanderling.compiler.target import host_target
from tests.support.sshd import Sshd, running

from .conftest import Command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def sshd(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    monkeypatch.setenv("SANDERLING_SSH", server.command)
    yield server
    assert list(server.device_folder.iterdir()) == []


def test_rows_are_those_of_the_device(sanderling: Command, sshd: Sshd, tiny_package: Path) -> None:
    outcome = sanderling("bench", tiny_package, "--on", sshd.url, "--runs", "300", "--json", "-")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["machine"]["libc"].startswith("glibc")
    assert document["limits"]["fma_gflops"].keys() == {host_target().name}
    parsed = parse(document)
    assert [(row.runtime, row.threads, row.outcome) for row in parsed.rows] == [
        ("sanderling", 1, "right"),
    ]
    for row in parsed.rows:
        assert row.latency
        assert row.latency.runs == 300
        assert row.device == document["machine"]["cpu"]
        assert row.error is not None
        assert row.error <= 1e-4
        assert row.start_ms
        assert row.peak_memory_bytes
    assert {layer.threads for layer in parsed.layers} == {1}


def test_variant_that_the_device_lacks_is_unsupported(
    sanderling: Command, sshd: Sshd, tiny_package: Path
) -> None:
    outcome = sanderling(
        "bench", tiny_package, "--on", sshd.url, "--runs", "5", "--targets", "z80", "--json", "-"
    )
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)["rows"]
    assert row["outcome"] == "unsupported"
    assert "no such variant" in row["note"]


@pytest.mark.slow
def test_interrupt_keeps_what_it_has_and_cleans_up(sshd: Sshd, tiny_package: Path, tmp_path: Path) -> None:
    results = tmp_path / "b.json"
    command = [
        sys.executable,
        "-m",
        "sanderling.cli",
        "bench",
        tiny_package,
        "--on",
        sshd.url,
        "--json",
        results,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr
    assert "measuring\n" in process.stderr, "reads up to that line"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    (row,) = json.loads(results.read_text())["rows"]
    assert row["note"] == "incomplete: interrupted"
    assert row["runs"] > 0


def test_compile_measures_its_candidates_there(
    sanderling: Command, sshd: Sshd, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(database, "_SHIPPED", tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    results = tmp_path / "tuning.jsonl"
    outcome = sanderling(
        "compile", tiny_onnx, "-o", tmp_path / "m.sand", "--on", sshd.url, "--database", results
    )
    assert outcome.code == 0, outcome.err
    assert results.read_text().count("\n") > 1, "what was measured is kept"
    assert load(tmp_path / "m.sand").variant == host_target().name
