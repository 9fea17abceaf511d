"""`sanderling-run` on the path: starts the C++ program that is installed beside the runtime."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the program with this process's arguments and streams; its exit code, or 1 if it is missing.

    A child, not `exec`: the program reports the CPU time before its `main`, to which Python is foreign.
    """
    spec = importlib.util.find_spec("sanderling.runtime._core")
    program = Path(spec.origin).with_name("sanderling-run") if spec and spec.origin else None
    if program is None or not program.exists():
        print("sanderling-run: not installed; run `make setup` or `pip install .`", file=sys.stderr)
        return 1
    process = subprocess.Popen(["sanderling-run", *sys.argv[1:]], executable=program)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the child got it, too, and decides
            continue
        return code if code >= 0 else 128 - code
