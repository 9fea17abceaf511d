"""The other runtimes: where they are installed, and what each needs to run a model.

ONNX Runtime is our reference, and shares our environment. The others have one of their own, because what they
depend on would clash with what we depend on; `sanderling bench --install-peers` makes it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sanderling.cli.child import OWN_PYTHON
from sanderling.cli.contest import Entry, Outcome
from sanderling.cli.conversion import Convert, to_mnn, to_ncnn, unchanged
from sanderling.cli.errors import CommandError
from sanderling.cli.tools import ToolError, run_tool

Progress = Callable[[str, int, int], None]

VARIABLE = "SANDERLING_PEERS"
INSTALL = "sanderling bench --install-peers"
_INSTALL_SECONDS = 1800.0
_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A runtime: its distribution, what converts a model for it, and how it is held to an instruction set.

    `bare` are distributions that are installed without what they ask for: pnnx wants PyTorch for its Python
    face, but its program needs nothing. `held` is the environment by our target. `own`: in our environment.
    """

    distribution: str
    convert: Convert = unchanged
    bare: tuple[str, ...] = ()
    held: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    own: bool = False


# OpenVINO's convolutions come from oneDNN, which can be held; a few element-wise kernels of its own cannot.
PEERS: Mapping[str, Peer] = {
    "onnxruntime": Peer("onnxruntime", own=True),
    "openvino": Peer("openvino", held={"x86-64-v3": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}),
    "ncnn": Peer("ncnn", to_ncnn, bare=("pnnx",)),
    "mnn": Peer("MNN", to_mnn),
}
# Targets to which it makes sense to hold a peer: any CPU that runs more can be told to run this.
_HOLDABLE = ("x86-64-v3",)


def environment() -> Path:
    """Where the peers live: $SANDERLING_PEERS, or a folder in the user's cache for this Python's version."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "sanderling" / f"peers-{sys.version_info.major}.{sys.version_info.minor}"


def interpreter() -> Path:
    """The peers' Python."""
    return environment() / "bin" / "python"


def installed() -> dict[str, str]:
    """Version of each distribution that is there; empty if there is no environment."""
    names = [name for peer in PEERS.values() if not peer.own for name in (peer.distribution, *peer.bare)]
    if not interpreter().exists():
        return {}
    try:
        found: dict[str, str] = json.loads(
            run_tool([interpreter(), "-I", "-c", _VERSIONS, *names], timeout=60)
        )
    except (ToolError, ValueError):
        return {}
    return found


def require(wanted: Sequence[str]) -> dict[str, str]:
    """Versions by peer. Raises CommandError, which says what to do, if one is not installed."""
    others = [name for name in wanted if not PEERS[name].own]
    found = installed() if others else {}
    missing = [name for name in others if not {PEERS[name].distribution, *PEERS[name].bare} <= found.keys()]
    if missing:
        raise CommandError(
            f"{', '.join(missing)}: not installed in {environment()}; run `{INSTALL}`, or leave it to "
            "--peers onnxruntime"
        )
    return {name: found[PEERS[name].distribution] for name in others}


def install(progress: Progress | None = None) -> dict[str, str]:
    """Make the environment, or bring it up to date; the newest versions. Raises CommandError."""
    note = progress or (lambda *_: None)
    peers = [peer for peer in PEERS.values() if not peer.own]
    wanted = [peer.distribution for peer in peers]
    bare = [name for peer in peers for name in peer.bare]
    pip: list[object] = [
        interpreter(),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--upgrade",
    ]
    steps: list[tuple[str, list[object]]] = [
        (f"making {environment()}", [sys.executable, "-m", "venv", environment()]),
        (f"installing {', '.join(wanted)}", [*pip, "numpy", *wanted]),
        (f"installing {', '.join(bare)}", [*pip, "--no-deps", *bare]),
    ]
    for index, (text, command) in enumerate(steps):
        note(text, index, len(steps))
        try:
            run_tool(command, timeout=_INSTALL_SECONDS, environment={})
        except ToolError as error:
            raise CommandError(f"{text}: {error}") from error
    return require(tuple(PEERS))


def entries(
    wanted: Sequence[str],
    onnx: Path,
    feeds: Mapping[str, npt.NDArray[Any]],
    folder: Path,
    *,
    held_to: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """The wanted peers with the model converted for them in `folder`; and again, held to targets.

    A conversion that fails gives an entry that says so. Raises CommandError if a peer is not installed.
    """
    versions = require(wanted)
    for index, name in enumerate(wanted):
        peer = PEERS[name]
        if progress:
            progress(f"converting the model for {name}", index, len(wanted))
        entry = _entry(name, peer, onnx, feeds, folder / name, versions.get(name, ""))
        yield entry
        for target in held_to:
            if target in _HOLDABLE:
                yield _held(entry, peer, target)


def _entry(
    name: str,
    peer: Peer,
    onnx: Path,
    feeds: Mapping[str, npt.NDArray[Any]],
    folder: Path,
    version: str,
) -> Entry:
    python = OWN_PYTHON if peer.own else (interpreter(), "-I")
    folder.mkdir()
    try:
        files = peer.convert(interpreter(), onnx, feeds, folder)
    except ToolError as error:
        note = f"conversion: {error}"
        outcome: Outcome = "failed" if error.crashed else "unsupported"
        return Entry(name, (), python=python, version=version, note=note, outcome=outcome)
    return Entry(name, files, python=python, version=version)


def _held(entry: Entry, peer: Peer, target: str) -> Entry:
    held = replace(entry, target=target, environment=peer.held.get(target, {}))
    if held.note is None and target not in peer.held:
        return replace(held, note=f"cannot be held to {target}: it has no such switch", files=())
    return held
