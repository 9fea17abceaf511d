"""`sanderling-run` on the path: becomes the C++ program that is installed beside the runtime."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Replace this process. Exits with 1 if the program is missing."""
    spec = importlib.util.find_spec("sanderling.runtime._core")
    program = Path(spec.origin).with_name("sanderling-run") if spec and spec.origin else None
    if program is None or not program.exists():
        sys.exit("sanderling-run: not installed; run `make setup` or `pip install .`")
    os.execv(program, ["sanderling-run", *sys.argv[1:]])
