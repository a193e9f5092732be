"""Duty cycle: a device that works at a rate and idles in between; its mean power and its battery life.

A run takes ``run_seconds`` and is asked for ``rate_per_s`` times a second. The energy of a run is its total
energy, idle power included, so idle power counts only for the rest of the time:

    P = E_run * f + P_idle * (1 - f * t_run)

(the duty-cycled power beside the active one; `docs/profiling.md`, "Duty cycle").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from edgesnn.profiler.budgets.profile import Cell
from edgesnn.profiler.budgets.statistics import FloatArray
from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.latency.generation import GenerationSession
from edgesnn.profiler.results import Absent
from edgesnn.record.quantities import (
    GROUPS,
    Kind,
    Quantities,
    Quantity,
    QuantityGroup,
    absent,
    known,
    missing,
)

X = TypeVar("X", float, FloatArray)

SECONDS_PER_HOUR = 3600.0
_UJ_PER_MW_S = 1000.0

NO_POWER = "needs a measured energy per sentence and idle power"
NO_CELL = "the profile names no cell"


@dataclass(frozen=True, slots=True)
class RunPower:
    """What a meter said of the runs of a duty cycle.

    Attributes:
        energy_uj: Total energy of one run, idle power included.
        idle_mw: Power while loaded, ready, and nothing runs.
        kind: Where the two come from.
        how: How they were taken, in one clause.
    """

    energy_uj: float
    idle_mw: float
    kind: Kind
    how: str


def busy_share(rate_per_s: float, run_seconds: float) -> float:
    """Share of the time in which the device is busy, ``f * t_run``; above 1 it cannot keep the rate."""
    return rate_per_s * run_seconds


def mean_power_mw(energy_uj: X, idle_mw: X, rate_per_s: float, run_seconds: float) -> X:
    """Mean power of a duty cycle; see the module for the formula.

    Args:
        energy_uj: Total energy of one run, microjoules: one number, or draws of a Monte Carlo.
        idle_mw: Idle power, milliwatts, likewise.
        rate_per_s: Runs per second.
        run_seconds: Time of one run.

    Returns:
        Milliwatts. It means something only where `busy_share` is at most 1.
    """
    return energy_uj * rate_per_s / _UJ_PER_MW_S + idle_mw * (1.0 - busy_share(rate_per_s, run_seconds))


def battery_life_hours(power_mw: X, voltage_v: float, capacity_mah: float) -> X:
    """Hours that a full cell feeds a constant power: nominal energy ``V * C`` in mWh over the power.

    The nominal energy of a cell is its nominal voltage times its capacity (IEC 61960 rates both). Losses of a
    converter, self-discharge, ageing and cold are not in it, nor is anything else that the cell feeds.

    Args:
        power_mw: Mean power, above 0.
        voltage_v: Nominal voltage of the cell.
        capacity_mah: Nominal capacity of the cell.
    """
    return voltage_v * capacity_mah / power_mw


def duty_quantities(
    generation: GenerationSession | Absent,
    workload: Workload,
    cell: Cell | None,
    power: RunPower | None = None,
    *,
    kind: Kind = Kind.MEASURED,
) -> Quantities:
    """What a rate of sentences means: the busy share and, with a meter, duty-cycled power and battery life.

    Args:
        generation: The measured sentences.
        workload: The workload; only kind ``sentence`` has a duty cycle.
        cell: The cell of the profile.
        power: What a meter said of a sentence.
        kind: Where the times of the sentences come from.

    Returns:
        Quantities by name; empty for other kinds of workload.
    """
    rate_per_hour = workload.sentences_per_hour
    if workload.kind != "sentence" or rate_per_hour is None:
        return {}
    if isinstance(generation, Absent):
        return missing((one.name for one in GROUPS[QuantityGroup.DUTY]), generation.reason)
    rate = rate_per_hour / SECONDS_PER_HOUR
    seconds = generation.total.mean_ms / 1000.0
    share = busy_share(rate, seconds)
    asked = f"{rate_per_hour:g} sentences per hour of {workload.tokens_per_sentence} tokens each"
    how = f"rate times the mean time of a sentence; {asked}"
    found = {"duty.busy_share": known("duty.busy_share", share, how, kind)}
    if share > 1.0:
        why = f"the device cannot keep the rate: {asked} take {share:.3g} times the time there is"
    elif power is None:
        why = NO_POWER
    else:
        mean = mean_power_mw(power.energy_uj, power.idle_mw, rate, seconds)
        found["duty.power"] = known("duty.power", mean, f"{asked}; {power.how}", power.kind)
        found["duty.battery_life"] = battery_life(mean, cell, power.kind)
        return found
    return found | missing(("duty.power", "duty.battery_life"), why)


def battery_life(power_mw: float, cell: Cell | None, kind: Kind, name: str = "duty.battery_life") -> Quantity:
    """Hours that a full cell lasts at a mean power, or why that is not said.

    Args:
        power_mw: Mean power.
        cell: The cell, or None.
        kind: Where the power comes from.
        name: Name of the quantity.
    """
    if cell is None:
        return absent("h", NO_CELL)
    if power_mw <= 0:
        return absent("h", f"a mean power of {power_mw:g} mW empties no cell")
    hours = battery_life_hours(power_mw, cell.voltage_v, cell.capacity_mah)
    how = (
        f"nominal energy of a cell of {cell.voltage_v:g} V and {cell.capacity_mah:g} mAh over the mean power"
    )
    return known(name, hours, how, kind)
