"""A copy in channel blocks that puts every output channel together from channels of one or more inputs.

Matches: Regroup workloads, from concatenations, splits and shuffles that do not respect blocks. Each vector
is put together in registers from the few that hold its channels. One task is one output block of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from ...target import Target
from ..builder import Expr, Kernel, KernelBuilder, load, shuffled
from ..object import tvm_target
from ..workload import Regroup, ceil_div


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""

    def __str__(self) -> str:
        return "blocks"


def candidates(work: Regroup, target: Target) -> list[Config]:
    return [Config()]


def tasks(work: Regroup, config: Config, target: Target) -> int:
    return work.batch * ceil_div(len(work.picks), target.lanes)


def build(work: Regroup, config: Config, target: Target, symbol: str) -> Kernel:
    """The kernel. Arguments: inputs, output."""
    lanes = target.lanes
    builder = KernelBuilder(symbol)
    counts = [ceil_div(channels, lanes) for channels in work.sources]
    inputs = [
        builder.pointer(f"input{index}", work.batch * count * work.pixels * lanes, target.vector_bytes)
        for index, count in enumerate(counts)
    ]
    blocks = ceil_div(len(work.picks), lanes)
    output = builder.pointer("output", work.batch * blocks * work.pixels * lanes, target.vector_bytes)
    held = builder.local("held", lanes)

    def copy(task: Expr, image: Expr, block: int) -> None:
        picks = work.picks[block * lanes : (block + 1) * lanes]
        # Lanes behind the last channel may hold anything.
        picks += picks[:1] * (lanes - len(picks))
        vectors = list(dict.fromkeys((source, channel // lanes) for source, channel in picks))
        starts = [
            builder.bind("start", (image * counts[source] + at) * (work.pixels * lanes))
            for source, at in vectors
        ]
        first = builder.bind("first", task * (work.pixels * lanes))
        with builder.loop("pixel", 0, work.pixels) as pixel:
            for index, (source, at) in enumerate(vectors):
                value = load(inputs[source], starts[index] + pixel * lanes, lanes)
                mine = [(source, at) == (own, channel // lanes) for own, channel in picks]
                if index:
                    order = [
                        lanes + channel % lanes if here else lane
                        for lane, (here, (_, channel)) in enumerate(zip(mine, picks, strict=True))
                    ]
                    value = shuffled([load(held, 0, lanes), value], order)
                else:
                    order = [channel % lanes for _, channel in picks]
                    value = value if order == list(range(lanes)) else shuffled([value], order)
                builder.store(held, 0, value, lanes)
            builder.store(output, first + pixel * lanes, load(held, 0, lanes), lanes)

    with builder.loop("task", builder.lo, builder.hi) as task:
        image = tirx.floordiv(task, blocks) if work.batch > 1 else 0
        block = tirx.floormod(task, blocks) if work.batch > 1 else task
        for index in range(blocks):
            with builder.when(block == index):
                copy(task, image, index)
    return builder.finish(tvm_target(target))
