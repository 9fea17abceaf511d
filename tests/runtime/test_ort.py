"""ONNX Runtime comes without its telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_leaves_nothing_in_the_users_folders(tmp_path: Path) -> None:
    code = "from sanderling.runtime.ort import onnxruntime_module as ort; ort().get_available_providers()"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.rglob("*")) == []
