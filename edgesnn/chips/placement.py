"""Puts populations onto cores, greedily and in order: a core count, not an optimum.

The current core takes as many neurons of the next population as its neurons, weight memory and incoming
axons allow; then a new core begins. Outgoing axons are counted when everything stands.
An incoming axon that two populations of one core hear one to one is counted twice: never too few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from edgesnn.chips.description import ChipLimits
from edgesnn.chips.network import Population


@dataclass(frozen=True, slots=True)
class Slice:
    """Neurons of one population on one core.

    Attributes:
        population: Its name.
        first: First of them.
        count: How many.
    """

    population: str
    first: int
    count: int


@dataclass(slots=True)
class Core:
    """One core.

    Attributes:
        slices: What stands on it.
        neurons: Neurons.
        synapse_bits: Bits of weights.
        axons_out: Entries of neuron and destination core; counted at the end.
    """

    slices: list[Slice] = field(default_factory=list)
    neurons: int = 0
    synapse_bits: int = 0
    axons_out: int = 0
    _dense: dict[str, int] = field(default_factory=dict)
    _single: dict[str, int] = field(default_factory=dict)

    @property
    def axons_in(self) -> int:
        """Source neurons that the core hears; a source that is heard as a whole counts once."""
        return sum(self._dense.values()) + sum(self._single.values())

    def room(self, population: Population, limits: ChipLimits) -> int:
        """Neurons of a population that still fit."""
        room = limits.neurons_per_core.value - self.neurons
        shared = shares_weights(limits)
        bits_each = population.own_bits(shared=shared)
        free = 8 * limits.synapse_bytes_per_core.value - self.synapse_bits
        if not self._holds(population):
            free -= population.kernel_bits(shared=shared)
        if free < 0:
            return 0
        if bits_each:
            room = min(room, free // bits_each)
        new = {
            f.source: f.source_neurons for f in population.feeds if f.dense and f.source not in self._dense
        }
        # a source that was heard neuron by neuron and now as a whole is not counted twice
        heard = sum(self._single.get(source, 0) for source in new)
        left = limits.axons_in_per_core.value - self.axons_in - sum(new.values()) + heard
        singles = self._singles(population, set(new))
        if left < 0:
            return 0
        return min(room, left // len(singles)) if singles else room

    def add(self, population: Population, first: int, count: int, *, shared: bool) -> None:
        """Put neurons onto the core; ``shared``: it keeps the kernel of a convolution once."""
        if not self._holds(population):
            self.synapse_bits += population.kernel_bits(shared=shared)
        self.slices.append(Slice(population.name, first, count))
        self.neurons += count
        self.synapse_bits += count * population.own_bits(shared=shared)
        for feed in population.feeds:
            if feed.dense:
                self._dense[feed.source] = feed.source_neurons
                self._single.pop(feed.source, None)
        for source in self._singles(population, set()):
            self._single[source] = self._single.get(source, 0) + count

    def _holds(self, population: Population) -> bool:
        return any(part.population == population.name for part in self.slices)

    def _singles(self, population: Population, also_dense: set[str]) -> list[str]:
        known = self._dense.keys() | also_dense
        return [f.source for f in population.feeds if not f.dense and f.source not in known]


def shares_weights(limits: ChipLimits) -> bool:
    """Whether a core keeps the kernel of a convolution once; where nobody says, it does not."""
    return limits.shared_weights is not None and limits.shared_weights.value


def place(
    populations: Iterable[Population], limits: ChipLimits, attended: Collection[str] = ()
) -> tuple[list[Core], list[Population]]:
    """Place populations one after another.

    Args:
        populations: In order.
        limits: Of the chip.
        attended: Populations that an attention hears: one more destination for each of their neurons.

    Returns:
        The cores, and the populations of which not even one neuron fits onto an empty core.
    """
    populations = list(populations)
    cores: list[Core] = []
    homeless: list[Population] = []
    for population in populations:
        if Core().room(population, limits) < 1:
            homeless.append(population)
            continue
        placed = 0
        while placed < population.neurons:
            if not cores or cores[-1].room(population, limits) < 1:
                cores.append(Core())
            count = min(population.neurons - placed, cores[-1].room(population, limits))
            cores[-1].add(population, placed, count, shared=shares_weights(limits))
            placed += count
    _count_axons_out(cores, populations)
    for core in cores:
        core.axons_out += sum(part.count for part in core.slices if part.population in attended)
    return cores, homeless


def _count_axons_out(cores: list[Core], populations: list[Population]) -> None:
    """Every neuron needs one entry per core that hears it."""
    of = {population.name: population for population in populations}
    for target in cores:
        heard: dict[str, set[tuple[int, int]]] = {}
        for part in target.slices:
            for feed in of[part.population].feeds:
                span = (0, feed.source_neurons) if feed.dense else (part.first, part.first + part.count)
                heard.setdefault(feed.source, set()).add(span)
        for core in cores:
            for part in core.slices:
                spans = heard.get(part.population, set())
                core.axons_out += _covered(part, spans)


def _covered(part: Slice, spans: set[tuple[int, int]]) -> int:
    """Neurons of a slice that lie in at least one of some spans."""
    covered, reached = 0, part.first
    end = part.first + part.count
    for low, high in sorted(spans):
        start, stop = max(low, reached), min(high, end)
        if stop > start:
            covered += stop - start
            reached = stop
    return covered
