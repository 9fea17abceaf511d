"""Runs lowered nodes by hand: no address aligned without need, tasks cut at random, in random order."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.compiler.codegen.object import compile_object, link
from sanderling.compiler.graph import Graph, Node
from sanderling.compiler.longtail import Lowered, lower_node
from sanderling.compiler.program import Arg
from sanderling.compiler.target import Target, cpu_flags, find_target

Array = npt.NDArray[Any]

_FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
TARGETS = [name for name in ("x86-64-v3", "x86-64-v4") if _FLAGS.issuperset(find_target(name).features)]


class Memory:
    """Bytes by name, filled with ones (NaN, or huge indices) so that reading what nobody wrote shows."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._places: dict[str, Array] = {}

    def place(self, name: str, size: int, align: int) -> Array:
        """`size` bytes at a multiple of `align`, and if that is less than 64 not at a multiple of 64."""
        if name not in self._places:
            raw = np.full(size + 192, 0xFF, np.uint8)
            offset = 0 if align == 64 else align * int(self._rng.integers(1, 64 // align))
            start = -raw.ctypes.data % 64 + offset
            self._places[name] = raw[start : start + size]
        memory = self._places[name]
        assert memory.nbytes == size
        return memory

    def fill(self, name: str, array: Array, align: int) -> None:
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.place(name, max(data.nbytes, array.itemsize), align)[: data.nbytes] = data


def compile_and_load(lowered: Lowered, target: Target, folder: Path) -> ctypes.CDLL:
    """The kernels as a shared object, after a look at what it asks for."""
    code = folder / f"{len(list(folder.iterdir()))}.so"
    code.write_bytes(link([compile_object({k.symbol: k.func for k in lowered.kernels}, target)], target))
    needed = subprocess.run(["nm", "-D", "-u", str(code)], capture_output=True, text=True, check=True)
    assert needed.stdout == ""
    return ctypes.CDLL(str(code))


class Machine:
    """A graph whose nodes are lowered one by one; all their inputs and outputs may lie anywhere."""

    def __init__(self, graph: Graph, target: Target, folder: Path) -> None:
        self._graph = graph
        self._nodes = [(node, *_lowered(graph, node, target, folder)) for node in graph.nodes]

    def run(self, feeds: Mapping[str, Array], seed: int = 0) -> dict[str, Array]:
        """Outputs of the graph, its counts among them."""
        rng = np.random.default_rng(seed)
        values: dict[str, Array] = {**self._graph.constants, **feeds}
        for node, lowered, library in self._nodes:
            values |= _run(self._graph, node, lowered, library, values, rng)
        return {name: values[name] for name in self._graph.outputs}


def _lowered(graph: Graph, node: Node, target: Target, folder: Path) -> tuple[Lowered, ctypes.CDLL]:
    unaligned = frozenset(value for value in (*node.inputs, *node.outputs) if value not in graph.constants)
    lowered = lower_node(graph, node, target, "kernel", unaligned)
    return lowered, compile_and_load(lowered, target, folder)


def _run(
    graph: Graph,
    node: Node,
    lowered: Lowered,
    library: ctypes.CDLL,
    values: Mapping[str, Array],
    rng: np.random.Generator,
) -> dict[str, Array]:
    memory, scratch = Memory(rng), Memory(rng).place("", lowered.scratch_bytes + 64, 64)

    def address(arg: Arg) -> int:
        if arg.place == "scratch":
            assert arg.offset + arg.size <= lowered.scratch_bytes
            return int(scratch.ctypes.data) + arg.offset
        source = lowered.params if arg.place == "param" else values
        if arg.name in source:
            memory.fill(arg.name, np.asarray(source[arg.name]), arg.align)
        return int(memory.place(arg.name, arg.size, arg.align).ctypes.data) + arg.offset

    for call in lowered.calls:
        kernel = getattr(library, call.symbol)
        addresses = [address(arg) for arg in call.args]
        kernel.argtypes = [ctypes.c_int32] * 2 + [ctypes.c_void_p] * len(addresses)
        cuts = np.unique(rng.integers(0, call.tasks + 1, size=3)).tolist()
        pieces = list(itertools.pairwise([0, *(cut for cut in cuts if 0 < cut < call.tasks), call.tasks]))
        rng.shuffle(pieces)
        for low, high in pieces:
            kernel(int(low), int(high), *addresses)
    found = {}
    for name in filter(None, node.outputs):
        kind = graph.types[name]
        align = min(4, np.dtype(kind.dtype).itemsize)
        data = memory.place(name, max(kind.nbytes, np.dtype(kind.dtype).itemsize), align)
        found[name] = np.frombuffer(data.tobytes(), kind.dtype)[: kind.size].reshape(kind.shape)
    return found


def run_graph(
    graph: Graph, feeds: Mapping[str, Array], target: Target, folder: Path, seed: int = 0
) -> dict[str, Array]:
    """Outputs of a graph, each of its nodes lowered and run on its own."""
    return Machine(graph, target, folder).run(feeds, seed)
