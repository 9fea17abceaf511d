"""The container: ZIP in the strict profile of `docs/package-format.md`, section 1."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from .errors import CompileError

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_PADDING = struct.Struct("<HH")
_PADDING_ID = 0x4E53
_VERSION = 20
_DATE = 0x21  # 1980-01-01, the first day that ZIP knows
_LIMIT = 0xFFFFFFFF
_PAGE = 65536

# How the data of an entry is aligned, by the end of its name.
_ALIGNMENTS = {"kernels.so": _PAGE, "params.bin": _PAGE, "model.onnx": _PAGE, "plan.bin": 64}


def write_archive(file: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write the entries (name, contents), in order. Raises CompileError if the archive would pass 4 GiB."""
    directory = b""
    offset = count = 0
    for name, data in entries:
        raw = name.encode("ascii")
        gap, extra = _padding(offset + _LOCAL.size + len(raw), _ALIGNMENTS.get(name.rpartition("/")[2], 1))
        start = offset + gap
        offset = start + _LOCAL.size + len(raw) + len(extra) + len(data)
        if offset >= _LIMIT:
            raise CompileError(f"the package would pass 4 GiB with {name}; compile for fewer targets")
        common = (_VERSION, 0, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(raw))
        file.write(bytes(gap) + _LOCAL.pack(0x04034B50, *common, len(extra)) + raw + extra)
        file.write(data)
        directory += _CENTRAL.pack(0x02014B50, _VERSION, *common, 0, 0, 0, 0, 0, start) + raw
        count += 1
    file.write(directory + _END.pack(0x06054B50, 0, 0, count, count, len(directory), offset, 0))


def _padding(position: int, alignment: int) -> tuple[int, bytes]:
    """Zero bytes before the local header, and its extra field, so that data at `position` is aligned.

    An extra field has at least 4 bytes and at most 65,535, so it cannot make up for 1–3 bytes: the gap does.
    """
    missing = -position % alignment
    if missing < _PADDING.size:
        return missing, b""
    return 0, _PADDING.pack(_PADDING_ID, missing - _PADDING.size) + bytes(missing - _PADDING.size)
