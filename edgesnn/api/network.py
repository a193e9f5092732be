"""A program as the network that a chip sees: populations, what feeds them, attention, the host's part.

Linear layers are the synapses of whoever reads their current. The residual stream is a sum of currents.
Where messages carry numbers, every sum is a population of relays that pass it on, exact and without copies,
and the readout stands on cores too. Where messages are plain spikes, a sum cannot be passed on: every LIF
that reads the stream has all its writers' synapses of its own, and a processor beside the cores reads out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesnn.chips.network import RESIDUAL_MESSAGE_BITS, Attention, ChipNetwork, Feed, Population
from edgesnn.program.ops import LIF, Add, Attend, Count, Embed, Linear, Readout, Saturate, Shift, TokenOp
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
