"""The other runtimes: where they are installed, and what each needs to run a model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sanderling.cli.contest import Entry
from sanderling.cli.subject import Progress

NAMES = ("onnxruntime",)


def peer_names(text: str) -> tuple[str, ...]:
    """`openvino,ncnn`, `all` or `none`. Raises ArgumentTypeError for a name that is none of them."""
    if text in ("all", "none"):
        return NAMES if text == "all" else ()
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown peer {unknown[0]!r}; known: {', '.join(NAMES)}, all, none")
    return names


def entries(
    wanted: Sequence[str],
    onnx: Path,
    feeds: Mapping[str, npt.NDArray[Any]],
    folder: Path,
    held_to: Sequence[str],
    progress: Progress | None,
) -> list[Entry]:
    return [Entry(name, (onnx,)) for name in wanted]
