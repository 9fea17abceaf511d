"""What a file that is not ONNX most likely is, and what to do about it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

_EXPORT_TORCH = (
    "load the network in Python and give it to sanderling.compiler.compile with example inputs, or compile "
    "what torch.export.save or torch.onnx.export writes"
)
_EXPORT_TF = "convert it with tf2onnx and compile the .onnx file"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (0, b"\x89HDF\r\n\x1a\n", f"a Keras HDF5 model; {_EXPORT_TF}"),
    (4, b"TFL3", f"a TensorFlow Lite model; {_EXPORT_TF}"),
    (4, b"ORTM", "ONNX Runtime's own format; compile the .onnx file that it was made from"),
    (0, b"GGUF", "a GGUF language model, which cannot be compiled"),
    (0, b"\x80\x02", f"a Python pickle, perhaps an old PyTorch file; {_EXPORT_TORCH}"),
    (0, b"\x80\x04", f"a Python pickle; {_EXPORT_TORCH}"),
    (8, b'{"', f"a safetensors file, weights without a network; {_EXPORT_TORCH}"),
    (0, b"\x1f\x8b", "gzip-compressed; unpack it first"),
    (0, b"BZh", "bzip2-compressed; unpack it first"),
    (0, b"\xfd7zXZ", "xz-compressed; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x7fELF", "a program or shared library"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x93NUMPY", "a numpy array"),
)


def recognise(data: bytes) -> str | None:
    """Say what `data` looks like and what to do, or None if it might well be ONNX."""
    for guess in (_magic, _archive, _text):
        found = guess(data)
        if found is not None:
            return found
    return None


def _magic(data: bytes) -> str | None:
    for offset, magic, what in _MAGIC:
        if data.startswith(magic, offset):
            return what
    return None


_ARCHIVES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: name.endswith("data.pkl"), f"a PyTorch file (.pt, .pth); {_EXPORT_TORCH}"),
    (
        lambda name: name == "manifest.json",
        "a compiled Sanderling package; run it, there is nothing to compile",
    ),
    (lambda name: name in ("config.json", "model.weights.h5"), f"a Keras model; {_EXPORT_TF}"),
    (lambda name: name.endswith(".npy"), "a numpy archive (.npz)"),
    (lambda name: name.endswith(".onnx"), "a ZIP archive with an .onnx file inside; unpack it first"),
)


def _archive(data: bytes) -> str | None:
    if not data.startswith(b"PK\x03\x04"):
        return None
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        return "a damaged ZIP archive"
    for fits, what in _ARCHIVES:
        if any(map(fits, names)):
            return what
    return "a ZIP archive; unpack it first"


def _text(data: bytes) -> str | None:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page: the download failed or asks for a login; download the file itself"
    if start.startswith((b"<?xml", b"<")) and b">" in start:
        return "an XML document"
    if start.startswith((b"{", b"[")) and start.isascii():
        return "a JSON text"
    if len(data) > 16 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512]):
        return "a text file"
    return None
