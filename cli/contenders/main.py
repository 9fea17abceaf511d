"""Answers requests until stdin ends: one JSON document a line on stdin, one a line on stdout.

  {"do": "load", "runtime", "files", "threads", "cpus", "feeds", "variant"}
      → {"version", "settings", "import_ms", "load_ms", "first_ms", "base_bytes", "peak_bytes"}
  {"do": "run", "runs", "seconds"} → {"ms": [one per run]}: at least one run, until either limit is reached
  {"do": "save", "path"}           → {"outputs": names}: the outputs of the last run as .npz

`import_ms` is the time to import the runtime, after Python and numpy are up; `base_bytes` is the peak memory
before it, `peak_bytes` that after the first few runs. An error is answered with {"error": text, "refused":
whether the runtime says no to this model}.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .arrays import Arrays, load_arrays, save_arrays
from .loaded import Loaded, RefusedError, Request

_RUNS = 3  # before peak memory is read: some runtimes plan their memory at the first run, some at the second


class Contender:
    """One loaded model; the state between two requests."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._feeds: Arrays = {}
        self._outputs: Sequence[Any] = ()

    def load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["cpus"]:
            os.sched_setaffinity(0, request["cpus"])
        runtime = importlib.import_module(f".{request['runtime']}", __package__)
        self._feeds = load_arrays(Path(request["feeds"]))  # kept: runtimes read them in place
        files = [Path(file) for file in request["files"]]
        wanted = Request(files, request["threads"], self._feeds, request.get("variant"))
        base = _peak_bytes()
        started = time.perf_counter()
        for module in runtime.MODULES:
            importlib.import_module(module)
        imported = time.perf_counter()
        self._loaded = loaded = runtime.load(wanted)
        ready = time.perf_counter()
        self._outputs = loaded.run()
        first = time.perf_counter()
        for _ in range(_RUNS):
            loaded.run()
        return {
            "version": loaded.version,
            "settings": dict(loaded.settings),
            "import_ms": 1000 * (imported - started),
            "load_ms": 1000 * (ready - imported),
            "first_ms": 1000 * (first - ready),
            "base_bytes": base,
            "peak_bytes": _peak_bytes(),
        }

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        run, clock = self._open().run, time.perf_counter
        times: list[float] = []
        deadline = clock() + request["seconds"]
        while True:
            started = clock()
            self._outputs = run()
            ended = clock()
            times.append(1000 * (ended - started))
            if ended >= deadline or len(times) >= request["runs"]:
                return {"ms": times}

    def save(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names = list(self._open().names)
        save_arrays(Path(request["path"]), dict(zip(names, self._outputs, strict=True)))
        return {"outputs": names}

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise ValueError("nothing is loaded")
        return self._loaded


def _peak_bytes() -> int:
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(peak) * 1024


def main() -> None:
    """What libraries print goes to stderr: it cannot garble an answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = Contender()
    actions = {"load": contender.load, "run": contender.run, "save": contender.save}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = actions[request["do"]](request)
        except RefusedError as error:
            answer = {"error": str(error), "refused": True}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "refused": False}
        print(json.dumps(answer), file=answers, flush=True)
