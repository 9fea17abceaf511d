"""Code generation: a graph and a target in, a Program out.

Groups are matched with templates, each distinct workload gets its configuration (measured or from the
database), then calls are laid out in order. What no template takes goes to the long tail, one operator at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import NotNativeError, UnsupportedError
from ..graph import Array, Graph
from ..longtail import Lowered, lower_node
from ..program import Access, Arg, Call, Program
from ..target import Target
from .builder import Kernel
from .groups import Group, channel_axis, channel_vector, is_by_rows, make_groups
from .layout import Location, blocked_bytes, channel_views, is_block_concat, is_same_in_both, shifted
from .object import compile_object, link
from .select import TEMPLATES, match
from .strided import Placed, place_copy
from .views import View, contiguous
from .whereabouts import Whereabouts
from .workload import Conv2d, Dense, Depthwise, Map, Permute, Regroup, Relayout, Workload, ceil_div

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
    blocked: set[str] = field(default_factory=set)  # values that can be had in channel blocks

    def __post_init__(self) -> None:
        self.unaligned = frozenset((*self.graph.inputs, *self.graph.outputs))
        self.where = Whereabouts(self.graph, self.groups, self.target)
        written: set[str] = set()
        self.joined: list[Group] = []  # concatenations of whole blocks
        for group in self.groups:
            node = group.nodes[0]
            parts = is_block_concat(self.graph, node, self.target) and all(v in written for v in node.inputs)
            source_blocked = group.source in self.blocked
            work: Workload | None = None
            if not parts:
                work = match(self.graph, group, self.target, blocked_source=source_blocked)
            if parts:
                self.joined.append(group)
            if work is not None or parts:
                in_blocks = parts or not isinstance(work, Dense)
                self.where.settle(group.output, blocked=in_blocks)
                if in_blocks:
                    written.add(group.output)
            else:
                placed = self.where.place(group, self.blocked)
                work = placed.work if placed is not None else None
                if placed is not None and placed.output.blocked:
                    written.add(group.output)
            self.plan[group.output] = work
            self.blocked |= written | self.where.blocked
        self.views = channel_views(self.graph, self.joined, frozenset(written), self.target)
        self.params: dict[str, Array] = {}
        self.buffers: dict[str, int] = {}
        self.calls: list[Call] = []
        self.functions: dict[str, Any] = {}
        self.pending: dict[str, list[tuple[Placed, str]]] = {}  # copies into a buffer, by its value
        self.symbols: dict[str, str] = {}
        self.kernels: dict[str, Kernel] = {}  # by workload
        self.scratch = 0
        self.places: dict[tuple[str, bool], Location] = {}  # (value, in channel blocks) → where
        self.missing: list[UnsupportedError] = []

    def workloads(self) -> list[Workload]:
        """What templates will build and candidates exist for."""
        return [work for work in self.plan.values() if work is not None]

    def emit(self, configs: Mapping[str, Any]) -> Program:
        self.configs = configs
        for value in self.graph.inputs:
            self.places[value, False] = Location("input", value, self.graph.types[value].nbytes)
        for group in self.groups:
            work = self.plan[group.output]
            if group.output in self.where.placed:
                placed = self.where.placed[group.output]
                self._placed_call(placed, "+".join(node.name for node in group.nodes))
            elif work is not None:
                self._template(group, work)
            elif group in self.joined:
                self._join(group)
            elif group.nodes[0].name in self.where.joins:
                for placed in self.where.joins[group.nodes[0].name]:
                    self.pending.setdefault(placed.output.root, []).append((placed, group.name))
            elif group.nodes[0].name not in self.where.moves:
                for node in group.nodes:
                    self._long_tail(node)
        for value in self.graph.results:
            self._deliver(value)
        if self.missing:
            raise NotNativeError(self.missing)
        code = link([compile_object(self.functions, self.target)], self.target)
        types = self.graph.types
        return Program(
            target=self.target.name,
            inputs={value: types[value] for value in self.graph.inputs},
            outputs={value: types[value] for value in self.graph.results},
            buffers=self.buffers,
            params=self.params,
            calls=tuple(self.calls),
            scratch_bytes=self.scratch,
            code=code,
            bounds=self.graph.bounds,
        )

    # --- values ---

    def _read(self, value: str, *, blocked: bool) -> Location:
        """Where a value can be read in a layout; converts it on first use."""
        if not blocked:
            self._finish_joins(value)
        if (value, blocked) in self.places:
            return self.places[value, blocked]
        kind = self.graph.types[value]
        if not blocked and value in self.graph.constants:
            self.params[f"const.{value}"] = self.graph.constants[value]
            self.places[value, False] = Location("param", f"const.{value}", kind.nbytes)
            return self.places[value, False]
        if self._read_view(value, blocked=blocked):
            return self.places[value, blocked]
        source = self._read(value, blocked=False) if blocked else self.places[value, True]
        if not blocked and is_same_in_both(kind.shape, self.target) and source.offset % 64 == 0:
            self.places[value, False] = shifted(source, 0, kind.nbytes)
            return self.places[value, False]
        return self._convert(value, source, blocked=blocked)

    def _finish_joins(self, root: str) -> None:
        """Copies the parts of concatenations in row-major order that are still missing from a buffer."""
        for placed, name in self.pending.pop(root, ()):
            self._placed_call(placed, f"{name} ({placed.reads[0].root})")

    def _regroup(self, value: str) -> Location:
        """A copy in channel blocks of what is put together from channels of others."""
        picks = self.where.channels.picks(value) or ()
        roots = list(dict.fromkeys(root for root, _ in picks))
        batch, _, height, width = self.graph.types[value].shape
        work = Regroup(
            batch,
            height * width,
            tuple(self.graph.types[root].shape[1] for root in roots),
            tuple((roots.index(root), channel) for root, channel in picks),
        )
        reads = [self._arg(self._read(root, blocked=True), "read") for root in roots]
        place = self._new(value, blocked_bytes(self.graph.types[value].shape, self.target), blocked=True)
        self._call(work, (*reads, self._arg(place, "write")), f"{value} (layout)")
        return place

    def _convert(self, value: str, source: Location, *, blocked: bool) -> Location:
        """Between row-major order and channel blocks, of which the last may be filled in part."""
        kind = self.graph.types[value]
        unaligned = source.place in ("input", "output") or source.offset % self.target.vector_bytes != 0
        work = Relayout(kind.shape[0], kind.shape[1], prod(kind.shape[2:]), blocked, unaligned)
        size = blocked_bytes(kind.shape, self.target) if blocked else kind.nbytes
        place = self._new(value, size, blocked=blocked)
        self._call(work, (self._arg(source, "read"), self._arg(place, "write")), f"{value} (layout)")
        return place

    def _read_view(self, value: str, *, blocked: bool) -> bool:
        """Finds or copies a value by its strides; False where these cannot say it."""
        view, target = self.where.look(value), self.where.own(value, blocked=blocked)
        if target is None and self.where.channels.picks(value) is not None:
            self._regroup(value)
            return True
        if target is None or (view.root, view.blocked) == (value, blocked):
            return False
        if view.root == value and (value, view.blocked) not in self.places:
            return False
        if self.where.is_same(view, target):
            kind = self.graph.types[value]
            place = self._read(view.root, blocked=view.blocked)
            offset = view.offset * (kind.nbytes // kind.size)
            self.places[value, blocked] = shifted(place, offset, kind.nbytes)
            return True
        if blocked and self.where.channels.picks(value) is not None:
            self._regroup(value)
            return True
        placed = place_copy(view, target)
        if placed is None:
            return False
        self._placed_call(placed, f"{value} (layout)")
        return True

    def _new(self, value: str, size: int, *, blocked: bool) -> Location:
        """A place for a value about to be written."""
        if blocked and value in self.views:
            whole, offset = self.views[value]
            place = shifted(self._whole(whole), offset, size)
        elif not blocked and value in self.graph.results:
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
        self._finish_joins(value)
        if (value, False) in self.places and self.places[value, False].place == "output":
            return
        if value in self.graph.inputs or value in self.graph.constants:
            self.missing.append(
                UnsupportedError(value, "output", "nothing computes it: it is an input or a constant")
            )
            return
        view = self.where.look(value)
        self.places.pop((value, False), None)
        if view.root == value and not view.blocked:  # in blocks, the last one not full
            self._convert(value, self.places[value, True], blocked=False)
            return
        placed = place_copy(view, contiguous(value, self.graph.types[value].shape))
        assert placed is not None, "row-major order has one axis, which fits any other"
        self._placed_call(placed, f"{value} (layout)")

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
                    self._channels(f"{group.name}.bias", constants[group.anchor.inputs[2]].reshape(-1))
                )
        operands = iter(group.operands)
        align = 4 if is_by_rows(group) else None
        for index, step in enumerate(step for step in group.steps if step.takes_argument):
            value = next(operands)
            if step.operand == "channel":
                shape = self.graph.types[group.output].shape
                axis = channel_axis(group.anchor, len(shape))
                vector = channel_vector(self.graph.constants[value], shape, axis)
                assert vector is not None
                args.append(self._channels(f"{group.name}.operand{index}", vector))
            else:
                args.append(self._arg(self._read(value, blocked=not is_by_rows(group)), "read", align))
        kind = self.graph.types[group.output]
        blocked = not isinstance(work, Dense)
        size = blocked_bytes(kind.shape, self.target) if blocked else kind.nbytes
        args.append(self._arg(self._new(group.output, size, blocked=blocked), "write"))
        self._call(work, tuple(args), "+".join(node.name for node in group.nodes))

    def _channels(self, name: str, vector: Array) -> Arg:
        """One value per channel, padded to whole blocks."""
        padded = np.zeros(ceil_div(vector.size, self.target.lanes) * self.target.lanes, np.float32)
        padded[: vector.size] = vector
        return self._param(name, padded)

    def _call(self, work: Workload, args: tuple[Arg, ...], node: str) -> None:
        module = TEMPLATES[type(work)]
        key = str(work)
        config = self.configs.get(key) or module.candidates(work, self.target)[0]
        if key not in self.symbols:
            self.symbols[key] = f"k{len(self.symbols)}"
            self.kernels[key] = module.build(work, config, self.target, self.symbols[key])
            self.functions[self.symbols[key]] = self.kernels[key].function
        args = self._with_scratch(args, self.kernels[key])
        tasks = module.tasks(work, config, self.target)
        grain = (
            max(1, min(tasks, int(_TASK_FLOPS * tasks / max(work.flops, 1))))
            if work.flops
            else max(1, tasks // 8)
        )
        copies = isinstance(work, Permute | Regroup) or (isinstance(work, Map) and not work.epilogue)
        name = f"{'copy' if copies else module.__name__.rpartition('.')[2]} {config}"
        self.calls.append(Call(self.symbols[key], tasks, args, node, name, work.flops, grain))

    def _with_scratch(self, args: tuple[Arg, ...], kernel: Kernel) -> tuple[Arg, ...]:
        """The arguments with scratch put in where the kernel wants it."""
        given = iter(args)
        offset, found = 0, []
        for argument in kernel.arguments:
            if not argument.scratch:
                found.append(next(given))
                continue
            size = argument.size * 4
            found.append(Arg("scratch", "", "both", size, offset))
            offset += ceil_div(size, 64) * 64
        self.scratch = max(self.scratch, offset)
        return tuple(found)

    def _join(self, group: Group) -> None:
        """A concatenation of channel blocks: parts that were not written in place are copied."""
        node = group.nodes[0]
        whole = self._whole(node.outputs[0])
        offset = 0
        for value in node.inputs:
            size = blocked_bytes(self.graph.types[value].shape, self.target)
            if self.views.get(value) != (node.outputs[0], offset):
                source = self._read(value, blocked=True)
                placed = place_copy(contiguous("", (size // 4,)), contiguous("", (size // 4,)))
                assert placed is not None
                args = (self._arg(source, "read"), self._arg(shifted(whole, offset, size), "write"))
                self._call(placed.work, args, f"{node.name} ({value})")
            offset += size

    def _placed_call(self, placed: Placed, node: str) -> None:
        """A call of a template that follows strides."""
        args = []
        for view in placed.reads:
            if view.root in placed.arrays:
                args.append(self._param(view.root, placed.arrays[view.root]))
            else:
                place = self._within(view, self._read(view.root, blocked=view.blocked))
                args.append(self._arg(place, "read", 4))
        view = placed.output
        if (view.root, view.blocked) not in self.places:
            kind = self.graph.types[view.root]
            size = blocked_bytes(kind.shape, self.target) if view.blocked else kind.nbytes
            self._new(view.root, size, blocked=view.blocked)
        place = self._within(view, self.places[view.root, view.blocked])
        self._call(placed.work, (*args, self._arg(place, "write", 4)), node)

    def _within(self, view: View, place: Location) -> Location:
        return shifted(place, view.offset * 4, view.span * 4)

    def _long_tail(self, node: Any) -> None:
        symbol = f"t{len(self.functions)}"
        sources = {value: self._read(value, blocked=False) for value in node.inputs if value}
        # What only shares a caller's array, an input or an output, lies as anywhere as that.
        callers = {value for value, place in sources.items() if place.place in ("input", "output")}
        unaligned = callers | {value for value, place in sources.items() if place.offset % 64}
        try:
            lowered = lower_node(self.graph, node, self.target, symbol, unaligned=self.unaligned | unaligned)
        except UnsupportedError as error:
            self.missing.append(error)
            lowered = Lowered((), (), {}, {}, 0)
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
