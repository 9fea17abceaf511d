"""Who may import whom: the table of docs/architecture.md, kept by a test."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Folder → the other sub-packages of ours that it may import.
OURS: dict[str, set[str]] = {
    "runtime": set(),
    "compiler": {"runtime"},
    "models": set(),
    "cli": {"runtime", "compiler", "models"},
}

# Folder → what it may import as soon as it is imported itself. Everything else is imported where it is used,
# so that an installation without extras works and starts quickly.
EAGER: dict[str, set[str]] = {
    "runtime": {"numpy"},
    "cli": {"numpy"},
}


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    line: int
    eager: bool


def imports(source: str, package: str) -> Iterator[Import]:
    """Every import in `source`, a module inside `package`, with relative names made absolute."""
    yield from _imports(ast.parse(source), package.split("."), eager=True)


def _imports(node: ast.AST, package: list[str], eager: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for name in node.names:
            yield Import(name.name, node.lineno, eager)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        # `from sanderling import compiler` names the sub-package only after `import`.
        for name in node.names:
            yield Import(f"{module}.{name.name}", node.lineno, eager)
    inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    checked_only = isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, eager and not inner and not checked_only)


def modules(folder: str) -> Iterator[tuple[Path, list[Import]]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        package = ".".join(["sanderling", *path.relative_to(ROOT).parent.parts])
        yield path.relative_to(ROOT), list(imports(path.read_text(encoding="utf-8"), package))


def subpackage(module: str) -> str | None:
    """The sub-package of ours that `module` belongs to, None for other people's."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sanderling" and len(parts) > 1 else None


def offences(folder: str) -> list[str]:
    allowed = OURS[folder] | {folder}
    found = []
    for path, names in modules(folder):
        for name in names:
            part = subpackage(name.module)
            if part in OURS and part not in allowed:
                found.append(f"{path}:{name.line} imports {name.module}")
    return found


@pytest.mark.parametrize("folder", OURS)
def test_folder_imports_only_what_the_design_allows(folder: str) -> None:
    assert list(modules(folder)), f"{folder}/ holds no Python"
    assert offences(folder) == []


@pytest.mark.parametrize("folder", EAGER)
def test_core_folder_needs_no_extra_to_be_imported(folder: str) -> None:
    allowed = set(sys.stdlib_module_names) | EAGER[folder] | {"sanderling"}
    found = [
        f"{path}:{name.line} imports {name.module}"
        for path, names in modules(folder)
        for name in names
        if name.eager and name.module.split(".")[0] not in allowed
    ]
    assert found == []


def test_every_package_folder_is_linked_and_in_the_table() -> None:
    links = {path.name for path in (ROOT / "src" / "sanderling").iterdir() if path.is_symlink()}
    assert links == set(OURS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import tvm", ("tvm", True)),
        ("from ..runtime import errors", ("sanderling.runtime.errors", True)),
        ("from . import graph", ("sanderling.compiler.graph", True)),
        ("from sanderling import cli", ("sanderling.cli", True)),
        ("def f():\n    import tvm", ("tvm", False)),
        ("if TYPE_CHECKING:\n    import onnx", ("onnx", False)),
        ("try:\n    import cv2\nexcept ImportError:\n    pass", ("cv2", True)),
    ],
)
def test_imports_are_found(source: str, expected: tuple[str, bool]) -> None:
    (found,) = imports(source, "sanderling.compiler")
    assert (found.module, found.eager) == expected
