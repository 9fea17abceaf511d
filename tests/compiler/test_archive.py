"""The container keeps the strict ZIP profile, whatever the sizes of its entries."""

from __future__ import annotations

import io
import struct
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.archive import write_archive

LARGE = ("kernels.so", "params.bin", "model.onnx")


def check_profile(data: bytes) -> None:
    """The container rules of the format that zipfile does not enforce."""
    magic, disk, start_disk, here, total, size, offset, comment = struct.unpack("<IHHHHIIH", data[-22:])
    assert (magic, disk, start_disk, here, comment) == (0x06054B50, 0, 0, total, 0)
    assert offset + size == len(data) - 22
    end = 0
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        assert (info.flag_bits, info.compress_type, info.external_attr, info.extra) == (0, 0, 0, b"")
        local = struct.unpack_from("<IHHHHHIIIHH", data, info.header_offset)
        assert local[2:4] == (0, 0)
        assert local[6:10] == (info.CRC, info.file_size, info.file_size, len(info.filename))
        assert 0 <= info.header_offset - end <= 3
        start = info.header_offset + 30 + local[9] + local[10]
        if info.filename.endswith(LARGE):
            assert start % 65536 == 0
        if info.filename.endswith("plan.bin"):
            assert start % 64 == 0
        end = start + info.file_size
    assert end == offset


@given(st.lists(st.integers(0, 140), min_size=1, max_size=6), st.integers(65536 - 140, 65536))
def test_every_position_can_be_aligned(sizes: list[int], filler: int) -> None:
    entries = [("filler", bytes(filler))]
    for index, size in enumerate(sizes):
        entries.append((f"{index}/{LARGE[index % 3] if index % 2 else 'plan.bin'}", bytes(size)))
    file = io.BytesIO()
    write_archive(file, entries)
    check_profile(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        assert [(name, archive.read(name)) for name in archive.namelist()] == entries
