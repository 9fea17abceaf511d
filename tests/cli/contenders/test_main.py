"""The contender answers line by line, in any interpreter that has numpy and nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from sanderling.cli import child
from sanderling.cli.contenders.arrays import load_arrays, save_arrays


def _answers(*requests: dict[str, object]) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", child._START, str(child._FOLDER)],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_errors_are_answers_and_it_goes_on() -> None:
    first, second = _answers({"do": "run", "runs": 1, "seconds": 1}, {"do": "dance"})
    assert first == {"error": "ValueError: nothing is loaded", "refused": False}
    assert second == {"error": "KeyError: 'dance'", "refused": False}


def test_refusal_is_told_from_failure(tmp_path: Path) -> None:
    save_arrays(tmp_path / "feeds.npz", {})
    request = {
        "do": "load",
        "runtime": "onnxruntime",
        "threads": 1,
        "cpus": [],
        "feeds": str(tmp_path / "feeds.npz"),
    }
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    refused, failed = _answers(
        {**request, "files": [str(tmp_path / "bad.onnx")]}, {**request, "files": [], "runtime": "nothing"}
    )
    assert refused["refused"] is True
    assert failed["refused"] is False


def test_folder_needs_nothing_of_ours() -> None:
    """It runs where `sanderling` is not installed, although its runtimes include it."""
    code = f"import sys; sys.path.append({str(child._FOLDER)!r}); import contenders.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.split(".")[0] == "sanderling"]


def test_arrays_of_any_name_can_be_stored(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), np.float16), "": np.zeros(1)}
    save_arrays(tmp_path / "x.npz", arrays)
    stored = load_arrays(tmp_path / "x.npz")
    assert list(stored) == list(arrays)
    assert all(np.array_equal(stored[name], value) for name, value in arrays.items())
