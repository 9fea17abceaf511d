"""A package as a file: its manifest, its entries, and whether all bytes are those that were compiled.

Nothing here loads native code. The container is read by the C++ reader alone, so that there is one answer
to what a file holds.
"""

from __future__ import annotations

import hashlib
import os
from types import TracebackType
from typing import Self

from . import _core
from .errors import PackageError, SanderlingError
from .manifest import MAX_BYTES, Manifest, parse_manifest

MANIFEST, SIGNATURE, MODEL = "manifest.json", "signature.json", "model.onnx"
_VARIANT_FILES = ("plan.bin", "kernels.so", "params.bin")


class Package:
    """An open `.sand` file, mapped once: what is verified is what is loaded, even if the path is replaced.

    `path` is a path or an open file descriptor, which stays the caller's.
    Raises PackageError if the file breaks the format, SanderlingError if it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str] | int) -> None:
        self.core = _core.Package(path if isinstance(path, int) else _encoded(path))
        try:
            self.entries: dict[str, int] = self.core.entries()
            """Sizes of the entries that are present, by name."""
            self.manifest: Manifest = self._read_manifest()
        except BaseException:
            self.core.close()
            raise

    @property
    def digest(self) -> str:
        """SHA-256 of manifest.json, hexadecimal: the identity of this package, thin or whole."""
        return self.manifest.digest

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants whose files are present. The manifest of a thin package lists others, too."""
        return tuple(
            name
            for name in self.manifest.variants
            if all(f"variants/{name}/{file}" in self.entries for file in _VARIANT_FILES)
        )

    @property
    def signed(self) -> bool:
        """Whether there is a signature. It is not checked here."""
        return SIGNATURE in self.entries

    def read(self, name: str) -> bytes:
        """The bytes of an entry, unchecked. Raises SanderlingError if there is none."""
        return self.core.read(name)

    def read_checked(self, name: str) -> bytes:
        """The bytes of an entry, if they have the digest that the manifest lists; PackageError otherwise."""
        data = self.read(name)
        found, listed = hashlib.sha256(data).hexdigest(), self.manifest.entries[name].sha256
        if found != listed:
            raise PackageError(f"{name}: its SHA-256 is {found}, but the manifest lists {listed}")
        return data

    def verify(self) -> None:
        """Check container, CRCs, every digest and every plan. Raises PackageError at the first fault."""
        self.core.verify()
        for name in self.manifest.entries.keys() & self.entries.keys():
            self.read_checked(name)

    def close(self) -> None:
        """Unmap the file. Models that were loaded from it stay valid."""
        self.core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_manifest(self) -> Manifest:
        size = self.entries.get(MANIFEST)
        if size is None:
            raise PackageError(f"the package has no {MANIFEST}")
        if size > MAX_BYTES:
            raise PackageError(f"{MANIFEST} has {size} bytes; the limit is {MAX_BYTES}")
        manifest = parse_manifest(self.read(MANIFEST))
        for name, size in self.entries.items():
            if name in (MANIFEST, SIGNATURE):
                continue
            listed = manifest.entries.get(name)
            if listed is None:
                raise PackageError(f"{name} is in the package, but not in its manifest")
            if listed.size != size:
                raise PackageError(f"{name} has {size} bytes, but the manifest lists {listed.size}")
        return manifest


def _encoded(path: str | os.PathLike[str]) -> bytes:
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise SanderlingError(f"{path!r} is no path: it has a NUL character")
    return encoded
