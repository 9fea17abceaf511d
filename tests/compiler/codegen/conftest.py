"""Runs a Program by hand: its own code, its own addresses, tasks cut at random. No runtime is involved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sanderling.compiler.codegen import generate
from sanderling.compiler.codegen.tuning import Tuner
from sanderling.compiler.evaluate import evaluate
from sanderling.compiler.graph import Graph, Node, TensorType
from sanderling.compiler.program import Arg, Program
from sanderling.compiler.target import Target, cpu_flags, find_target
from tests.support import emulated
from tests.support.kernels import open_kernels

Arrays = Mapping[str, npt.NDArray[Any]]

_FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
TARGETS = [name for name in ("x86-64-v3", "x86-64-v4") if _FLAGS.issuperset(find_target(name).features)]
_EMULATED = [pytest.param(name, marks=pytest.mark.slow) for name in emulated.TARGETS]


@pytest.fixture(params=[*TARGETS, *_EMULATED])
def target(request: pytest.FixtureRequest) -> Target:
    """Each target that this CPU can run; the slow suite also has those that an emulator can."""
    return find_target(request.param)


def make_graph(
    nodes: Sequence[Node], inputs: Arrays, constants: Arrays, shapes: Mapping[str, Sequence[int]]
) -> Graph:
    """A canonical float32 graph whose outputs are those of the last node."""
    types = {
        name: TensorType(str(array.dtype), array.shape) for name, array in {**inputs, **constants}.items()
    }
    types |= {name: TensorType("float32", tuple(shape)) for name, shape in shapes.items()}
    return Graph("test", tuple(nodes), tuple(inputs), nodes[-1].outputs, types, dict(constants), 17)


class Machine:
    """The memory of one Program: buffers filled with NaN, so that reading what nobody wrote shows. Inputs lie
    at `offset` bytes from a multiple of 64, outputs at `out_offset` (by default there, too).
    """

    def __init__(
        self, program: Program, folder: Path, offset: int = 4, out_offset: int | None = None
    ) -> None:
        self._kernels = open_kernels(program.code, find_target(program.target), folder)
        self._program = program
        sizes = {("buffer", name): size for name, size in program.buffers.items()}
        sizes |= {("param", name): array.nbytes for name, array in program.params.items()}
        sizes["scratch", ""] = max(program.scratch_bytes, 1)
        self._memory: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}
        self._guarded: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}
        for key, size in sizes.items():
            self._place(key, size, 0)
        self.move(offset, offset if out_offset is None else out_offset)
        for name, array in program.params.items():
            self._memory["param", name][:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)

    def move(self, offset: int, out_offset: int) -> None:
        """Gives inputs and outputs new memory, at these offsets."""
        ends = [("input", self._program.inputs, offset), ("output", self._program.outputs, out_offset)]
        for place, types, at in ends:
            for name, kind in types.items():
                self._place((place, name), kind.nbytes, at)

    def _place(self, key: tuple[str, str], size: int, offset: int) -> None:
        """`size` bytes at `offset` from a multiple of 64, between guards."""
        raw = self._kernels.allocate(size + 256)
        start = 64 - raw.ctypes.data % 64 + offset
        self._guarded[key], self._memory[key] = raw, raw[start : start + size]

    def run(self, feeds: Arrays, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        """Every call in random pieces, in random order."""
        for name, array in feeds.items():
            self._memory["input", name][:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        for call in self._program.calls:
            addresses = [self._address(arg) for arg in call.args]
            cuts = np.unique(rng.integers(0, call.tasks + 1, size=3)).tolist()
            edges = [0, *[cut for cut in cuts if 0 < cut < call.tasks], call.tasks]
            pieces = list(itertools.pairwise(edges))
            rng.shuffle(pieces)
            for low, high in pieces:
                self._kernels.call(call.symbol, int(low), int(high), addresses)
        self._kernels.finish()
        self._check_guards()
        return {
            name: self._memory["output", name].view(kind.dtype).reshape(kind.shape).copy()
            for name, kind in self._program.outputs.items()
        }

    def _check_guards(self) -> None:
        """Nothing was written before or behind any memory."""
        for key, memory in self._memory.items():
            raw = self._guarded[key]
            start = memory.ctypes.data - raw.ctypes.data
            assert (raw[:start] == 0xFF).all(), f"{key} overrun at the front"
            assert (raw[start + memory.nbytes :] == 0xFF).all(), f"{key} overrun at the end"

    def _address(self, arg: Arg) -> int:
        memory = self._memory[arg.place, arg.name if arg.place != "scratch" else ""]
        assert arg.offset + arg.size <= memory.nbytes
        address = int(memory.ctypes.data) + arg.offset
        assert arg.place in ("input", "output") or address % arg.align == 0
        return address


def random_feeds(graph: Graph, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
    return {name: rng.standard_normal(graph.types[name].shape).astype(np.float32) for name in graph.inputs}


def assert_close(got: Arrays, want: Arrays, *, limit: float = 1e-5, what: object = None) -> None:
    """Every output within `limit` of the largest value of the output."""
    for name, array in want.items():
        scale = float(np.abs(array).max()) or 1.0
        assert np.abs(got[name] - array).max() <= limit * scale, (name, what)


Check = Callable[..., Program]


@pytest.fixture
def check(target: Target, tmp_path: Path, rng: np.random.Generator) -> Check:
    """Compiles a graph, runs it with inputs and outputs off the alignment, compares it with ONNX Runtime."""

    def check_(
        graph: Graph, *, offset: int = 4, limit: float = 1e-5, choose: Any = None, only: str = ""
    ) -> Program:
        feeds = random_feeds(graph, rng)
        program = generate(graph, target, choose or Tuner(target))
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        got = Machine(program, folder, offset).run(feeds, rng)
        assert_close(got, evaluate(graph, feeds), limit=limit, what=[call.kind for call in program.calls])
        if only:
            assert {call.kind.split()[0] for call in program.calls} <= {*only.split(), "relayout", "copy"}
        return program

    return check_
