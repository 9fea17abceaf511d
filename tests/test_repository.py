"""The project stands alone: no path of somebody's machine, no package index of its own, nothing large."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST_BYTES = 6_000_000  # the detector's weights; everything else is far smaller

# Written so that this file passes its own test.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.>~-])/(?:home|root|work|Users)/[A-Za-z.]"),
    "a package index": re.compile(r"--(?:extra-)?index-[u]rl[ =]+[\"']?http|://[\w.-]+/[s]imple\b"),
}


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in listing.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in FORBIDDEN[what].finditer(text)]
    assert found == []


def test_the_compiler_knows_no_model_by_name() -> None:
    known = re.compile(r"mobilenet|resnet|squeezenet|efficientnet|yolov|imagenet|birds", re.IGNORECASE)
    files = [path for path in tracked() if path.relative_to(ROOT).parts[0] == "compiler"]
    assert files
    assert [path.name for path in files if known.search(path.read_text(encoding="utf-8"))] == []


def test_no_file_is_large() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > LARGEST_BYTES] == []


@pytest.mark.parametrize("line", ["x = '/home/" + "ann/model.onnx'", "see /Users/" + "ann/notes"])
def test_machine_paths_are_recognised(line: str) -> None:
    assert FORBIDDEN["a path of one machine"].search(line)


@pytest.mark.parametrize(
    "line", ["--index-" + "url https://mirror.example/x", "https://mirror.example/" + "simple/onnx"]
)
def test_package_indices_are_recognised(line: str) -> None:
    assert FORBIDDEN["a package index"].search(line)


@pytest.mark.parametrize(
    "line", ["docs/work/plan.md", "https://example.com/home/page", "a/root/b", "<path>/root/x"]
)
def test_other_paths_are_not(line: str) -> None:
    assert not FORBIDDEN["a path of one machine"].search(line)
