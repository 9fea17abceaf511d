"""PyTorch: a module with example inputs, or an exported program, becomes ONNX.

`torch.export` records what the module computes and `torch.onnx` translates it; both are PyTorch's own. What
is added here: names that people know, one clear error for each thing that can go wrong, and a comparison of
the translation with the module itself. Neither torchvision nor a GPU is needed.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CompileError, ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
"""The exporter's default; it knows translations for it that are not made from an older version's."""

MAX_DIFFERENCE = 1e-3
"""Largest difference between ONNX Runtime and PyTorch, relative to the largest output."""


def is_exported_program(path: Path) -> bool:
    """Whether a file is what `torch.export.save` writes (.pt2), whatever its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    inside = {name.split("/", 1)[-1] for name in names}
    return "archive_format" in inside and any(name.startswith("models/") for name in inside)


def load_pytorch(source: Any, example_inputs: Any = None) -> ModelProto:
    """Translate a PyTorch model to ONNX, with all its weights inside.

    Args:
        source: a `torch.nn.Module`, a `torch.export.ExportedProgram`, or the path of a file that
            `torch.export.save` wrote. Such a file is opened by PyTorch: load only what you trust.
        example_inputs: for a module: one tensor, a tuple of positional arguments, or a dict of keyword
            arguments; they say which shapes and types are compiled. A program has its own.

    A module is exported as it behaves in evaluation, and is afterwards in the mode that it was in. Inputs are
    named as the arguments of `forward`. An output that is a single tensor is named `output`; of several, each
    is named by its place: `boxes` in a dict, `output_1` in a tuple, `features_0` in a tuple in a dict.

    Raises:
        ModelError: the source is no such model, or cannot be exported; the text names the cause.
        CompileError: PyTorch or its exporter is not installed.
    """
    torch = _torch()
    if isinstance(source, str | Path):
        return _translate(torch, _read(torch, Path(source)))
    if isinstance(source, torch.export.ExportedProgram):
        if example_inputs is not None:
            raise ModelError("an exported program has its inputs already: leave example_inputs out")
        return _translate(torch, source)
    if isinstance(source, torch.jit.ScriptModule):
        raise ModelError("the module is TorchScript, which PyTorch has given up: pass the nn.Module itself")
    if not isinstance(source, torch.nn.Module):
        raise ModelError(f"a {type(source).__name__} is no PyTorch model")
    return _translate(torch, _export(torch, source, example_inputs))


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401 - what torch.onnx translates with
        import torch
        import torch.export
        import torch.onnx
    except ImportError as error:
        raise CompileError(
            f"compiling a PyTorch model needs {error.name}: pip install 'sanderling[pytorch]'"
        ) from None
    return torch


def _read(torch: Any, path: Path) -> Any:
    try:
        with _quiet():
            return torch.export.load(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read as an exported program ({_cause(error)}); it may be damaged, or written "
            f"by a newer PyTorch than {torch.__version__}"
        ) from error


def _export(torch: Any, module: Any, example_inputs: Any) -> Any:
    positional, named = _arguments(torch, example_inputs)
    module, (positional, named) = _on_cpu(torch, module, (positional, named))
    try:
        with _quiet(), _evaluating(module), torch.no_grad():
            return torch.export.export(module, positional, named)
    except Exception as error:
        cause = _cause(error)
        advice = "; branches and shapes must not depend on values" if "data-dependent" in cause else ""
        raise ModelError(
            f"{type(module).__name__} cannot be exported: {cause}\n"
            f"torch.export.export(module, example_inputs) shows where{advice}"
        ) from error


