"""Three estimates of the energy of one token, side by side, from counted work and a table of energies.

* **synaptic operations**: the usual proxy. Every effective operation, nothing else.
* **with memory**: the same, plus neurons, residual stream and every byte that spikes move: a spike comes
  as an event, so it reads its row of weights and reads and writes the accumulators of that row.
* **dense network**: one that could replace it, with the same matrices and activations of
  ``ceil(log2(T + 1))`` bits in place of T timesteps of spikes, no zero skipped. Embedding and readout have no
  spikes and are charged as in the spiking network.

That network and its width follow Z. Yan, Z. Bai, K. Tang, W.-F. Wong, Reconsidering the Energy Efficiency of
Spiking Neural Networks, arXiv 2409.08290. `docs/activity.md` has every formula. These are comparisons under
one table, not predictions of any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from edgesnn.chips.description import Chip
from edgesnn.chips.network import ChipNetwork
from edgesnn.chips.sourced import NonEmpty, Sourced, SourcedEnergy
from edgesnn.chips.work import WorkTotals
from edgesnn.config import StrictModel, find_energy_table, load_toml

#: Spike rate above which spiking loses to a dense network once memory traffic counts: 6.4 % for T from 5 to
#: 10 in versions 2 and 3 of arXiv 2409.08290, 5.7 % for T = 5 in version 4.
BREAK_EVEN_SPIKE_RATE = 0.06
DEFAULT_TABLE = "horowitz-45nm"

_PJ_PER_UJ = 1e6
_WEIGHT_BITS = 8
_MEMBRANE_BITS = 24
_INT32_BYTES = 4


class EnergyTable(StrictModel):
    """Energies of operations and of moving a byte, picojoules.

    Attributes:
        schema_name: ``edgesnn.energy/1`` (``schema`` in the file).
        name: The name of the file.
        description: What it describes, one line.
        add_32_bit_pj: Adding two int32; a comparison is one.
        multiply_8_bit_pj: Multiplying two 8-bit integers; other widths scale with their product.
        multiply_32_bit_pj: Multiplying two 32-bit integers.
        weight_byte_pj: A byte of weights.
        state_byte_pj: A byte of membranes, rings, thresholds or the residual stream.
        activation_byte_pj: A byte of spikes, activations between layers, or accumulators.
    """

    schema_name: Literal["edgesnn.energy/1"] = Field(alias="schema")
    name: NonEmpty
    description: NonEmpty
    add_32_bit_pj: SourcedEnergy
    multiply_8_bit_pj: SourcedEnergy
    multiply_32_bit_pj: SourcedEnergy
    weight_byte_pj: SourcedEnergy
    state_byte_pj: SourcedEnergy
    activation_byte_pj: SourcedEnergy

    def numbers(self) -> dict[str, Sourced]:
        """Every number of the table by its key."""
        fields = ((key, getattr(self, key)) for key in type(self).model_fields)
        return {key: number for key, number in fields if isinstance(number, Sourced)}

    def multiply_pj(self, left_bits: int, right_bits: int) -> float:
        """Energy of a multiplier, in proportion to the product of its widths.

        The table's own figures agree: 16 times the 8-bit one is 3.2 pJ, its 32-bit one 3.1 pJ.
        """
        return self.multiply_8_bit_pj.value * left_bits * right_bits / 64


@dataclass(frozen=True, slots=True)
class EnergyParts:
    """One estimate.

    Attributes:
        name: ``synaptic_operations``, ``with_memory`` or ``dense_network``.
        how: What it counts, in one clause.
        parts_uj: Its parts per token, microjoules.
    """

    name: Literal["synaptic_operations", "with_memory", "dense_network"]
    how: str
    parts_uj: dict[str, float]

    @property
    def total_uj(self) -> float:
        """Energy of one token, microjoules."""
        return sum(self.parts_uj.values())


def load_energy_table(name_or_path: str = DEFAULT_TABLE) -> EnergyTable:
    """Read a table by name or by the path of a TOML file.

    Raises:
        UsageError: There is no table of that name.
        ConfigError: The file lacks a key or holds a value that cannot be.
    """
    return load_toml(find_energy_table(name_or_path), EnergyTable)


def estimate_energy(work: WorkTotals, table: EnergyTable) -> tuple[EnergyParts, EnergyParts, EnergyParts]:
    """The three estimates: synaptic operations, with memory, dense network.

    Args:
        work: What was counted.
        table: What it costs.
    """
    bits = dense_bits(work.timesteps)
    operations = _per_token(work, _spiking_operations(work, table))
    return (
        EnergyParts("synaptic_operations", "effective synaptic operations, nothing else", operations),
        EnergyParts(
            "with_memory",
            "the same, with neurons, residual stream and every byte moved",
            {**operations, **_per_token(work, _spiking_memory(work, table))},
        ),
        EnergyParts(
            "dense_network",
            f"a dense network of the same matrices with {bits}-bit activations, one pass, no zero skipped",
            _per_token(work, _dense(work, table, bits)),
        ),
    )


def dense_bits(timesteps: int) -> int:
    """Bits that tell ``timesteps + 1`` spike counts apart: ``ceil(log2(T + 1))``."""
    return timesteps.bit_length()


def spike_rate_statement(work: WorkTotals, estimates: tuple[EnergyParts, ...]) -> str:
    """What the mean spike rate and the estimates say of spiking against a dense network, in one sentence.

    Args:
        work: What was counted.
        estimates: What `estimate_energy` gave.
    """
    if work.stateful:
        total = {estimate.name: estimate.total_uj for estimate in estimates}
        ratio = total["with_memory"] / total["dense_network"]
        return (
            f"the mean spike rate is {work.spike_rate:.1%} of neurons and frames; by this table a frame "
            f"takes {ratio:.2f} times the energy of a dense network of the "
            "same matrices with 1-bit activations (ESTIMATED)"
        )
    side = "above" if work.spike_rate > BREAK_EVEN_SPIKE_RATE else "not above"
    total = {estimate.name: estimate.total_uj for estimate in estimates}
    ratio = total["with_memory"] / total["dense_network"]
    return (
        f"the mean spike rate of {work.spike_rate:.1%} is {side} about {BREAK_EVEN_SPIKE_RATE:.0%}, below "
        "which published analysis sees a spiking network win over a quantised dense one once memory traffic "
        f"counts (arXiv 2409.08290); by this table it takes {ratio:.2f} times the energy of the dense one "
        "(ESTIMATED)"
    )


def chip_energy(
    work: WorkTotals, effective: Mapping[str, int], network: ChipNetwork, chip: Chip, *, high: bool = False
) -> dict[str, float] | None:
    """Energy of one token on a chip with published energies per event, microjoules by part.

    Everything that stands on its cores, as often as it stands there: what `edgesnn.chips.placement` places is
    what is charged. Attention and the host's part (embedding; with plain spikes the readout) are not in it,
    nor is traffic between tiles, nor leakage. Relays of sums pass a number on at most once an inner timestep.

    Args:
        work: What was counted.
        effective: Operations of one run of each part of the program, by name.
        network: What stands on the cores.
        chip: The chip.
        high: Whether to take the largest energies where sources differ.

    Returns:
        The parts, or None where the chip has no energies.
    """
    if chip.energy_pj is None:
        return None
    operation, active, inactive, spike = (
        getattr(chip.energy_pj, key).at(high=high) for key in type(chip.energy_pj).model_fields
    )
    idle = work.neuron_steps - work.membrane_updates
    parts = {
        "synaptic operations": network.placed_operations(effective) * operation,
        "neurons": work.membrane_updates * active + idle * inactive,
        "spikes": work.spikes * spike,
    }
    relays = [one for one in network.populations if one.kind in ("input", "residual")]
    readout = [one for one in network.populations if one.kind in ("factor", "logits")]
    if relays or readout:
        names = {one.name for one in relays}
        heard = sum(
            population.neurons
            for population in network.populations
            for feed in population.feeds
            if feed.source in names
        )
        numbers = work.tokens * work.timesteps * sum(one.neurons for one in relays)
        codes = work.tokens * sum(one.neurons for one in readout)
        parts["relays and readout, at most"] = (numbers + codes) * (
            active + spike
        ) + work.tokens * work.timesteps * heard * operation
    return _per_token(work, parts)


def _per_token(work: WorkTotals, parts_pj: dict[str, float]) -> dict[str, float]:
    return {name: value / work.tokens / _PJ_PER_UJ for name, value in parts_pj.items()}


def _spiking_operations(work: WorkTotals, table: EnergyTable) -> dict[str, float]:
    add = table.add_32_bit_pj.value
    product = table.multiply_pj(_WEIGHT_BITS, _WEIGHT_BITS) + add
    return {
        "linear": work.linear_effective * add,
        "attention": work.attend_effective * add,
        _multiplying(work): work.multiply_effective * product,
    }


def _multiplying(work: WorkTotals) -> str:
    """What multiplies: in a network that reads frames the layers whose input is no spike."""
    return "layers of graded values" if work.stateful else "embedding and readout"


def _spiking_memory(work: WorkTotals, table: EnergyTable) -> dict[str, float]:
    add = table.add_32_bit_pj.value
    state, activation = table.state_byte_pj.value, table.activation_byte_pj.value
    # leak, then three additions: current, bias, comparison with the threshold
    update = table.multiply_pj(_MEMBRANE_BITS, _WEIGHT_BITS) + 3 * add
    # between timesteps of one token a membrane is written and read once; after the last it is dropped,
    # unless it lives on
    kept = work.neurons * (work.timesteps if work.stateful else work.timesteps - 1) * work.tokens
    weights = work.linear_weight_bytes + work.multiply_weight_bytes + work.lookup_bytes
    # one accumulator per weight of a selected row, one per operation of attention: read and written
    accumulators = work.linear_weight_bytes + work.attend_effective
    return {
        "neurons": work.neuron_steps * update,
        "residual stream": work.residual_adds * (add + 3 * _INT32_BYTES * state),
        "weights moved": weights * table.weight_byte_pj.value,
        "accumulators moved": 2 * accumulators * _INT32_BYTES * activation,
        "membranes moved": 2 * kept * _INT32_BYTES * state,
        "thresholds moved": 2 * work.neurons * work.tokens * _INT32_BYTES * state,
        "spikes moved": 2 * work.neuron_steps / 8 * activation,
        "rings moved": (work.attend_bits_read + work.attend_bits_written + 2 * work.shift_bits) / 8 * state,
    }


def _dense(work: WorkTotals, table: EnergyTable, bits: int) -> dict[str, float]:
    add, t = table.add_32_bit_pj.value, work.timesteps
    state, activation = table.state_byte_pj.value, table.activation_byte_pj.value
    linear = work.linear_dense // t
    scores = values = work.attend_dense // (2 * t)
    neurons = work.neurons * work.tokens
    residual = work.residual_adds // t
    rings = (work.attend_bits_dense + work.attend_bits_written + 2 * work.shift_bits) // t * bits
    return {
        "linear": linear * (table.multiply_pj(bits, _WEIGHT_BITS) + add),
        "attention": scores * (table.multiply_pj(bits, bits) + add)
        + values * (table.multiply_pj(_WEIGHT_BITS, bits) + add),
        _multiplying(work): _spiking_operations(work, table)[_multiplying(work)],
        # back to few bits: a multiplication, a bias, a rounding addition
        "neurons": neurons * (table.multiply_32_bit_pj.value + 2 * add),
        "residual stream": residual * (add + 3 * _INT32_BYTES * state),
        "weights moved": (linear + work.multiply_weight_bytes + work.lookup_bytes)
        * table.weight_byte_pj.value,
        "scales moved": 2 * neurons * _INT32_BYTES * state,
        "activations moved": 2 * neurons * bits / 8 * activation,
        "rings moved": rings / 8 * state,
    }
