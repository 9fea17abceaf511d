"""Version, pins and lock file agree, so that next year's build gives what this year's gave."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import sanderling

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED_EXTRAS = ("onnx", "compile", "images", "bench", "dev")


def locked() -> dict[str, list[Version]]:
    """Package → its pins: one, or one for each range of Python versions."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


def wanted() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    texts = [
        *PROJECT["project"]["dependencies"],
        *(text for extra in LOCKED_EXTRAS for text in extras[extra]),
    ]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_lock_satisfies_the_project(requirement: Requirement) -> None:
    pins = locked().get(canonicalize_name(requirement.name), [])
    assert pins, f"{requirement.name} is not locked; run scripts/lock"
    assert all(pin in requirement.specifier for pin in pins)


def test_every_pin_has_hashes_and_no_address() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.split("\n", 2)[2])
    assert len(blocks) == sum(map(len, locked().values()))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK


def test_build_requirements_are_pinned_alike() -> None:
    developers = set(PROJECT["project"]["optional-dependencies"]["dev"])
    assert set(PROJECT["build-system"]["requires"]) <= developers


def test_torch_is_pinned_but_not_locked() -> None:
    assert "torch==2.13.0" in PROJECT["project"]["optional-dependencies"]["train"]
    assert "torch" not in locked()


def test_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == sanderling.__version__
    assert f"## {sanderling.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_the_targets_of_the_readme() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in re.findall(r"^\$ make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"make {target} " in done.stdout


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_documentation_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
