"""What a benchmark measures: a package for us, the same model as ONNX for everybody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sanderling.cli.errors import CommandError
from sanderling.runtime.errors import TargetError
from sanderling.runtime.loading import load as load_package
from sanderling.runtime.package import MODEL, Package

Progress = Callable[[str, int, int], None]
_MODELS = (".onnx", ".pt2")  # what gets compiled first; anything else is taken for a package


@dataclass(frozen=True)
class Subject:
    """`inputs` are dtype and shape by name; `reasons` says why a target has no native variant.

    `package` is None if not even one without variants could be made.
    """

    name: str
    onnx: Path
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    package: Path | None
    targets: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def package_bytes(self, target: str) -> int | None:
        """Size of the package with no other variant in it; None if it does not have this one."""
        if self.package is None or target in self.reasons:
            return None
        with Package(self.package) as package:
            entries = dict(package.entries)
        others = sum(
            size
            for name, size in entries.items()
            if name.startswith("variants/") and not name.startswith(f"variants/{target}/")
        )
        return self.package.stat().st_size - others

    def feeds(self, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Reproducible inputs of the shapes and types that the model wants."""
        from sanderling.compiler.graph import TensorType
        from sanderling.compiler.reference import make_inputs

        return make_inputs({name: TensorType(*spec) for name, spec in self.inputs.items()}, seed=seed)


def is_model(path: Path) -> bool:
    """Whether a file has to be compiled first. Raises CommandError if there is none."""
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    return path.suffix in _MODELS


def make_subject(
    path: Path,
    targets: Sequence[str],
    folder: Path,
    *,
    inputs: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Subject:
    """A package as it is, or a model compiled for `targets` (default: the best for this CPU).

    `inputs` fix open dimensions; `options` are the compiler's. What it writes lies in `folder`. Raises
    CommandError if there is no such file, ModelError if the model is no model; a model that we cannot
    compile is left to the others.
    """
    if is_model(path):
        return _from_model(path, targets, folder, inputs, progress, options)
    return _from_package(path, targets, folder)


def _from_package(path: Path, targets: Sequence[str], folder: Path) -> Subject:
    with Package(path) as package:
        onnx = folder / "model.onnx"
        onnx.write_bytes(package.read(MODEL))
        manifest, variants = package.manifest, package.variants
    chosen = tuple(targets) or (_best(path),)
    rows = [f"node {row['node']!r} ({row['op']}): {row['reason']}" for row in manifest.unsupported]
    why = "; ".join(rows) or f"the package has no such variant, only {', '.join(variants) or 'the ONNX form'}"
    return Subject(
        path.stem,
        onnx,
        {spec.name: (spec.dtype.name, spec.shape) for spec in manifest.inputs},
        path,
        chosen,
        {name: why for name in chosen if name not in variants},
    )


def _best(path: Path) -> str:
    """The variant that the runtime takes on this CPU; ``native`` if there is none."""
    try:
        with load_package(path, backend="native", threads=1) as model:
            return model.variant or "native"
    except TargetError:
        return "native"


def _from_model(
    path: Path,
    targets: Sequence[str],
    folder: Path,
    inputs: Sequence[str],
    progress: Progress | None,
    options: Mapping[str, Any],
) -> Subject:
    from sanderling import compiler
    from sanderling.compiler.errors import CompileError, ModelError
    from sanderling.compiler.frontends import InputSpec
    from sanderling.compiler.target import find_target

    shapes = dict(InputSpec.parse(text) for text in inputs)
    names = tuple(find_target(target).name for target in targets or ("host",))
    package = folder / f"{path.stem}.sand"
    try:
        compiler.compile(
            path, output=package, target=names, inputs=shapes, verify=False, progress=progress, **options
        )
    except ModelError:
        raise
    except CompileError as error:
        return _without_us(path, names, folder, shapes, str(error))
    return _from_package(package, names, folder)


def _without_us(
    path: Path, targets: tuple[str, ...], folder: Path, shapes: Mapping[str, Any], reason: str
) -> Subject:
    from sanderling.compiler.frontends import load, portable
    from sanderling.compiler.onnx_types import static_type

    model = load(path, inputs=shapes)
    onnx = folder / "model.onnx"
    onnx.write_bytes(portable(model))
    types = {value.name: static_type(value.type, value.name) for value in model.proto.graph.input}
    inputs = {name: (type_.dtype, type_.shape) for name, type_ in types.items() if type_ is not None}
    return Subject(path.stem, onnx, inputs, None, targets, dict.fromkeys(targets, reason))
