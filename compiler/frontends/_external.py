"""Weights kept outside the model file, read only after our own checks.

The model file says where its weights are, so a hostile one could ask for any file of this machine, or for
more memory than there is (CVE-2024-27318, CVE-2025-51480, CVE-2026-27489). Therefore: plain relative names
only; the file, links resolved, lies inside the model's folder and is opened without following any further
link; every range lies inside the open file; and all tensors together ask for no more than the file holds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto

from ..errors import ModelError
from ..onnx_types import tensor_bytes

_MAX_DIGITS = 19  # what fits 63 bits


@dataclass(frozen=True, slots=True)
class _Range:
    location: str
    offset: int
    length: int | None


def inline_external(tensors: Iterable[TensorProto], folder: Path | None, max_bytes: int) -> None:
    """Read the external data of `tensors` into them, in place.

    Args:
        tensors: tensors of a model, external or not.
        folder: the folder of the model file; None if the model came without one.
        max_bytes: most bytes that may be read in all.

    Raises:
        ModelError: a file is missing, outside the folder or no plain file; a range is not inside its file.
    """
    external = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    if not external:
        return
    if folder is None:
        raise ModelError(
            f"tensor {external[0].name!r} keeps its data in another file, but the model was given as bytes, "
            "without a folder; give the path of the model file"
        )
    with ExitStack() as stack:
        files: dict[str, _OpenFile] = {}
        left = max_bytes
        for tensor in external:
            where = f"tensor {tensor.name!r}"
            wanted = _range(tensor, where)
            if wanted.location not in files:
                file = files[wanted.location] = _OpenFile(folder, wanted.location, where)
                stack.callback(file.close)
            expected = tensor_bytes(tensor)
            if wanted.length not in (None, expected):
                raise ModelError(
                    f"{where} has {wanted.length} bytes of external data, its shape needs {expected}"
                )
            left -= expected
            if left < 0:
                raise ModelError(f"the model's external weights exceed the limit of {max_bytes} bytes")
            tensor.raw_data = files[wanted.location].read(wanted.offset, expected, where)
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]


def _range(tensor: TensorProto, where: str) -> _Range:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in entries:
            raise ModelError(f"{where} gives its external {entry.key!r} twice")
        entries[entry.key] = entry.value
    location = entries.get("location", "")
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location:
        raise ModelError(f"{where} does not name its external file")
    if location[0] in "/\\" or ".." in parts or (len(location) > 1 and location[1] == ":"):
        raise ModelError(
            f"{where} asks for the file {location!r}; only files in the model's own folder are read"
        )
    offset = _number(entries.get("offset", "0"), "offset", where)
    length = _number(entries["length"], "length", where) if "length" in entries else None
    return _Range(location, offset, length)


def _number(text: str, what: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ModelError(f"{where} has the external {what} {text[:40]!r}, which is no sensible number")
    return int(text)


class _OpenFile:
    """One file of external data; checks and reads go through the same descriptor."""

    def __init__(self, folder: Path, location: str, where: str) -> None:
        self._location = location
        root = folder.resolve()
        try:
            path = (folder / location).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"{where}: its file {location!r} is missing beside the model ({_reason(error)}); "
                "copy the model with all its files"
            ) from error
        if not path.is_relative_to(root):
            raise ModelError(
                f"{where}: {location!r} is a link that leaves the model's folder; put the file itself there"
            )
        try:
            self._descriptor = _open_without_links(root, path.relative_to(root).parts)
        except OSError as error:
            raise ModelError(f"{where}: its file {location!r} cannot be opened ({_reason(error)})") from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise ModelError(f"{where}: {location!r} is no plain file")
        self._size = self._unread = status.st_size

    def read(self, offset: int, length: int, where: str) -> bytes:
        if offset > self._size or length > self._size - offset:
            raise ModelError(
                f"{where} needs bytes {offset} to {offset + length} of {self._location!r}, "
                f"which has {self._size}; is it cut short?"
            )
        self._unread -= length
        if self._unread < 0:
            raise ModelError(f"{where}: the tensors in {self._location!r} overlap; save the model again")
        chunks = []
        while length:
            chunk = os.pread(self._descriptor, min(length, 1 << 30), offset)
            if not chunk:
                raise ModelError(f"{where}: {self._location!r} became shorter while it was read")
            chunks.append(chunk)
            offset, length = offset + len(chunk), length - len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        os.close(self._descriptor)


def _open_without_links(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file below `root`, one folder at a time, so that no link put there meanwhile is followed."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for index, part in enumerate(parts):
        kind = os.O_NONBLOCK if index == len(parts) - 1 else os.O_DIRECTORY
        try:
            child = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = child
    return descriptor


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it links in a circle"
