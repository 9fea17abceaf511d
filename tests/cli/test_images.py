"""Pictures: good ones arrive as a person sees them, all others are refused before a decoder sees them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.cli.errors import CommandError
from sanderling.cli.images import (
    Header,
    Limits,
    RgbImage,
    check,
    encode,
    parse_header,
    read_image,
    write_image,
)

RED, GREEN = (220, 20, 20), (20, 200, 20)


def picture(width: int = 48, height: int = 32) -> RgbImage:
    """Red left half, green right half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = RED, GREEN
    return image


def jpeg(width: int = 48, height: int = 32) -> bytes:
    return encode(picture(width, height), ".jpg")


def png(width: int = 48, height: int = 32) -> bytes:
    return encode(picture(width, height), ".png")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that say they are a picture of that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF segment that says how the camera was held."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize(("make", "kind"), [(jpeg, "jpeg"), (png, "png")])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (48, 32), (17, 301)])
def test_header_tells_kind_and_size(
    make: Callable[[int, int], bytes], kind: str, width: int, height: int
) -> None:
    assert parse_header(make(width, height)) == Header(kind, width, height, complete=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png"])
def test_picture_survives_writing_and_reading(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, picture())
    found = read_image(path)
    assert found.dtype == np.uint8
    assert found.shape == (32, 48, 3)
    assert np.abs(found[16, 8].astype(int) - RED).max() < 12
    assert np.abs(found[16, 40].astype(int) - GREEN).max() < 12
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("orientation", "shape", "red_at"),
    [
        (1, (32, 48, 3), (16, 4)),
        (3, (32, 48, 3), (16, 44)),
        (6, (48, 32, 3), (4, 16)),
        (8, (48, 32, 3), (44, 16)),
    ],
)
def test_exif_orientation_is_followed(
    tmp_path: Path, orientation: int, shape: tuple[int, ...], red_at: tuple[int, int]
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(jpeg(), orientation))
    found = read_image(path)
    assert found.shape == shape
    assert np.abs(found[red_at].astype(int) - RED).max() < 12


def test_sixteen_bit_grey_and_alpha_become_rgb_bytes(tmp_path: Path) -> None:
    for index, pixels in enumerate(
        [
            np.full((8, 9, 3), 40_000, np.uint16),
            np.full((8, 9), 90, np.uint8),
            np.full((8, 9, 4), 90, np.uint8),
        ]
    ):
        path = tmp_path / f"{index}.png"
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        found = read_image(path)
        assert found.shape == (8, 9, 3)
        assert found.dtype == np.uint8


BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "neither JPEG nor PNG"),
    "text": (b"hello, world" * 10, "neither JPEG nor PNG"),
    "GIF": (b"GIF89a" + bytes(40), "neither JPEG nor PNG"),
    "TIFF": (b"II*\0" + bytes(40), "neither JPEG nor PNG"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "neither JPEG nor PNG"),
    "Radiance HDR": (b"#?RADIANCE\n" + bytes(40), "neither JPEG nor PNG"),
    "PNG bomb": (png_claiming(100_000, 100_000), "100000×100000 pixels"),
    "PNG of 2^31 columns": (png_claiming(2**31 - 1, 1), "pixels"),
    "PNG 0 wide": (png_claiming(0, 5), "empty picture"),
    "PNG 0 high": (png_claiming(5, 0), "empty picture"),
    "PNG without IHDR": (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", bytes(40)), "without its IHDR"),
    "PNG signature only": (png()[:8], "without its IHDR"),
    "PNG truncated": (png()[:-4], "truncated"),
    "PNG without IEND": (png()[:-12], "truncated"),
    "PNG with a huge chunk": (png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(40), "truncated"),
    "PNG with too few pixels": (png_claiming(64, 64), "cannot be decoded"),
    "JPEG bomb": (jpeg_claiming(65_500, 65_500), "65500×65500 pixels"),
    "JPEG 0 wide": (jpeg_claiming(0, 5), "empty picture"),
    "JPEG 0 high": (jpeg_claiming(5, 0), "empty picture"),
    "JPEG truncated": (jpeg()[:-2], "truncated"),
    "JPEG half": (jpeg(480, 320)[:900], "truncated"),
    "JPEG without a picture": (jpeg()[:20], "ends before"),
    "JPEG segment of length 1": (b"\xff\xd8\xff\xe0\0\1" + bytes(30), "ends before"),
    "JPEG broken segment": (b"\xff\xd8\xff\xe0\0\4ab" + bytes(30), "broken segment"),
    "JPEG with two frames": (
        jpeg()[:2] + jpeg()[jpeg().index(b"\xff\xc0") :][:19] + jpeg()[2:],
        "broken frame",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_picture_is_refused_with_its_cause(tmp_path: Path, case: str) -> None:
    data, cause = BAD[case]
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(CommandError, match=cause) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_large_file_is_refused() -> None:
    with pytest.raises(ValueError, match="the limit is 100"):
        check(png(), Limits(file_bytes=100))


@given(st.binary(max_size=300))
def test_header_parser_withstands_any_bytes(tail: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"):
        try:
            header = parse_header(start + tail)
        except ValueError:
            continue
        assert header.width >= 0
        assert header.height >= 0


def test_a_thousand_mutated_pictures_are_decoded_or_refused(tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / "mutated"
    outcomes = set()
    for turn in range(1000):
        data = bytearray(jpeg() if turn % 2 else png())
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.randint(len(data) // 2, len(data))] if chance.random() < 0.3 else data)
        try:
            found = read_image(path)
        except CommandError:
            outcomes.add("refused")
            continue
        assert found.ndim == 3
        outcomes.add("decoded")
    assert outcomes == {"refused", "decoded"}


def test_unknown_ending_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"use \.jpg or \.png"):
        write_image(tmp_path / "a.webp", picture())
    assert list(tmp_path.iterdir()) == []
