"""`sanderling-run` on the path is the C++ program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CALL = [sys.executable, "-c", "import sys; from sanderling.cli.native import main; sys.exit(main())"]


def test_arguments_output_and_exit_code_pass_through(red_package: Path) -> None:
    done = subprocess.run(
        [*CALL, red_package, "--runs", "1", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["runs"] == 1
    wrong = subprocess.run([*CALL, "missing.sand"], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert "missing.sand" in wrong.stderr
