"""`sanderling-run` from wherever Python's scripts are: becomes the C++ program that lies beside the runtime."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def main() -> int:
    """Replace this process; returns only if the program is missing."""
    spec = importlib.util.find_spec("sanderling.runtime._core")
    program = Path(spec.origin).with_name("sanderling-run") if spec and spec.origin else None
    if program is None or not program.exists():
        print("sanderling-run: not installed; run `make setup` or `pip install .`", file=sys.stderr)
        return 1
    os.execv(program, ["sanderling-run", *sys.argv[1:]])
