"""Checks, before it is packed, that kernels.so is what the kernel ABI promises.

See `docs/package-format.md`, section 4. Layout: System V ABI, "ELF-64 Object File Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import CompileError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNAMIC = struct.Struct("<qQ")
_MACHINES = {"x86_64": 62, "aarch64": 183}
_SYMTAB, _DYNAMIC_SECTION, _DYNSYM = 2, 6, 11
_NEEDED = 1
_EXECUTED_AT_LOAD = {
    12: "DT_INIT",
    13: "DT_FINI",
    25: "DT_INIT_ARRAY",
    26: "DT_FINI_ARRAY",
    32: "DT_PREINIT_ARRAY",
}
_THREAD_LOCAL = 6  # symbol type
_SHARED_OBJECT = 3


def check_kernels(code: bytes, arch: str, symbols: Iterable[str]) -> None:
    """Raise CompileError unless `code` is a stripped object for `arch` with all `symbols`."""
    try:
        faults = list(_faults(code, arch, frozenset(symbols)))
    except (struct.error, IndexError, ValueError) as error:
        raise CompileError(f"kernels.so is not a whole ELF file: {error}") from None
    if faults:
        raise CompileError("kernels.so breaks the kernel ABI: " + "; ".join(faults))


def _faults(code: bytes, arch: str, symbols: frozenset[str]) -> Iterator[str]:
    ident, type_, machine, *_, section_size, count, _ = _HEADER.unpack_from(code)
    if ident[:6] != b"\x7fELF\x02\x01" or type_ != _SHARED_OBJECT:
        raise ValueError("no 64-bit little-endian shared object")
    if machine != _MACHINES[arch]:
        yield f"machine {machine} is not {arch}"
    table = _HEADER.unpack_from(code)[6]
    sections = [_SECTION.unpack_from(code, table + i * section_size) for i in range(count)]
    if any(section[1] == _SYMTAB for section in sections):
        yield "it is not stripped (link with --strip-all)"
    defined: set[str] = set()
    for section in sections:
        if section[1] == _DYNAMIC_SECTION:
            yield from _dynamic_faults(code, section)
        if section[1] == _DYNSYM:
            for name, info, index in _symbols(code, section, sections[section[6]]):
                if index == 0:
                    yield f"undefined symbol {name}"
                elif info & 15 == _THREAD_LOCAL:
                    yield f"thread-local symbol {name}"
                else:
                    defined.add(name)
    missing = sorted(symbols - defined)
    if missing:
        yield f"it does not define {', '.join(missing)}"


def _dynamic_faults(code: bytes, section: tuple[Any, ...]) -> Iterator[str]:
    offset, size = section[4:6]
    for tag, _ in _DYNAMIC.iter_unpack(code[offset : offset + size]):
        if tag == _NEEDED:
            yield "it needs another library (DT_NEEDED)"
        if tag in _EXECUTED_AT_LOAD:
            yield f"it runs code when loaded ({_EXECUTED_AT_LOAD[tag]})"


def _symbols(
    code: bytes, section: tuple[Any, ...], strings: tuple[Any, ...]
) -> Iterator[tuple[str, int, int]]:
    """(name, info, section index) of each symbol but the first, which is always empty."""
    offset, size = section[4:6]
    for name, info, _, index, _, _ in list(_SYMBOL.iter_unpack(code[offset : offset + size]))[1:]:
        start = strings[4] + name
        yield code[start : code.index(b"\0", start)].decode(), info, index
