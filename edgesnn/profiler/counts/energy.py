"""The energy estimates of a session: `edgesnn.chips.energy` on what was counted."""

from __future__ import annotations

from dataclasses import dataclass

from edgesnn.chips.energy import (
    EnergyParts,
    EnergyTable,
    estimate_energy,
    load_energy_table,
    spike_rate_statement,
)
from edgesnn.chips.work import WorkTotals


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """Estimated energies of one token; nothing in it was measured.

    Attributes:
        table: The constants behind them.
        estimates: Synaptic operations, with memory, dense network.
        statement: What spike rate and estimates say against a dense network.
    """

    table: EnergyTable
    estimates: tuple[EnergyParts, ...]
    statement: str


def report_energy(work: WorkTotals) -> EnergyReport:
    """Estimate what a counted text costs, by the table that ships with edgesnn.

    Args:
        work: What was counted.
    """
    table = load_energy_table()
    estimates = estimate_energy(work, table)
    return EnergyReport(table, estimates, spike_rate_statement(work, estimates))
