"""The body of a direct convolution: which tiles a task computes, what each reads, where it is stored.

The reduction runs over blocks of input channels, taps in depth, taps in rows (both loops), then channels of
the block and taps in columns. Weights lie in the order in which this reads them (`geometry.pack`).

Groups need not fill whole blocks: a group's first channel may stand anywhere in a block. Inputs are single
values, so nothing changes but loop bounds; outputs are stored in pieces that each lie within one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod

from tvm import tirx

from ..target import Target
from . import epilogue, tile
from .builder import Expr, Kernel, KernelBuilder, const, joined, load, shuffled, when
from .geometry import Config, geometry
from .object import tvm_target
from .operands import Operands
from .segments import Columns, Segment, counted, segments, taps_inside
from .tile import Tile
from .workload import Conv2d, ceil_div


class Direct:
    """Builds one kernel. Arguments: input, weights, [bias], operands of the epilogue, output."""

    def __init__(self, work: Conv2d, config: Config, target: Target, symbol: str) -> None:
        self.work, self.config, self.target, self.lanes = work, config, target, target.lanes
        shape = self.shape = geometry(work, target, config.blocks)
        builder = self.builder = KernelBuilder(symbol)
        vector = target.vector_bytes
        in_size = work.batch * shape.in_blocks * shape.step * prod(shape.size)
        self.input = builder.pointer("input", in_size, 4 if work.plain_input else vector)
        # Weights for one column of the window.
        kernel = work.window.kernel
        self.per_column = work.groups * shape.blocks * self.lanes * shape.inner * kernel[0] * kernel[1]
        size = sum(part.repeats * part.width for part in shape.columns) * self.per_column
        self.weights = builder.pointer("weights", size, vector)
        self.bias = builder.pointer("bias", shape.out_blocks * self.lanes, vector) if work.bias else None
        out_size = work.batch * shape.out_blocks * self.lanes * prod(shape.out_size)
        self.operands = Operands(builder, work.epilogue, work.batch, shape.out_blocks, out_size, self.lanes)
        self.output = builder.pointer("output", out_size, vector)
        self.acc = builder.local("acc", config.pixels * config.blocks * self.lanes)
        # Channels that surely lie within one block of the output.
        self.piece = self.lanes if work.groups == 1 else gcd(shape.outer, self.lanes)

    def function(self) -> Kernel:
        builder, work, config, shape = self.builder, self.work, self.config, self.shape
        rows = ceil_div(shape.out_size[2], config.pixels) if shape.flat else shape.rows
        groups = work.groups * shape.parts
        with builder.loop("task", builder.lo, builder.hi) as task:
            image = builder.bind("image", tirx.floordiv(task, groups * rows)) if work.batch > 1 else 0
            rest = builder.bind("rest", tirx.floormod(task, groups * rows)) if work.batch > 1 else task
            if config.first == "row":
                row, group = tirx.floordiv(rest, groups), tirx.floormod(rest, groups)
            else:
                row, group = tirx.floormod(rest, rows), tirx.floordiv(rest, rows)
            row, group = builder.bind("row", row), builder.bind("group", group)
            for blocks, channels, condition in self._parts(group):
                with when(builder, condition):
                    body = _Part(self, image, group, blocks, channels)
                    if shape.flat:
                        body.flat_tile(row)
                    else:
                        body.row(row)
        return builder.finish(tvm_target(self.target))

    def _parts(self, group: Expr) -> Iterator[tuple[int, int, Expr | None]]:
        """Blocks and valid channels of full groups of blocks, and of the last of a convolution group."""
        shape, full = self.shape, self.config.blocks
        last = shape.blocks - (shape.parts - 1) * full
        channels = shape.outer - (shape.parts - 1) * full * self.lanes
        if shape.parts == 1 or channels == full * self.lanes:
            yield last, channels, None
            return
        part = group if self.work.groups == 1 else tirx.floormod(group, shape.parts)
        yield full, full * self.lanes, part < shape.parts - 1
        yield last, channels, part == shape.parts - 1


class _Part:
    """The tiles of `blocks` vectors that hold `channels` output channels, from a group of blocks on."""

    def __init__(self, kernel: Direct, image: Expr, group: Expr, blocks: int, channels: int) -> None:
        self.kernel, self.image, self.group, self.blocks, self.channels = (
            kernel,
            image,
            group,
            blocks,
            channels,
        )
        builder, shape, lanes, work = kernel.builder, kernel.shape, kernel.lanes, kernel.work
        rest = channels - (blocks - 1) * lanes
        self.last = min(lanes, max(4, 1 << (rest - 1).bit_length()))
        if work.groups == 1:
            self.first_in: Expr = 0
            first_out = group * (kernel.config.blocks * lanes)
        else:
            conv_group = builder.bind("conv_group", tirx.floordiv(group, shape.parts))
            self.first_in = builder.bind("first_in", conv_group * shape.inner)
            part = tirx.floormod(group, shape.parts)
            first_out = conv_group * shape.outer + part * (kernel.config.blocks * lanes)
        self.first_out = builder.bind("first_out", first_out)

    def flat_tile(self, row: Expr) -> None:
        """Tile number `row` of a flat image."""
        kernel, builder = self.kernel, self.kernel.builder
        pixels, columns = kernel.config.pixels, kernel.shape.columns[0]
        full, rest = divmod(kernel.shape.out_size[2], pixels)
        both = full and rest
        for count, size, condition in ((full, pixels, row < full), (int(rest > 0), rest, row == full)):
            if count:
                with when(builder, condition if both else None):
                    inside = Segment(0, 1, size, ((True,),) * size)
                    self._tile(columns, 0, (0, 0, row * pixels), columns.start, inside)

    def row(self, row: Expr) -> None:
        """All columns of a row of the output."""
        kernel, builder = self.kernel, self.kernel.builder
        depths, rows, _ = kernel.shape.out_size
        depth = builder.bind("depth", tirx.floordiv(row, rows)) if depths > 1 else 0
        line = builder.bind("line", tirx.floormod(row, rows)) if depths > 1 else row
        offset = 0
        for part in kernel.shape.columns:
            size = part.width * kernel.per_column
            with counted(builder, "residue", part.repeats) as residue:
                weights = builder.bind("weights_first", offset + residue * size)
                for segment in segments(part, kernel.config.pixels):
                    with counted(builder, "tile", segment.count) as index:
                        column = index * segment.pixels + segment.start
                        self._tile(part, weights, (depth, line, column), part.start + residue, segment)
            offset += part.repeats * size

    def _tile(
        self, part: Columns, weights: Expr, at: tuple[Expr, Expr, Expr], start: Expr, segment: Segment
    ) -> None:
        """The outputs of a segment: `at` is depth, row and its first number, `start` where number 0 is."""
        kernel, builder, shape, lanes = self.kernel, self.kernel.builder, self.kernel.shape, self.kernel.lanes
        held = Tile(segment.pixels, self.blocks, lanes, self.last)
        tile.clear(
            builder,
            kernel.acc,
            held,
            None if kernel.bias is None else lambda block: self._bias(held, block),
        )
        if part.width:
            kernel_d, kernel_h, _ = kernel.work.window.kernel
            per_line = part.width * lanes  # weights of one channel, one block and one row of the window
            weights = builder.bind(
                "weights_part", self._weights_before(kernel_d * kernel_h * per_line) + weights
            )
            left = builder.bind("left", at[2] * part.stride - part.pad)
            deep, tall = (taps_inside(builder, shape.axes[axis], at[axis]) for axis in (0, 1))
            for first, last, count in self._input_blocks():
                with (
                    builder.loop("block", first, last) as block,
                    builder.loop("tap_depth", deep.begin, deep.end) as tap_depth,
                    builder.loop("tap", tall.begin, tall.end) as tap,
                ):
                    plane = (self.image * shape.in_blocks + block) * shape.size[0]
                    line = (plane + deep.first + tap_depth * deep.step) * shape.size[1]
                    source = (line + tall.first + tap * tall.step) * shape.size[2] + left
                    source = builder.bind("source", source * shape.step)
                    begin, channels = (0, count) if count is not None else self._channels(block)
                    before = block * shape.step + begin - self.first_in  # channels of the group before these
                    lines = (deep.weight + tap_depth * deep.weight_step) * kernel_h
                    lines += tall.weight + tap * tall.weight_step
                    here = (before * (kernel_d * kernel_h) + lines * channels) * (self.blocks * per_line)
                    here = builder.bind("at", weights + here)
                    self._line(held, segment, part, source + begin, here, channels)
        self._store((at[0], at[1], start + at[2] * part.step), part.step, held)

    def _input_blocks(self) -> Iterator[tuple[Expr, Expr, int | None]]:
        """First and one past the last of equal blocks of the input, and how many channels of the group each
        holds; None: that depends on the block.
        """
        shape, builder = self.kernel.shape, self.kernel.builder
        full, rest = divmod(shape.inner, shape.step)
        if self.kernel.work.groups > 1:
            begin = builder.bind("block_first", tirx.floordiv(self.first_in, shape.step))
            end = tirx.floordiv(self.first_in + (shape.inner + shape.step - 1), shape.step)
            yield begin, builder.bind("block_last", end), None if rest else shape.step
        elif rest and not shape.by_lane:
            yield 0, full + 1, None
        else:
            yield 0, full, shape.step
            yield from [(full, full + 1, rest)] if rest else []

    def _channels(self, block: Expr) -> tuple[Expr, Expr]:
        """First channel of an input block that belongs to the group, and how many do."""
        shape, builder = self.kernel.shape, self.kernel.builder
        first = block * shape.step
        if self.kernel.work.groups == 1:
            return 0, builder.bind("channels", tirx.min(shape.step, shape.inner - first))
        begin = builder.bind("begin", tirx.max(0, self.first_in - first))
        end = tirx.min(shape.step, self.first_in + shape.inner - first)
        return begin, builder.bind("channels", end - begin)

    def _weights_before(self, per_channel: int) -> Expr:
        """Weights of a phase that stand before those of this group of blocks."""
        kernel, shape = self.kernel, self.kernel.shape
        per_part = kernel.config.blocks * shape.inner * per_channel
        if kernel.work.groups == 1:
            return self.group * per_part
        conv_group, part = tirx.floordiv(self.group, shape.parts), tirx.floormod(self.group, shape.parts)
        return conv_group * (shape.blocks * shape.inner * per_channel) + part * per_part

    def _line(
        self, held: Tile, segment: Segment, part: Columns, source: Expr, weights: Expr, channels: Expr
    ) -> None:
        """What one row of the window adds, for some channels of one input block."""
        builder, shape, taps = self.kernel.builder, self.kernel.shape, range(part.width)
        if shape.by_lane:
            for tap, channel in product(taps, range(channels)):
                index = tap * channels + channel
                self._multiply_add(held, segment, part, tap, source, channel, weights, index)
        else:
            with builder.loop("channel", 0, channels) as channel:
                for tap in taps:
                    index = channel * len(taps) + tap
                    self._multiply_add(held, segment, part, tap, source, channel, weights, index)

    def _multiply_add(
        self, held: Tile, segment: Segment, part: Columns, tap: int, source: Expr, channel: Expr,
        weights: Expr, index: Expr,
    ) -> None:  # fmt: skip
        """What one channel and tap adds; `index` is their place in the order of the weights."""
        kernel = self.kernel

        def value(pixel: int) -> Expr:
            at = source + (pixel * part.stride + tap * part.dilation) * kernel.shape.step
            if kernel.shape.by_lane:
                return shuffled([load(kernel.input, at, kernel.lanes)], [channel])
            return load(kernel.input, at + channel)

        values = [value(pixel) if segment.inside[pixel][tap] else None for pixel in range(held.pixels)]
        if any(item is not None for item in values):
            first = weights + index * (held.blocks * held.lanes)
            tile.multiply_add(
                kernel.builder,
                kernel.acc,
                held,
                lambda block: load(kernel.weights, first + block * held.lanes, held.width(block)),
                values,
            )

    def _pieces(self, block: int) -> list[int]:
        """Where in a block's vector its pieces begin: real channels, each within one block of the output."""
        kernel = self.kernel
        if kernel.piece == kernel.lanes:
            return [0]
        return list(range(0, min(kernel.lanes, self.channels - block * kernel.lanes), kernel.piece))

    def _gathered(self, pieces: Sequence[Expr], lanes: int) -> Expr:
        """Pieces as one vector, zeros in the rest of it."""
        piece = min(self.kernel.piece, lanes)
        return joined([*pieces, *[const(0.0, lanes=piece)] * (lanes // piece - len(pieces))])

    def _bias(self, held: Tile, block: int) -> Expr:
        kernel, lanes = self.kernel, held.width(block)
        first, piece = self.first_out + block * kernel.lanes, min(kernel.piece, lanes)
        return self._gathered([load(kernel.bias, first + at, piece) for at in self._pieces(block)], lanes)

    def _store(self, places: tuple[Expr, Expr, Expr], step: int, held: Tile) -> None:
        """`places`: depth, row and column of the first pixel; `step` columns on is the next."""
        kernel, builder, shape = self.kernel, self.kernel.builder, self.kernel.shape
        for block in range(held.blocks):
            lanes = held.width(block)
            piece = min(kernel.piece, lanes)
            spots = []  # of each piece: position of its first pixel, channel, the same in the batch
            for at in self._pieces(block):
                channel = self.first_out + (block * held.lanes + at)
                whole, lane = self._split(channel)
                plane = (self.image * shape.out_blocks + whole) * shape.out_size[0] + places[0]
                base = (plane * shape.out_size[1] + places[1]) * shape.out_size[2] + places[2]
                base = builder.bind("base", base * held.lanes + lane)
                spots.append((base, channel, self.image * (shape.out_blocks * held.lanes) + channel))
            for pixel in range(held.pixels):
                shift = pixel * step * held.lanes
                fetches = [
                    kernel.operands.at_channel(base + shift, channel, in_batch, piece)
                    for base, channel, in_batch in spots
                ]
                value = epilogue.apply(
                    builder,
                    tile.accumulator(kernel.acc, held, pixel, block),
                    kernel.work.epilogue,
                    lambda index, from_=fetches, n=lanes: self._gathered([f(index) for f in from_], n),  # type: ignore[misc]
                )
                if kernel.piece == held.lanes:
                    padding = [const(0.0, lanes=lanes)] * (held.lanes // lanes - 1)
                    builder.store(kernel.output, spots[0][0] + shift, joined([value, *padding]), held.lanes)
                    continue
                for at, (base, _, _) in zip(self._pieces(block), spots, strict=True):
                    part = shuffled([value], range(at, at + piece))
                    builder.store(kernel.output, base + shift, part, piece)

    def _split(self, channel: Expr) -> tuple[Expr, Expr]:
        """Block of an output channel, and its lane there."""
        lanes = self.kernel.lanes
        if self.kernel.piece == lanes:
            return tirx.floordiv(channel, lanes), 0
        return tirx.floordiv(channel, lanes), tirx.floormod(channel, lanes)
