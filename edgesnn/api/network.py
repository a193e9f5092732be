"""A program as the network that a chip sees: populations, what feeds them, attention, the host's part.

Linear layers are the synapses of whoever reads their current. The residual stream is a sum of currents.
Where messages carry numbers, every sum is a population of relays that pass it on, exact and without copies,
and the readout stands on cores too. Where messages are plain spikes, a sum cannot be passed on: every LIF
that reads the stream has all its writers' synapses of its own, and a processor beside the cores reads out.

A network that reads frames has no stream: its frames come from outside, a convolution is a neuron's window
of synapses, and a sum of a pool is the same weight on each of its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesnn.chips.network import RESIDUAL_MESSAGE_BITS, Attention, ChipNetwork, Feed, Population
from edgesnn.program.golden_frames import largest_values
from edgesnn.program.ops import (
    LIF,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Op,
    Readout,
    Saturate,
    Shift,
    TokenOp,
    inputs_of,
)
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, StatefulLIF, SumPool
from edgesnn.program.program import Program
from edgesnn.program.stock import stock_representable

#: Bits of an int8 weight, of a spike, of a code z8 and of an integer logit.
WEIGHT_BITS = 8
_SPIKE_BITS = 1
_CODE_BITS = 8
_LOGIT_BITS = 25

_HOST_TOKEN = "looks the token's row up and multiplies it by the projection"


def network_of(program: Program, message_bits: int) -> ChipNetwork:
    """The network of a program.

    Args:
        program: The program.
        message_bits: Widest payload of a message on the chip; from 18 bits on, sums are passed on.
    """
    if program.frames is not None:
        return _FramesLowering(program, message_bits).run()
    return _Lowering(program, graded=message_bits >= RESIDUAL_MESSAGE_BITS).run()


@dataclass(slots=True)
class _Lowering:
    """Walks the ops once; a value is known by what feeds whoever reads it.

    Attributes:
        program: The program.
        graded: Whether messages carry numbers.
        feeds: What a reader of a current gets, by value.
        spikes: Population and delayed channels behind a spike value or count.
    """

    program: Program
    graded: bool
    feeds: dict[str, tuple[Feed, ...]] = field(default_factory=dict)
    spikes: dict[str, tuple[Population, int]] = field(default_factory=dict)
    populations: list[Population] = field(default_factory=list)
    attentions: list[Attention] = field(default_factory=list)
    host: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    def run(self) -> ChipNetwork:
        """The network."""
        for op in self.program.text_ops("a chip's placement"):
            self._lower(op)
        return ChipNetwork(
            timesteps=self.program.timesteps,
            populations=tuple(self.populations),
            attentions=tuple(self.attentions),
            host=tuple(self.host),
            obstacles=tuple(self.obstacles),
        )

    def _lower(self, op: TokenOp) -> None:
        if isinstance(op, Embed):
            self._embed(op)
        elif isinstance(op, Linear):
            source, delayed = self.spikes[op.input]
            width = int(op.weight.shape[0])
            self.feeds[op.out] = (Feed(source.name, width, width, True, delayed, op.name),)
        elif isinstance(op, LIF):
            lif = Population(
                name=op.name,
                kind="lif",
                neurons=len(op.threshold),
                feeds=self.feeds[op.input],
                message_bits=_SPIKE_BITS,
                weight_bits=WEIGHT_BITS,
                stock=stock_representable(op),
            )
            self._emit(lif, op.out)
        elif isinstance(op, Shift):
            source, delayed = self.spikes[op.input]
            self.spikes[op.out] = (source, delayed + len(op.channels))
        elif isinstance(op, Attend):
            source, _ = self.spikes[op.input]
            attention = Attention(op.name, source.name, op.head_dim, op.windows, self.program.timesteps)
            self.attentions.append(attention)
            self.feeds[op.out] = (Feed(op.name, 1, attention.channels, False),)
        elif isinstance(op, Add):
            self._add(op)
        elif isinstance(op, Saturate):
            self.feeds[op.out] = self.feeds[op.input]
            if not self.graded:
                self.obstacles.append(f"'{op.name}' clips a sum that has no neuron of its own")
        elif isinstance(op, Count):
            self.spikes[op.out] = self.spikes[op.input]
        else:
            self._readout(op)

    def _emit(self, population: Population, value: str) -> None:
        self.populations.append(population)
        self.spikes[value] = (population, 0)

    def _relay(self, population: Population, value: str) -> None:
        self.populations.append(population)
        self.feeds[value] = (Feed(population.name, 1, population.neurons, False),)

    def _embed(self, op: Embed) -> None:
        width = int(op.projection.shape[1])
        if not self.graded:
            self.host.append(f"{_HOST_TOKEN}, and writes {width:,} biases into every LIF that reads the sum")
            self.feeds[op.out] = ()
            return
        self.host.append(f"{_HOST_TOKEN}, and sends {width:,} numbers per token")
        relay = Population(op.name, "input", width, (), RESIDUAL_MESSAGE_BITS, WEIGHT_BITS)
        self._relay(relay, op.out)

    def _add(self, op: Add) -> None:
        feeds = (*self.feeds[op.left], *self.feeds[op.right])
        if not self.graded:
            self.feeds[op.out] = feeds
            return
        width = self.program.channels()[op.out]
        relay = Population(op.name, "residual", width, feeds, RESIDUAL_MESSAGE_BITS, WEIGHT_BITS)
        self._relay(relay, op.out)

    def _readout(self, op: Readout) -> None:
        if not self.graded:
            self.host.append("counts the spikes of the last layer and computes the readout")
            return
        self.host.append("reads the logits and chooses the next token")
        source, _ = self.spikes[op.input]
        width, rank = (int(n) for n in op.weight.shape)
        vocab = int(op.table.shape[0])
        factor = Population(
            f"{op.name}.factor",
            "factor",
            rank,
            (Feed(source.name, width, width, True, op=f"{op.name}.factor"),),
            _CODE_BITS,
            WEIGHT_BITS,
        )
        table = Population(
            f"{op.name}.table",
            "logits",
            vocab,
            (Feed(factor.name, rank, rank, True, op=f"{op.name}.table"),),
            _LOGIT_BITS,
            WEIGHT_BITS,
        )
        self.populations += [factor, table]


@dataclass(frozen=True, slots=True)
class _Source:
    """What stands behind a value that is no current.

    Attributes:
        name: The population, or the frames.
        channels: Its channels.
        delayed: Channels that arrive later.
        gathered: Inputs of one channel of the value: those of a pool.
    """

    name: str
    channels: int
    delayed: int = 0
    gathered: int = 1


@dataclass(slots=True)
class _FramesLowering:
    """Walks the ops of a program of frames once.

    Attributes:
        program: The program.
        message_bits: Widest payload of a message on the chip.
    """

    program: Program
    message_bits: int
    feeds: dict[str, tuple[Feed, ...]] = field(default_factory=dict)
    sources: dict[str, _Source] = field(default_factory=dict)
    populations: list[Population] = field(default_factory=list)
    host: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    def run(self) -> ChipNetwork:
        """The network."""
        widths = self.program.channels()
        largest = largest_values(self.program)
        for op in self.program.ops:
            self._lower(op, widths, largest)
        return ChipNetwork(1, tuple(self.populations), (), tuple(self.host), tuple(self.obstacles))

    def _lower(self, op: Op, widths: dict[str, int], largest: dict[str, int]) -> None:
        if isinstance(op, Frames):
            self.sources[op.out] = _Source(op.name, op.channels)
            what = "spikes" if largest[op.out] <= 1 else "numbers"
            self.host.append(f"sends up to {op.channels:,} {what} of every frame")
            self._message(op.name, "samples of a frame", largest[op.out])
        elif isinstance(op, Linear):
            source = self.sources[op.input]
            fan_in = int(op.weight.shape[0]) * source.gathered
            self.feeds[op.out] = (Feed(source.name, fan_in, source.channels, True, source.delayed, op.name),)
        elif isinstance(op, Conv):
            source = self.sources[op.input]
            fan_in = op.weight[0].size * source.gathered
            feed = Feed(source.name, fan_in, source.channels, True, source.delayed, op.name, op.weight.size)
            self.feeds[op.out] = (feed,)
        elif isinstance(op, SumPool):
            source = self.sources[op.input]
            gathered = source.gathered * op.kernel[0] * op.kernel[1]
            self.sources[op.out] = _Source(source.name, source.channels, source.delayed, gathered)
        elif isinstance(op, Delay):
            source = self.sources[op.input]
            later = round(source.channels * float((op.delays > 0).mean()))
            self.sources[op.out] = _Source(
                source.name, source.channels, source.delayed + later, source.gathered
            )
        elif isinstance(op, StatefulLIF):
            self._neurons(op, widths[op.out], largest.get(op.out, 1))
        elif isinstance(op, FrameOutput):
            what = "counts the spikes of the last layer" if op.summed else "reads the outputs of every frame"
            self.host.append(f"{what}, and decides")
        else:
            self.feeds[op.out] = tuple(feed for name in inputs_of(op) for feed in self.feeds[name])

    def _neurons(self, op: StatefulLIF, count: int, largest: int) -> None:
        bits = _SPIKE_BITS if op.membrane else max(1, largest.bit_length())
        self.populations.append(
            Population(
                op.name,
                "lif",
                count,
                self.feeds[op.input],
                bits,
                WEIGHT_BITS,
                stock_representable(op),
            )
        )
        self.sources[op.out] = _Source(op.name, count)

    def _message(self, name: str, what: str, largest: int) -> None:
        bits = largest.bit_length() + (1 if largest > 1 else 0)
        if bits > self.message_bits:
            self.obstacles.append(f"'{name}': {what} have {bits} bits, a message has {self.message_bits}")
