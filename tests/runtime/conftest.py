"""Tiny packages, each written once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sanderling import Model, load
from tests.support.tiny_package import write_affine, write_copies


@pytest.fixture(scope="session")
def affine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x [1,3,8,8] → twice = 2·x + 1, thrice = 3·x + 1."""
    return write_affine(tmp_path_factory.mktemp("affine") / "affine.sand")


@pytest.fixture(scope="session")
def onnx_only_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model without a compiled variant."""
    return write_affine(tmp_path_factory.mktemp("onnx") / "affine.sand", native=False)


@pytest.fixture(scope="session")
def copies_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three inputs of different types that come out unchanged."""
    tensors = {"a": ("int64", (3, 5)), "b": ("bool", (7,)), "scalar": ("float32", ())}
    return write_copies(tmp_path_factory.mktemp("copies") / "copies.sand", tensors)


@pytest.fixture
def affine(affine_path: Path) -> Iterator[Model]:
    with load(affine_path, backend="native", threads=1) as model:
        yield model


@pytest.fixture
def copies(copies_path: Path) -> Iterator[Model]:
    with load(copies_path, backend="native", threads=1) as model:
        yield model
