"""Chip descriptions, ``targets/chips/*.toml``: what a chip can hold, every number with status and source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgesnn.chips.sourced import UNSURE, Bits, EnergyRange, Flag, NonEmpty, Sourced, SourcedCount
from edgesnn.config import StrictModel, find_chip, load_toml
from edgesnn.errors import ConfigError

_REMEDY = "docs/chips.md says what a chip file holds; targets/chips/loihi2.toml is one"


class ChipLimits(StrictModel):
    """What a chip can hold.

    Attributes:
        cores_per_chip: Neuromorphic cores that a network may use.
        neurons_per_core: Neurons.
        synapse_bytes_per_core: Memory for weights.
        axons_in_per_core: Source neurons whose spikes a core can receive.
        axons_out_per_core: Entries of neuron and destination core that a core can send to.
        synapses_per_chip: Synapses in all; None where the maker names no such limit.
        weight_bits: Widest signed weight.
        message_bits: Widest payload of a message; 1 is a plain spike.
        programmable_neurons: Whether neurons run microcode: products of states, exact biases, clipping.
        shared_weights: Whether a core keeps the kernel of a convolution once; where it does not, or nobody
            says, every synapse has a weight of its own.
    """

    cores_per_chip: SourcedCount
    neurons_per_core: SourcedCount
    synapse_bytes_per_core: SourcedCount
    axons_in_per_core: SourcedCount
    axons_out_per_core: SourcedCount
    synapses_per_chip: SourcedCount | None = None
    weight_bits: Bits
    message_bits: Bits
    programmable_neurons: Flag
    shared_weights: Flag | None = None


class ChipEnergy(StrictModel):
    """Energies per event, picojoules.

    Attributes:
        synaptic_operation: One weight added because one spike came.
        neuron_update_active: One timestep of a neuron whose membrane changes.
        neuron_update_inactive: One timestep of any other neuron.
        spike: Sending one spike inside a tile of cores.
    """

    synaptic_operation: EnergyRange
    neuron_update_active: EnergyRange
    neuron_update_inactive: EnergyRange
    spike: EnergyRange


class Chip(StrictModel):
    """A chip.

    Attributes:
        schema_name: ``edgesnn.chip/1`` (``schema`` in the file).
        name: Name on the command line; the name of the file.
        description: What it is, one line.
        limits: What it can hold.
        energy_pj: Energies per event; None where nobody published any.
        energy_reason: Why `energy_pj` is None.
    """

    schema_name: Literal["edgesnn.chip/1"] = Field(alias="schema")
    name: NonEmpty
    description: NonEmpty
    limits: ChipLimits
    energy_pj: ChipEnergy | None = None
    energy_reason: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _energies_or_a_reason(self) -> Chip:
        if (self.energy_pj is None) == (self.energy_reason is None):
            raise ValueError("give either the table energy_pj or energy_reason, which says why there is none")
        return self

    def numbers(self) -> dict[str, Sourced]:
        """Every number of the description by its key, ``limits.cores_per_chip`` first."""
        tables = {"limits": self.limits, "energy_pj": self.energy_pj}
        return {
            f"{table}.{key}": getattr(content, key)
            for table, content in tables.items()
            if content is not None
            for key in type(content).model_fields
            if getattr(content, key) is not None
        }

    def unsure(self) -> dict[str, Sourced]:
        """The numbers that are ESTIMATED or ASSUMED, by key."""
        return {key: number for key, number in self.numbers().items() if number.status in UNSURE}


def load_chip(name_or_path: str) -> Chip:
    """Read a chip by name (``loihi2``) or by the path of a TOML file.

    Raises:
        UsageError: There is no chip of that name.
        ConfigError: The file is missing, is no TOML, lacks a key, or holds a value that cannot be.
    """
    path = find_chip(name_or_path)
    try:
        return load_toml(path, Chip)
    except ConfigError as error:
        raise ConfigError(
            error.what, actual=error.actual, limit=error.limit, remedy=error.remedy or _REMEDY
        ) from None
