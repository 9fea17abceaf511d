"""A child process that runs one model in one runtime when told to: `python -m sanderling.cli.contender`.

Each runtime has a process of its own: worker threads of some keep spinning after a run, allocators keep what
they once took, and peak memory can only be told per process.

One JSON request a line on stdin, one JSON answer a line on stdout:
  {"do": "load", "runtime", "path", "variant", "threads", "cpus", "feeds"}
                                   → {"import_ms", "load_ms", "first_ms", "version"}
  {"do": "run", "runs", "seconds"} → {"ms": [one per run]}, at least one run, until either limit is reached
  {"do": "save", "path"}           → {"outputs"}: the outputs of the last run as .npz
  {"do": "memory"}                 → {"peak_bytes"}
An error is answered with {"error": text}. End of input ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.cli.errors import explain

Arrays = dict[str, npt.NDArray[Any]]
Run = Callable[[Arrays], list[npt.NDArray[Any]]]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays as .npz under any name: numpy's `savez` takes keywords, where `file` has a meaning already."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


class Contender:
    """One loaded model; the state between two requests."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._feeds: Arrays = {}
        self._names: list[str] = []
        self._outputs: list[npt.NDArray[Any]] = []

    def load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("cpus"):
            os.sched_setaffinity(0, request["cpus"])
        module, load = RUNTIMES[request["runtime"]]
        started = time.perf_counter()
        importlib.import_module(module)
        imported = time.perf_counter()
        self._run, self._names, version = load(request)
        loaded = time.perf_counter()
        with np.load(request["feeds"]) as stored:
            self._feeds = {name: stored[name] for name in stored.files}
        ready = time.perf_counter()
        self._outputs = self._run(self._feeds)
        return {
            "import_ms": 1000 * (imported - started),
            "load_ms": 1000 * (loaded - imported),
            "first_ms": 1000 * (time.perf_counter() - ready),
            "version": version,
        }

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._run is None:
            raise ValueError("nothing is loaded")
        run, feeds, clock = self._run, self._feeds, time.perf_counter
        times: list[float] = []
        deadline = clock() + request["seconds"]
        while True:
            started = clock()
            self._outputs = run(feeds)
            ended = clock()
            times.append(1000 * (ended - started))
            if ended >= deadline or len(times) >= request["runs"]:
                return {"ms": times}

    def save(self, request: Mapping[str, Any]) -> dict[str, Any]:
        save_arrays(Path(request["path"]), dict(zip(self._names, self._outputs, strict=True)))
        return {"outputs": self._names}

    def memory(self, _: Mapping[str, Any]) -> dict[str, Any]:
        (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return {"peak_bytes": int(peak) * 1024}


Loaded = tuple[Run, list[str], str]  # with the names of the outputs and the runtime's version


def _load_native(request: Mapping[str, Any]) -> Loaded:
    import sanderling

    model = sanderling.load(
        request["path"], backend="native", threads=request["threads"], variant=request.get("variant")
    )
    names = [spec.name for spec in model.outputs]
    return model.run, names, sanderling.__version__


def _load_onnxruntime(request: Mapping[str, Any]) -> Loaded:
    from sanderling.runtime.ort import onnxruntime_module

    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    path = request["path"]
    model: str | bytes = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as package:
            model = package.read("model.onnx")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda feeds: session.run(None, feeds), names, onnxruntime.__version__


# Name → the module to import first, so that importing is not taken for loading, and what loads a model.
RUNTIMES: dict[str, tuple[str, Callable[[Mapping[str, Any]], Loaded]]] = {
    "native": ("sanderling.runtime.loading", _load_native),
    "onnxruntime": ("onnxruntime", _load_onnxruntime),
}


def main() -> None:
    """Answer requests until stdin ends. What libraries print goes to stderr: it cannot garble an answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = Contender()
    actions = {
        "load": contender.load,
        "run": contender.run,
        "save": contender.save,
        "memory": contender.memory,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = actions[request["do"]](request)
        except Exception as error:
            answer = {"error": explain(error) or f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
