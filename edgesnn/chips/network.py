"""A network as a chip sees it: populations of neurons, what feeds them, and what is no neuron at all.

Plain data; `edgesnn.api.network` makes it from a program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: Bits of a signed message that carries the residual stream: its magnitude is below 2**17.
RESIDUAL_MESSAGE_BITS = 18

PopulationKind = Literal["input", "lif", "residual", "factor", "logits"]


@dataclass(frozen=True, slots=True)
class Feed:
    """What feeds a population.

    Attributes:
        source: Name of the population or attention that sends.
        fan_in: Synapses of each neuron: the channels of the source (dense) or 1 (one to one).
        source_neurons: Channels of the source.
        dense: Whether every source channel reaches every neuron.
        delayed: Channels of the source that arrive one token later.
        op: The part of the program whose weights they are, as activity counts name it; empty for one to one.
        kernel: Weights of a convolution, which all neurons share; 0 where each synapse has its own.
    """

    source: str
    fan_in: int
    source_neurons: int
    dense: bool
    delayed: int = 0
    op: str = ""
    kernel: int = 0


@dataclass(frozen=True, slots=True)
class Population:
    """Neurons of one kind.

    Attributes:
        name: Its name.
        kind: ``input`` injects the embedding, ``lif`` spikes, ``residual`` passes sums of currents on,
            ``factor`` and ``logits`` are the two matrices of the readout.
        neurons: How many.
        feeds: What feeds them.
        message_bits: Bits of what each sends; 1 is a plain spike.
        weight_bits: Bits of its weights, sign included.
        stock: Whether a stock LIF neuron holds its thresholds and biases exactly; None where it is no LIF.
    """

    name: str
    kind: PopulationKind
    neurons: int
    feeds: tuple[Feed, ...]
    message_bits: int
    weight_bits: int
    stock: bool | None = None

    @property
    def fan_in(self) -> int:
        """Synapses of each neuron."""
        return sum(feed.fan_in for feed in self.feeds)

    @property
    def synapses(self) -> int:
        """Synapses of all of them."""
        return self.neurons * self.fan_in

    def own_bits(self, *, shared: bool) -> int:
        """Bits of the weights that each neuron brings; with ``shared`` kernels are not among them."""
        kept = (feed.fan_in for feed in self.feeds if not (shared and feed.kernel))
        return sum(kept) * self.weight_bits

    def kernel_bits(self, *, shared: bool) -> int:
        """Bits of the kernels that a core keeps once for all of its neurons; 0 unless ``shared``."""
        return sum(feed.kernel for feed in self.feeds) * self.weight_bits if shared else 0


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention: no static synapses; fast weights ``S += k v^T`` less the product that left the window.

    Attributes:
        name: Its name.
        source: The population of q, k and v.
        head_dim: dh.
        windows: W of each head, tokens.
        timesteps: T; every inner timestep has states of its own.
    """

    name: str
    source: str
    head_dim: int
    windows: tuple[int, ...]
    timesteps: int

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.head_dim * len(self.windows)

    @property
    def states(self) -> int:
        """Fast weights: ``heads * dh**2 * T``."""
        return len(self.windows) * self.head_dim**2 * self.timesteps

    @property
    def ring_bits(self) -> int:
        """Keys and values of the windows, kept so that what leaves can be taken off again."""
        return 2 * self.timesteps * self.head_dim * sum(window - 1 for window in self.windows)

    @property
    def state_bytes(self) -> int:
        """Memory of both; a fast weight counts at most W, so 2 bytes hold it up to 65,535 tokens, then 4."""
        each = self.head_dim**2 * self.timesteps
        fast = sum(each * (2 if window < 2**16 else 4) for window in self.windows)
        return fast + (self.ring_bits + 7) // 8


@dataclass(frozen=True, slots=True)
class ChipNetwork:
    """A network as one kind of chip sees it.

    Attributes:
        timesteps: T, inner timesteps per token.
        populations: In order of execution.
        attentions: In order of execution.
        host: What a processor beside the cores does, one clause each.
        obstacles: What the form of the network cannot express, one clause each.
    """

    timesteps: int
    populations: tuple[Population, ...]
    attentions: tuple[Attention, ...]
    host: tuple[str, ...]
    obstacles: tuple[str, ...] = ()

    @property
    def neurons(self) -> int:
        """Neurons of all populations."""
        return sum(population.neurons for population in self.populations)

    def placed_operations(self, effective: Mapping[str, int]) -> int:
        """Synaptic operations of all weights that stand on cores: one that two populations hear runs twice.

        Args:
            effective: Operations of one run of each part of the program, by name.
        """
        dense = (feed for population in self.populations for feed in population.feeds if feed.dense)
        return sum(effective[feed.op] for feed in dense)

    @property
    def synapses(self) -> int:
        """Static synapses of all populations."""
        return sum(population.synapses for population in self.populations)