def _arguments(torch: Any, examples: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if examples is None:
        raise ModelError(
            "a PyTorch module needs example inputs: example_inputs=(torch.zeros(1, 3, 224, 224),)"
        )
    if isinstance(examples, torch.Tensor):
        return (examples,), {}
    if isinstance(examples, Mapping):
        return (), dict(examples)
    if isinstance(examples, Sequence) and not isinstance(examples, str):
        return tuple(examples), {}
    raise ModelError(
        f"example_inputs: a {type(examples).__name__} is no tensor, tuple of tensors or dict of tensors"
    )


def _on_cpu(torch: Any, module: Any, arguments: Any) -> tuple[Any, Any]:
    """The module and its arguments where they can be traced; a copy only if they are elsewhere."""
    held = [*module.parameters(), *module.buffers()]
    if any(tensor.device.type != "cpu" for tensor in held):
        module = copy.deepcopy(module).cpu()
    move: Callable[[Any], Any] = lambda value: value.cpu() if isinstance(value, torch.Tensor) else value  # noqa: E731
    return module, torch.utils._pytree.tree_map(move, arguments)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's notes on its own deprecations, and on torchvision, which nobody needs here."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _translate(torch: Any, program: Any) -> ModelProto:
    _require_stateless(program)
    names = _output_names(torch, program)
    try:
        with _quiet():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
                output_names=names,
            )
    except Exception as error:
        raise ModelError(f"PyTorch cannot write the program as ONNX: {_cause(error)}") from error
    proto: ModelProto = translated.model_proto
    _check_against_pytorch(torch, program, proto)
    return proto


def _require_stateless(program: Any) -> None:
    with _quiet():
        signature = program.run_decompositions({}).graph_signature  # in-place operators become outputs
    changed = sorted({*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()})
    if changed:
        raise ModelError(
            f"the program changes {', '.join(changed)} when it runs, and a compiled model keeps no state: "
            "call module.eval() before torch.export.export, or return the new value as an output"
        )


def _output_names(torch: Any, program: Any) -> list[str]:
    """One name for each tensor that `forward` returns, from its place in what it returns."""
    pytree = torch.utils._pytree
    spec = program.call_spec.out_spec
    leaves = pytree.tree_leaves_with_path(pytree.tree_unflatten(list(range(spec.num_leaves)), spec))
    for (path, _), output in zip(leaves, program.graph_signature.user_outputs, strict=True):
        if not isinstance(output, str):
            where = "".join(map(str, path)) or "the result"
            raise ModelError(f"output {where} is the constant {output!r}: return tensors only")
    names = ["_".join(_key(step) for step in path) for path, _ in leaves]
    return [f"output_{name}".rstrip("_") if not name or name[0].isdigit() else name for name in names]


def _key(step: Any) -> str:
    for attribute in ("key", "idx", "name"):  # of a dict, of a sequence, of a named tuple or data class
        if hasattr(step, attribute):
            return str(getattr(step, attribute))
    return str(step)


def _check_against_pytorch(torch: Any, program: Any, proto: ModelProto) -> None:
    """Compare the translation with PyTorch on the example inputs, if the program has any."""
    from sanderling.runtime.ort import onnxruntime_module

    from ..reference import largest_error

    if program.example_inputs is None:
        return
    positional, named = program.example_inputs
    leaves = torch.utils._pytree.tree_leaves
    try:
        options = onnxruntime_module().SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime_module().InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:
        return  # what ONNX Runtime cannot load is refused with its reason when the model is compiled
    values = [value for value in leaves((positional, named)) if isinstance(value, torch.Tensor)]
    feeds = {spec.name: value.numpy() for spec, value in zip(session.get_inputs(), values, strict=True)}
    with _quiet(), torch.no_grad():
        wanted = [value.numpy() for value in leaves(program.module()(*positional, **named))]
    for name, want, got in zip(
        [spec.name for spec in session.get_outputs()], wanted, session.run(None, feeds), strict=True
    ):
        error = largest_error(got, want) if got.shape == want.shape else np.inf
        if not error <= MAX_DIFFERENCE:
            raise ModelError(
                f"PyTorch's own translation to ONNX computes another {name!r} than the module (largest "
                f"difference {error:.1e} of the largest value): is there anything random in it?"
            )


def _cause(error: BaseException) -> str:
    """The first line that says something, of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    for line in str(error).splitlines():
        if line.strip():
            return f"{type(error).__name__}: {line.strip()}"
    return type(error).__name__
