"""What an ELF file asks of the machine that it is loaded on.

Layout: System V ABI, "ELF-64 Object File Format"; symbol versions: Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x7fELF"
_MACHINES = {62: "x86_64", 183: "aarch64"}
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC, _VERSIONS_NEEDED = 6, 0x6FFFFFFE  # section types
_NEEDED, _RPATH, _RUNPATH = 1, 15, 29  # tags of the dynamic section


@dataclass(frozen=True)
class Binary:
    """`needed`: libraries; `runpath`: where they are looked for; `versions`: of symbols, as `GLIBC_2.17`."""

    arch: str
    needed: tuple[str, ...]
    runpath: tuple[str, ...]
    versions: tuple[str, ...]


def read_binary(data: bytes) -> Binary:
    """Raises ValueError if `data` is no 64-bit little-endian ELF file."""
    if data[:6] != MAGIC + b"\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    _, _, machine, _, _, _, table, _, _, _, _, size, count, _ = _HEADER.unpack_from(data)
    sections = [_SECTION.unpack_from(data, table + index * size) for index in range(count)]
    entries: list[tuple[int, str]] = []
    versions: list[str] = []
    for section in sections:
        if section[1] == _DYNAMIC:
            entries += _dynamic(data, section, sections[section[6]])
        elif section[1] == _VERSIONS_NEEDED:
            versions += _versions(data, section, sections[section[6]])
    return Binary(
        arch=_MACHINES.get(machine, f"machine {machine}"),
        needed=tuple(text for tag, text in entries if tag == _NEEDED),
        runpath=tuple(text for tag, text in entries if tag in (_RPATH, _RUNPATH)),
        versions=tuple(sorted(set(versions))),
    )


def _text(data: bytes, strings: tuple[int, ...], at: int) -> str:
    start = strings[4] + at
    return data[start : data.index(b"\0", start)].decode()


def _dynamic(data: bytes, section: tuple[int, ...], strings: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    offset, size = section[4:6]
    for tag, value in struct.iter_unpack("<qQ", data[offset : offset + size]):
        if tag in (_NEEDED, _RPATH, _RUNPATH):
            yield tag, _text(data, strings, value)


def _versions(data: bytes, section: tuple[int, ...], strings: tuple[int, ...]) -> Iterator[str]:
    """A list of libraries, each with a list of versions that are needed of it; 0 ends either."""
    library = section[4]
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, library)
        version = library + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, version)
            yield _text(data, strings, name)
            version += step
        if following == 0:
            return
        library += following
