"""Does a network fit a chip? Every limit that it breaks, at once, with the value and the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgesnn.chips.description import Chip
from edgesnn.chips.network import ChipNetwork, Population
from edgesnn.chips.placement import Core, place, shares_weights

GREEDY = "greedy, population after population; not optimised"


@dataclass(frozen=True, slots=True)
class Violation:
    """One limit that is broken.

    Attributes:
        where: The population, the core or the chip.
        what: What is too much or missing.
        actual: What the network needs.
        limit: What the chip has.
    """

    where: str
    what: str
    actual: str
    limit: str

    def sentence(self) -> str:
        """All of it in one line."""
        return f"{self.where}: {self.what}: {self.actual}, limit {self.limit}"


@dataclass(frozen=True, slots=True)
class AttentionPart:
    """What one attention takes, beside the populations: ESTIMATED.

    Attributes:
        name: Its name.
        states: Fast weights.
        state_bytes: Memory for them and for the rings of keys and values.
        cores: Cores whose weight memory holds that.
    """

    name: str
    states: int
    state_bytes: int
    cores: int


@dataclass(frozen=True, slots=True)
class PopulationPart:
    """What one population takes.

    Attributes:
        name: Its name.
        kind: Its kind.
        neurons: Neurons.
        fan_in: Synapses of each.
        synapses: Synapses of all.
        synapse_bytes: Memory of their weights.
        cores: Cores on which some of its neurons stand; 0 when it fits nowhere.
        delayed: Channels that it hears one token late.
        stock: Whether a stock LIF neuron serves it exactly; None where it is no LIF.
    """

    name: str
    kind: str
    neurons: int
    fan_in: int
    synapses: int
    synapse_bytes: int
    cores: int
    delayed: int
    stock: bool | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The fullest core in one respect, against its limit.

    Attributes:
        what: Which respect.
        largest: The largest use of it by one core.
        limit: The limit of one core.
        total: The use by all cores.
    """

    what: str
    largest: int
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A network against a chip.

    Attributes:
        chip: Name of the chip.
        placement: How cores were filled.
        neurons: Neurons of all populations.
        synapses: Static synapses.
        cores: Cores of the populations, by the greedy placement.
        attention_cores: Cores of attention, ESTIMATED from its memory alone.
        cores_available: Cores of one chip.
        usage: The fullest core in every respect.
        populations: Every population.
        attentions: Every attention.
        host: What a processor beside the cores does.
        violations: Every limit that is broken; empty when it fits.
    """

    chip: str
    placement: str
    neurons: int
    synapses: int
    cores: int
    attention_cores: int
    cores_available: int
    usage: tuple[Usage, ...]
    populations: tuple[PopulationPart, ...]
    attentions: tuple[AttentionPart, ...]
    host: tuple[str, ...]
    violations: tuple[Violation, ...]

    @property
    def fits(self) -> bool:
        """Whether no limit is broken."""
        return not self.violations


def fit(network: ChipNetwork, chip: Chip) -> Fit:
    """Check a network against a chip and place it.

    Args:
        network: In the form that the chip's messages allow.
        chip: The chip.
    """
    limits = chip.limits
    attended = {attention.source for attention in network.attentions}
    cores, homeless = place(network.populations, limits, attended)
    per_core = limits.synapse_bytes_per_core.value
    attentions = tuple(
        AttentionPart(a.name, a.states, a.state_bytes, math.ceil(a.state_bytes / per_core))
        for a in network.attentions
    )
    attention_cores = sum(attention.cores for attention in attentions)
    violations = (
        *_form_violations(network, chip),
        *_population_violations(network, chip, homeless),
        *_chip_violations(network, chip, cores, attention_cores),
    )
    return Fit(
        chip=chip.name,
        placement=GREEDY,
        neurons=network.neurons,
        synapses=network.synapses,
        cores=len(cores),
        attention_cores=attention_cores,
        cores_available=limits.cores_per_chip.value,
        usage=_usage(cores, chip),
        populations=tuple(
            _part(population, cores, shared=shares_weights(limits)) for population in network.populations
        ),
        attentions=attentions,
        host=network.host,
        violations=violations,
    )


def _part(population: Population, cores: list[Core], *, shared: bool) -> PopulationPart:
    on = sum(any(part.population == population.name for part in core.slices) for core in cores)
    own = population.neurons * population.own_bits(shared=shared)
    return PopulationPart(
        name=population.name,
        kind=population.kind,
        neurons=population.neurons,
        fan_in=population.fan_in,
        synapses=population.synapses,
        synapse_bytes=(own + on * population.kernel_bits(shared=shared) + 7) // 8,
        cores=on,
        delayed=sum(feed.delayed for feed in population.feeds),
        stock=population.stock,
    )


def _usage(cores: list[Core], chip: Chip) -> tuple[Usage, ...]:
    limits = chip.limits
    columns = (
        ("neurons", [core.neurons for core in cores], limits.neurons_per_core.value),
        ("synapse bytes", [(c.synapse_bits + 7) // 8 for c in cores], limits.synapse_bytes_per_core.value),
        ("axons in", [core.axons_in for core in cores], limits.axons_in_per_core.value),
        ("axons out", [core.axons_out for core in cores], limits.axons_out_per_core.value),
    )
    return tuple(Usage(what, max(used, default=0), limit, sum(used)) for what, used, limit in columns)


def _form_violations(network: ChipNetwork, chip: Chip) -> Iterator[Violation]:
    for obstacle in network.obstacles:
        yield Violation("network", "a form that the chip cannot express", obstacle, "plain spikes and sums")
    if chip.limits.programmable_neurons.value:
        return
    for attention in network.attentions:
        yield Violation(
            attention.name,
            "attention needs programmable neurons or fast weights",
            f"{attention.states:,} states",
            "no programmable neurons",
        )
    for population in network.populations:
        if population.kind == "lif" and not population.stock:
            yield Violation(
                population.name,
                "thresholds or biases that a stock neuron cannot hold",
                "finer than its grid",
                "multiples of 64, biases of 13 bits and an exponent",
            )


def _population_violations(
    network: ChipNetwork, chip: Chip, homeless: list[Population]
) -> Iterator[Violation]:
    limits = chip.limits
    for population in network.populations:
        for what, actual, limit in (
            ("bits of a weight", population.weight_bits, limits.weight_bits.value),
            ("bits of a message", population.message_bits, limits.message_bits.value),
        ):
            if actual > limit:
                yield Violation(population.name, what, f"{actual}", f"{limit}")
    for population in homeless:
        sources = {feed.source: feed.source_neurons if feed.dense else 1 for feed in population.feeds}
        heard = sum(sources.values())
        if heard > limits.axons_in_per_core.value:
            yield Violation(
                population.name,
                "axons into the core of one neuron",
                f"{heard:,}",
                f"{limits.axons_in_per_core.value:,}",
            )
        shared = shares_weights(limits)
        bits = population.own_bits(shared=shared) + population.kernel_bits(shared=shared)
        needed = (bits + 7) // 8
        if needed > limits.synapse_bytes_per_core.value:
            yield Violation(
                population.name,
                "bytes of synapses of one neuron",
                f"{needed:,}",
                f"{limits.synapse_bytes_per_core.value:,}",
            )


def _chip_violations(
    network: ChipNetwork, chip: Chip, cores: list[Core], attention_cores: int
) -> Iterator[Violation]:
    limits = chip.limits
    needed = len(cores) + attention_cores
    if needed > limits.cores_per_chip.value:
        yield Violation(
            "chip",
            "cores",
            f"{needed:,} ({len(cores):,} for populations, {attention_cores:,} for attention)",
            f"{limits.cores_per_chip.value:,}",
        )
    if limits.synapses_per_chip is not None and network.synapses > limits.synapses_per_chip.value:
        yield Violation("chip", "synapses", f"{network.synapses:,}", f"{limits.synapses_per_chip.value:,}")
    for number, core in enumerate(cores):
        if core.axons_out > limits.axons_out_per_core.value:
            names = ", ".join(part.population for part in core.slices)
            yield Violation(
                f"core {number} ({names})",
                "axons out",
                f"{core.axons_out:,}",
                f"{limits.axons_out_per_core.value:,}",
            )
