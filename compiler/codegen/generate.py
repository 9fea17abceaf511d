"""Code generation: a graph and a target in, a Program out.

Groups are matched with templates, each distinct workload gets its configuration (measured or from the
database), then calls are laid out in order. What no template takes goes to the long tail, one operator at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import NotNativeError, UnsupportedError
from ..graph import Array, Graph
from ..longtail import Lowered, lower_node
from ..program import Access, Arg, Call, Program
from ..target import Target
from .groups import Group, channel_vector, make_groups
from .layout import Location, blocked_bytes, channel_views, is_block_concat, is_same_in_both, shifted
from .object import compile_object, link
from .select import TEMPLATES, match
from .workload import Conv2d, Dense, Depthwise, Map, Relayout, Workload, ceil_div

Chooser = Callable[[Mapping[str, tuple[Workload, ModuleType]]], Mapping[str, Any]]
"""Workloads by their key → the configuration of each."""

_TASK_FLOPS = 200_000  # below this, handing work to another thread costs more than it saves


def generate(graph: Graph, target: Target, choose: Chooser) -> Program:
    """Compiles a canonical graph. Raises NotNativeError naming every node that nothing can compile."""
    groups = make_groups(graph)
    generator = _Generator(graph, target, groups)
    configs = choose({str(work): (work, TEMPLATES[type(work)]) for work in generator.workloads()})
    return generator.emit(configs)


@dataclass
class _Generator:
    graph: Graph
    target: Target
    groups: tuple[Group, ...]
    plan: dict[str, Workload | None] = field(default_factory=dict)  # by the group's output
    blocked: set[str] = field(default_factory=set)  # values that a template writes in channel blocks

    def __post_init__(self) -> None:
        self.unaligned = frozenset((*self.graph.inputs, *self.graph.outputs))
        for group in self.groups:
            node = group.nodes[0]
            parts = is_block_concat(self.graph, node, self.target) and all(
                v in self.blocked for v in node.inputs
            )
            source_blocked = group.source in self.blocked
            work = None
            if not parts:
                work = match(self.graph, group, self.target, blocked_source=source_blocked)
            self.plan[group.output] = work
            if parts or (work is not None and not isinstance(work, Dense)):
                self.blocked.add(group.output)
        self.views = channel_views(self.graph, self.groups, frozenset(self.blocked), self.target)
        self.params: dict[str, Array] = {}
        self.buffers: dict[str, int] = {}
        self.calls: list[Call] = []
        self.functions: dict[str, Any] = {}
        self.symbols: dict[str, str] = {}
        self.scratch = 0
        self.places: dict[tuple[str, bool], Location] = {}  # (value, in channel blocks) → where
        self.missing: list[UnsupportedError] = []

    def workloads(self) -> list[Workload]:
        """What templates will build and candidates exist for."""
        return [work for work in self.plan.values() if work is not None]

    def is_alias(self, group: Group) -> bool:
        """Whether the group's output shares its input's memory, so that nothing needs to run."""
        node = group.nodes[0]
        return (
            node.op == "Reshape"
            and node.outputs[0] not in self.graph.outputs
            and node.inputs[0] not in self.graph.constants
        )

    def emit(self, configs: Mapping[str, Any]) -> Program:
        self.configs = configs
        for value in self.graph.inputs:
            self.places[value, False] = Location("input", value, self.graph.types[value].nbytes)
        for group in self.groups:
            work = self.plan[group.output]
            if work is not None:
                self._template(group, work)
            elif self._is_joined(group):
                self._join(group)
            elif self.is_alias(group):
                self.places[group.output, False] = self._read(group.source, blocked=False)
            elif self._is_last_reshape(group):
                self._unblock(group.source, group.output, group.name)
            else:
                for node in group.nodes:
                    self._long_tail(node)
        for value in self.graph.outputs:
            self._deliver(value)
        if self.missing:
            raise NotNativeError(self.missing)
        code = link([compile_object(self.functions, self.target)], self.target)
        types = self.graph.types
        return Program(
            target=self.target.name,
            inputs={value: types[value] for value in self.graph.inputs},
            outputs={value: types[value] for value in self.graph.outputs},
            buffers=self.buffers,
            params=self.params,
            calls=tuple(self.calls),
            scratch_bytes=self.scratch,
            code=code,
        )

    # --- values ---

    def _read(self, value: str, *, blocked: bool) -> Location:
        """Where a value can be read in a layout; converts it on first use."""
        if (value, blocked) in self.places:
            return self.places[value, blocked]
        kind = self.graph.types[value]
        if not blocked and value in self.graph.constants:
            self.params[f"const.{value}"] = self.graph.constants[value]
            self.places[value, False] = Location("param", f"const.{value}", kind.nbytes)
            return self.places[value, False]
        source = self._read(value, blocked=False) if blocked else self.places[value, True]
        if not blocked and is_same_in_both(kind.shape, self.target) and source.offset % 64 == 0:
            self.places[value, False] = shifted(source, 0, kind.nbytes)
            return self.places[value, False]
        batch, channels, height, width = kind.shape
        unaligned = source.place in ("input", "output") or source.offset % self.target.vector_bytes != 0
        work = Relayout(batch, channels, height * width, blocked, unaligned)
        size = blocked_bytes(kind.shape, self.target) if blocked else kind.nbytes
        place = self._new(value, size, blocked=blocked)
        self._call(work, (self._arg(source, "read"), self._arg(place, "write")), f"{value} (layout)")
        return place

    def _new(self, value: str, size: int, *, blocked: bool) -> Location:
        """A place for a value about to be written."""
        if blocked and value in self.views:
            whole, offset = self.views[value]
            place = shifted(self._whole(whole), offset, size)
        elif not blocked and value in self.graph.outputs:
            place = Location("output", value, size)
        else:
            name = f"{value}.blocked" if blocked else value
            self.buffers[name] = size
            place = Location("buffer", name, size)
        self.places[value, blocked] = place
        return place

    def _whole(self, value: str) -> Location:
        """The place of a concatenation whose parts are written in place."""
        if (value, True) not in self.places:
            self._new(value, blocked_bytes(self.graph.types[value].shape, self.target), blocked=True)
        return self.places[value, True]

    def _deliver(self, value: str) -> None:
        """Makes sure that a graph output stands in the caller's array."""
        if (value, False) in self.places and self.places[value, False].place == "output":
            return
        if (value, True) not in self.places:
            self.missing.append(
                UnsupportedError(value, "output", "nothing computes it: it is an input or a constant")
            )
            return
        self._unblock(value, value, f"{value} (layout)")

    def _arg(self, place: Location, access: Access, align: int | None = None) -> Arg:
        if align is None:
            align = 4 if place.place in ("input", "output") else self.target.vector_bytes
            while place.offset % align:
                align //= 2
        return Arg(place.place, place.name, access, place.size, place.offset, align)

    def _param(self, name: str, array: Array) -> Arg:
        self.params[name] = array
        return Arg("param", name, "read", array.nbytes, 0, 64)

    # --- calls ---

    def _template(self, group: Group, work: Workload) -> None:
        module = TEMPLATES[type(work)]
        config = self.configs[str(work)]
        plain = isinstance(work, Dense) or (isinstance(work, Conv2d) and work.plain_input)
        args = [self._arg(self._read(group.source, blocked=not plain), "read")]
        if isinstance(work, (Conv2d, Depthwise, Dense)):
            assert group.anchor is not None
            constants = self.graph.constants
            weight = np.asarray(constants[group.anchor.inputs[1]], np.float32)
            args.append(self._param(f"{group.name}.weight", module.pack(work, config, self.target, weight)))
            if work.bias:
                args.append(
                    self._channels(f"{group.name}.bias", constants[group.anchor.inputs[2]].reshape(-1), work)
                )
        operands = iter(group.operands)
        for index, step in enumerate(step for step in group.steps if step.takes_argument):
            value = next(operands)
            if step.operand == "channel":
                vector = channel_vector(self.graph.constants[value], self.graph.types[group.output].shape)
                assert vector is not None
                args.append(self._channels(f"{group.name}.operand{index}", vector, work))
            else:
                args.append(self._arg(self._read(value, blocked=True), "read"))
        kind = self.graph.types[group.output]
        blocked = not isinstance(work, Dense)
        size = blocked_bytes(kind.shape, self.target) if blocked else kind.nbytes
        args.append(self._arg(self._new(group.output, size, blocked=blocked), "write"))
        self._call(work, tuple(args), "+".join(node.name for node in group.nodes))

    def _channels(self, name: str, vector: Array, work: Workload) -> Arg:
        """One value per channel, padded to whole blocks (per convolution group, as the output is)."""
        groups = work.groups if isinstance(work, Conv2d) else 1
        lanes = self.target.lanes
        per_group = vector.size // groups
        padded = np.zeros((groups, ceil_div(per_group, lanes) * lanes), np.float32)
        padded[:, :per_group] = vector.reshape(groups, per_group)
        return self._param(name, padded.reshape(-1))

    def _call(self, work: Workload, args: tuple[Arg, ...], node: str) -> None:
        module = TEMPLATES[type(work)]
        key = str(work)
        config = self.configs.get(key) or module.candidates(work, self.target)[0]
        if key not in self.symbols:
            self.symbols[key] = f"k{len(self.symbols)}"
            self.functions[self.symbols[key]] = module.build(
                work, config, self.target, self.symbols[key]
            ).function
        tasks = module.tasks(work, config, self.target)
        grain = (
            max(1, min(tasks, int(_TASK_FLOPS * tasks / max(work.flops, 1))))
            if work.flops
            else max(1, tasks // 8)
        )
        name = f"{module.__name__.rpartition('.')[2]} {config}"
        self.calls.append(Call(self.symbols[key], tasks, args, node, name, work.flops, grain))

    def _is_last_reshape(self, group: Group) -> bool:
        """Whether the group only reshapes a blocked value into a graph output."""
        node = group.nodes[0]
        return (
            node.op == "Reshape"
            and group.output in self.graph.outputs
            and (group.source, True) in self.places
        )

    def _unblock(self, source: str, output: str, node: str) -> None:
        """Copies a blocked value to a graph output of the same elements in row-major order."""
        kind = self.graph.types[source]
        batch, channels, height, width = kind.shape
        place = self._new(output, kind.nbytes, blocked=False)
        work = Relayout(batch, channels, height * width, False, True)
        self._call(work, (self._arg(self.places[source, True], "read"), self._arg(place, "write")), node)

    def _is_joined(self, group: Group) -> bool:
        return group.output in self.blocked

    def _join(self, group: Group) -> None:
        """A concatenation of channel blocks: parts that were not written in place are copied."""
        node = group.nodes[0]
        whole = self._whole(node.outputs[0])
        offset = 0
        for value in node.inputs:
            shape = self.graph.types[value].shape
            size = blocked_bytes(shape, self.target)
            if self.views.get(value) != (node.outputs[0], offset):
                work = Map(shape[0], shape[1], shape[2] * shape[3], ())
                source = self._read(value, blocked=True)
                args = (self._arg(source, "read"), self._arg(shifted(whole, offset, size), "write"))
                self._call(work, args, f"{node.name} ({value})")
            offset += size

    def _long_tail(self, node: Any) -> None:
        symbol = f"t{len(self.functions)}"
        try:
            lowered = lower_node(self.graph, node, self.target, symbol, unaligned=self.unaligned)
        except UnsupportedError as error:
            self.missing.append(error)
            lowered = Lowered((), (), {}, {}, 0)
        for value in node.inputs:
            if value:
                self._read(value, blocked=False)
        for value in node.outputs:
            if value and value in self.graph.types:
                self._new(value, self.graph.types[value].nbytes, blocked=False)
        self.params.update(lowered.params)
        self.buffers.update(lowered.buffers)
        self.functions.update({kernel.symbol: kernel.func for kernel in lowered.kernels})
        values = set(self.graph.types)
        for call in lowered.calls:
            args = tuple(
                self._placed(arg) if arg.place != "scratch" and arg.name in values else arg
                for arg in call.args
            )
            self.calls.append(
                Call(call.symbol, call.tasks, args, node.name, call.kind, call.flops, call.grain)
            )
        self.scratch = max(self.scratch, lowered.scratch_bytes)

    def _placed(self, arg: Arg) -> Arg:
        """An argument of the long tail names a value of the graph: put in where that value lives."""
        place = self.places[arg.name, False]
        return Arg(place.place, place.name, arg.access, arg.size, place.offset + arg.offset, arg.align)
