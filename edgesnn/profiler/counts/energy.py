"""The energy estimates of a session: `edgesnn.chips.energy` on what was counted."""

from __future__ import annotations

from edgesnn.chips.energy import estimate_energy, load_energy_table, spike_rate_statement
from edgesnn.chips.work import WorkTotals
from edgesnn.record.counts import Energy, EnergyEstimate, SourcedNumber


def report_energy(work: WorkTotals) -> Energy:
    """Estimate what a counted text costs, by the table that ships with edgesnn.

    Args:
        work: What was counted.
    """
    table = load_energy_table()
    estimates = estimate_energy(work, table)
    return Energy(
        kind="ESTIMATED",
        table=table.name,
        constants={
            key: SourcedNumber(value=number.value, status=number.status, source=number.source)
            for key, number in table.numbers().items()
        },
        estimates=[
            EnergyEstimate(name=one.name, how=one.how, total_uj=one.total_uj, parts_uj=one.parts_uj)
            for one in estimates
        ],
        statement=spike_rate_statement(work, estimates),
    )
