"""`load`: opens a package and chooses what runs it. Nothing falls back in silence."""

from __future__ import annotations

import os
import warnings
from typing import Literal, get_args

from .backends import Backend
from .backends.native import NativeBackend
from .cpu import default_threads
from .errors import SanderlingError, TargetError
from .model import Model
from .package import Package

BackendName = Literal["auto", "native", "onnxruntime"]
Verify = Literal["fast", "full"]
MAX_THREADS = 256


def load(
    path: str | os.PathLike[str] | int,
    *,
    backend: BackendName = "auto",
    threads: int | None = None,
    variant: str | None = None,
    verify: Verify = "fast",
) -> Model:
    """Load a package (`.sand`) from a path or an open file descriptor.

    `backend`: ``native`` runs compiled kernels, ``onnxruntime`` the package's ONNX form; ``auto`` is native
    where the package has a variant for this CPU, otherwise ONNX Runtime with a UserWarning that says why.
    `threads`: threads that compute, the caller among them; None is the number of physical cores that this
    process may use. `variant`: a variant by name; None is the best one for this CPU.
    `verify`: ``fast`` checks the digests of plan and kernels (or of the ONNX form), ``full`` of every entry.

    A package holds native code: load only what you compiled yourself or trust.
    Raises PackageError for a damaged file, TargetError if this CPU cannot run it, SanderlingError otherwise.
    """
    _choice("backend", backend, get_args(BackendName))
    _choice("verify", verify, get_args(Verify))
    count = default_threads() if threads is None else threads
    if not 1 <= count <= MAX_THREADS:
        raise SanderlingError(f"threads must be 1…{MAX_THREADS}, got {count}")
    if variant is not None and backend == "onnxruntime":
        raise SanderlingError("ONNX Runtime runs no compiled variant: leave out `variant` or `backend`")
    with Package(path) as package:
        if verify == "full":
            package.verify()
        chosen, reason = _choose(package, backend, variant, count)
        return Model(chosen, package.manifest, reason)


def _choose(package: Package, name: BackendName, variant: str | None, threads: int) -> tuple[Backend, str]:
    if name == "onnxruntime":
        return _onnxruntime(package, threads), "asked for"
    try:
        native = _native(package, variant, threads)
    except TargetError as error:
        if name == "native" or variant is not None:
            raise
        return _fall_back(package, threads, error)
    return native, "asked for" if name == "native" else f"variant {native.variant} fits this CPU"


def _native(package: Package, variant: str | None, threads: int) -> NativeBackend:
    if not package.variants:
        raise TargetError("the package holds no compiled variant" + _why_not_native(package))
    if variant is not None and variant not in package.variants:
        raise TargetError(f"the package has no variant {variant!r}, only " + ", ".join(package.variants))
    # The plan vouches for the kernels; the manifest, which is what gets signed, vouches for the plan.
    for name in package.variants if variant is None else [variant]:
        package.read_checked(f"variants/{name}/plan.bin")
    return NativeBackend(package, variant, threads)


def _onnxruntime(package: Package, threads: int) -> Backend:
    # Imported here: few programs need it, and it takes longer to import than the rest.
    from .backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(package, threads)


def _fall_back(package: Package, threads: int, cause: TargetError) -> tuple[Backend, str]:
    try:
        backend = _onnxruntime(package, threads)
    except SanderlingError as error:
        raise TargetError(f"{cause}. ONNX Runtime cannot help: {error}") from cause
    warnings.warn(f"running {package.manifest.name} in ONNX Runtime: {cause}", UserWarning, stacklevel=4)
    return backend, str(cause)


def _why_not_native(package: Package) -> str:
    for row in package.manifest.unsupported:
        return f" because of node {row.get('node')!r} ({row.get('op')}): {row.get('reason')}"
    return ""


def _choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SanderlingError(f"{what} must be one of {', '.join(known)}, got {value!r}")
