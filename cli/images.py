"""JPEG and PNG files to RGB bytes. Only these two, and only after their header has been found sane.

A picture of a few hundred bytes can claim to be gigabytes: so the size in the header is judged before a
decoder sees the file. The header parser reads nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sanderling.cli.errors import CommandError
from sanderling.compiler.files import replacing

RgbImage = npt.NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be. The defaults hold a 50-megapixel camera and refuse a bomb."""

    file_bytes: int = 64 * 2**20
    side: int = 16_384
    pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; `complete` is False when its end is missing."""

    kind: Literal["jpeg", "png"]
    width: int
    height: int
    complete: bool


_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SEGMENTS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}  # TEM, RST0…7
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0…15, without DHT, JPG, DAC
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def parse_header(data: bytes) -> Header:
    """Kind and size of the picture in `data`. Raises ValueError saying what is wrong."""
    if data.startswith(_PNG):
        return _parse_png(data)
    if data.startswith(_JPEG):
        return _parse_jpeg(data)
    raise ValueError("neither JPEG nor PNG")


def _parse_png(data: bytes) -> Header:
    if len(data) < 33 or data[8:16] != b"\0\0\0\x0dIHDR":
        raise ValueError("a PNG without its IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    position = 33
    while len(data) - position >= 12:
        (length,) = struct.unpack_from(">I", data, position)
        if length > len(data) - position - 12:
            break
        if data[position + 4 : position + 8] == b"IEND":
            return Header("png", width, height, complete=True)
        position += 12 + length
    return Header("png", width, height, complete=False)


def _parse_jpeg(data: bytes) -> Header:
    position, size = 2, None
    while len(data) - position >= 4:
        if data[position] != 0xFF:
            raise ValueError("a JPEG with a broken segment")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _SEGMENTS_WITHOUT_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if length < 2 or length > len(data) - position - 2:
            break
        if marker in _FRAMES:
            if length < 8 or size is not None:
                raise ValueError("a JPEG with a broken frame header")
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        if marker == _START_OF_SCAN:
            if size is None:
                break
            # Inside a scan 0xff is always followed by 0 or a restart marker, so this is the real end.
            complete = data.find(b"\xff\xd9", position + 2 + length) >= 0
            return Header("jpeg", *size, complete=complete)
        position += 2 + length
    raise ValueError("a JPEG that ends before its picture")


def check(data: bytes, limits: Limits = Limits()) -> Header:
    """The header of a picture that may be decoded. Raises ValueError saying why it may not."""
    if len(data) > limits.file_bytes:
        raise ValueError(f"{len(data):,} bytes, the limit is {limits.file_bytes:,}")
    header = parse_header(data)
    if header.width == 0 or header.height == 0:
        raise ValueError(f"an empty picture ({header.width}×{header.height})")
    if max(header.width, header.height) > limits.side or header.width * header.height > limits.pixels:
        raise ValueError(
            f"{header.width}×{header.height} pixels; "
            f"the limits are {limits.side:,} a side and {limits.pixels:,} in all"
        )
    if not header.complete:
        raise ValueError("truncated")
    return header


def read_image(path: Path, limits: Limits = Limits()) -> RgbImage:
    """The picture in a JPEG or PNG file as a person sees it: turned as its EXIF says, 8 bits, RGB [H,W,3].

    Raises CommandError naming file and cause, OSError if it cannot be read.
    """
    import cv2

    with path.open("rb") as file:
        data = file.read(limits.file_bytes + 1)
    try:
        check(data, limits)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise CommandError(f"{path}: cannot be decoded ({error.err})") from error
    if pixels is None:
        raise CommandError(f"{path}: cannot be decoded")
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def write_image(path: Path, image: RgbImage, quality: int = 90) -> None:
    """Write `image` as what the file's ending says (.jpg, .jpeg, .png). Nothing is left behind on failure."""
    data = encode(image, path.suffix.lower(), quality)
    with replacing(path) as file:
        file.write(data)


def encode(image: RgbImage, suffix: str, quality: int = 90) -> bytes:
    """`image` as JPEG or PNG bytes; `suffix` is ``.jpg``, ``.jpeg`` or ``.png``."""
    import cv2

    if suffix not in (".jpg", ".jpeg", ".png"):
        raise CommandError(
            f"cannot write pictures as {suffix or 'a file without ending'!r}; use .jpg or .png"
        )
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise CommandError(f"a picture of shape {image.shape} cannot be encoded as {suffix}")
    return data.tobytes()
