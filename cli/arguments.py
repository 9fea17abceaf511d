"""Argument types that several commands share.

Each raises ArgumentTypeError, which argparse turns into a usage error and exit code 2.
"""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanderling.compiler.remote import Address

PEERS = ("onnxruntime", "openvino", "ncnn", "mnn")
"""Runtimes to compare with; `sanderling.cli.peers` knows more of each."""


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def probability(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def percentage(text: str) -> float:
    """`5%` as the share 0.05. The sign is asked for, so that nobody takes 0.05 for it."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?\s?%", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 5%")
    return float(text.rstrip("% ")) / 100


def thread_counts(text: str) -> tuple[int, ...]:
    """`1` or `1,2,4`."""
    return tuple(positive_int(part) for part in text.split(","))


def device_address(text: str) -> Address:
    """`ssh://[user@]host[:port][/folder]`."""
    from sanderling.compiler.errors import CompileError
    from sanderling.compiler.remote import Address

    try:
        return Address.parse(text)
    except CompileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def peer_names(text: str) -> tuple[str, ...]:
    """`openvino,ncnn`, `all` or `none`. Raises ArgumentTypeError for a name that is none of them."""
    if text in ("all", "none"):
        return PEERS if text == "all" else ()
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown peer {unknown[0]!r}; known: {', '.join(PEERS)}, all, none")
    return names
