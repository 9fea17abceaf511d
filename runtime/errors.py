"""The errors that Sanderling raises on purpose. Their text names the cause and what to do about it."""

from __future__ import annotations


class SanderlingError(RuntimeError):
    """An operation failed for a reason that its text explains; base class of all."""


class PackageError(SanderlingError):
    """The file is no package, breaks the package format, or its bytes are not those that were compiled."""


class TargetError(SanderlingError):
    """No variant of the package runs on this CPU, or not the one that was asked for."""


class InputError(SanderlingError):
    """An array or frame does not fit the model: its name, rank, shape, dtype or device."""


# sd_status of the C API (cpp/include/sanderling/sanderling.h) → class; any other is a plain SanderlingError.
_CLASSES: dict[int, type[SanderlingError]] = {
    3: PackageError,  # SD_BAD_PACKAGE
    4: PackageError,  # SD_DIGEST_MISMATCH
    5: TargetError,  # SD_UNSUPPORTED_TARGET
    6: PackageError,  # SD_UNSUPPORTED_VERSION
    9: InputError,  # SD_BAD_TENSOR
}


def of_status(status: int, message: str) -> SanderlingError:
    """The exception for a failed call of the C API."""
    return _CLASSES.get(status, SanderlingError)(message)
