"""A metered session as quantities, as a verdict and as plain data for the record."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.profiler.budgets.judging import BudgetSpec, judge_value, verdict_of
from edgesnn.profiler.power.evaluation import MeteredWindow, PowerResult
from edgesnn.profiler.power.uncertainty import COMPONENTS, TAIL, Distribution, PowerBudget
from edgesnn.profiler.results import Absent
from edgesnn.record.power import Power, PowerWindow
from edgesnn.record.quantities import QUANTITIES, Kind, Quantities, Quantity, Side, absent, missing, present
from edgesnn.record.steps import StepWords
from edgesnn.record.verdicts import Budget, BudgetOutcome

MILLI, MICRO = 1e3, 1e6
#: Most points of the trace that goes into a record; each holds the lowest, mean and highest power of its
#: time.
ENVELOPE_POINTS = 20_000
#: Shortest time of one of them, seconds.
ENVELOPE_STEP_S = 1e-3


def power_quantities(power: PowerResult | Absent, words: StepWords, *, simulated: bool) -> Quantities:
    """Power and energy with their 95 % intervals.

    Args:
        power: The metered session, or why there is none.
        words: What a step is called.
        simulated: Whether meter or device is a simulation.
    """
    names = ("power.mean", "power.idle", "power.dynamic", "power.peak", *_energies(words))
    if isinstance(power, Absent):
        return missing(names, power.reason)
    if power.budget is None:
        reason = "no valid window: " + "; ".join(sorted({w.invalid or "" for w in power.windows}))
        return missing(names, reason)
    kind = Kind.SIMULATED if simulated else Kind.MEASURED
    n, distributions = len(power.valid), _distributions(power.budget, words)
    how = f"{n} windows found by {power.rung}{' (coarse)' if power.rung.coarse else ''}"
    if len(power.valid) < len(power.windows):
        how += f", {len(power.windows) - n} more were invalid"

    def quantity(name: str) -> Quantity:
        unit = QUANTITIES[name].unit
        if name == "power.peak":
            peak = power.peak_w
            if peak is None:
                return absent(unit, "no stretch of 1 ms without a gap")
            return present(peak * MILLI, unit, f"highest mean over 1 ms; {how}", kind, n=n)
        found, scale, what = distributions[name]
        if found is None:
            return absent(unit, "the idle stretches beside the windows were not measured whole")
        interval = (found.lower * scale, found.upper * scale)
        return present(found.value * scale, unit, f"{what}; {how}", kind, interval=interval, n=n)

    return {name: quantity(name) for name in names}


def _energies(words: StepWords) -> tuple[str, str]:
    """Quantities of the energy of a step: all of it, and what is above idle."""
    return words.energy, words.energy.replace(".", ".dynamic_")


def _distributions(
    budget: PowerBudget, words: StepWords
) -> dict[str, tuple[Distribution | None, float, str]]:
    """What is known of every quantity of power, the factor to its unit, and what it is."""
    step, above_idle = budget.energy_per_inference_j, budget.dynamic_energy_per_inference_j
    per_step, dynamic = _energies(words)
    return {
        "power.mean": (budget.active_w, MILLI, "mean total power while working"),
        "power.idle": (budget.idle_w, MILLI, "loaded and ready, beside the windows"),
        "power.dynamic": (budget.dynamic_w, MILLI, "working less idle"),
        per_step: (step, MICRO, f"total energy of one {words.subject}"),
        dynamic: (above_idle, MICRO, "of that, above idle"),
    }


def judge_power(spec: BudgetSpec, quantity: Quantity, power: PowerResult | Absent) -> Budget:
    """Judge mean power: PASS and FAIL leave at most 2.5 % on the other side of the limit.

    Args:
        spec: The budget, in milliwatts.
        quantity: ``power.mean``.
        power: The metered session.
    """
    limit = spec.limit.limit
    if limit is not None and not isinstance(power, Absent) and power.budget is None:
        return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, quantity.reason)
    if limit is None or isinstance(power, Absent) or power.budget is None or quantity.value is None:
        return judge_value(spec, quantity)
    assert spec.side is Side.BELOW
    active = power.budget.active_w
    over = active.above(limit / MILLI)
    chance = f"probability of being over: {_percent(over)}"
    if len(power.valid) < 2:
        return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, "one window says nothing of repeatability")
    if over <= TAIL:
        return verdict_of(spec, quantity, BudgetOutcome.PASS, chance)
    if over >= 1 - TAIL:
        return verdict_of(spec, quantity, BudgetOutcome.FAIL, chance)
    reason, needed = what_decides(active, limit / MILLI, len(power.valid))
    return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, f"{chance}; {reason}", needed=needed)


def what_decides(active: Distribution, limit_w: float, windows: int) -> tuple[str, int | None]:
    """What would decide an inconclusive budget.

    Args:
        active: Mean power.
        limit_w: The limit.
        windows: Valid windows behind it.

    Returns:
        A clause, and the number of windows where more of them would do.
    """
    distance = abs(active.value - limit_w)
    repeat = active.budget["repeatability"]
    systematic = math.sqrt(sum(active.budget[name] ** 2 for name in COMPONENTS if name != "repeatability"))
    allowed = distance / 1.96
    if systematic < allowed:
        needed = max(windows + 1, math.ceil(windows * repeat**2 / (allowed**2 - systematic**2)))
        return f"about {needed} windows would decide", needed
    worst = max(
        (name for name in COMPONENTS if name != "repeatability"), key=lambda name: active.budget[name]
    )
    remedy = {
        "gain": "calibrate the meter (edgesnn meter calibrate) or take a better one",
        "offset": "calibrate the meter at two points, or use a lower range",
        "voltage": "measure the supply voltage instead of trusting the set-point",
        "edges": "use longer windows or a marker",
        "clock": "use a meter with a better clock",
    }[worst]
    return (
        f"{worst} alone has a standard uncertainty of {active.budget[worst] * MILLI:.3g} mW, the limit is "
        f"{distance * MILLI:.3g} mW away: {remedy}",
        None,
    )


def power_record(power: PowerResult, meter: dict[str, Any], loss: dict[str, Any], words: StepWords) -> Power:
    """A metered session as a record keeps it.

    Args:
        power: The session.
        meter: What is known of the meter (``began`` of `edgesnn.meters.serve`).
        loss: The account of its stream, over all parts of the session.
        words: What a step is called.
    """
    found = {} if power.budget is None else _distributions(power.budget, words)
    return Power(
        kind=Kind.SIMULATED if meter["meter"]["simulated"] else Kind.MEASURED,
        meter=meter,
        loss=loss,
        rung=power.rung,
        coarse=power.rung.coarse,
        clock=None if power.clock is None else dataclasses.asdict(power.clock),
        windows=[_window(window) for window in power.windows],
        uncertainty={
            name: {"unit": QUANTITIES[name].unit, **{part: sd * scale for part, sd in one.budget.items()}}
            for name, (one, scale, _) in found.items()
            if one is not None
        },
    )


def power_arrays(power: PowerResult) -> dict[str, npt.NDArray[np.generic]]:
    """The trace as an envelope: lowest, mean and highest power by time, so that no spike disappears."""
    trace = power.trace
    watts, time_s = trace.power_w(), trace.block.time_s
    step = max(ENVELOPE_STEP_S, (trace.stop_s - trace.start_s) / ENVELOPE_POINTS)
    place = np.floor((time_s - trace.start_s) / step).astype(np.int64)
    first = np.flatnonzero(np.concatenate([[True], np.diff(place) > 0]))
    counts = np.diff(np.append(first, watts.size))
    return {
        "power_time_s": trace.start_s + place[first] * step,
        "power_min_w": np.minimum.reduceat(watts, first).astype(np.float32),
        "power_mean_w": (np.add.reduceat(watts, first) / counts).astype(np.float32),
        "power_max_w": np.maximum.reduceat(watts, first).astype(np.float32),
    }


def _window(window: MeteredWindow) -> PowerWindow:
    interval = window.interval
    return PowerWindow(
        start_s=None if interval is None else interval.start_s,
        stop_s=None if interval is None else interval.stop_s,
        edge_sd_s=None if interval is None else interval.edge_sd_s,
        lap_s=window.lap.seconds,
        inferences=window.lap.inferences,
        mean_mw=_scaled(window.mean_w, MILLI),
        energy_uj=_scaled(window.energy_j, MICRO),
        peak_mw=_scaled(window.peak_w, MILLI),
        idle_before_mw=_scaled(window.idle_before_w, MILLI),
        idle_after_mw=_scaled(window.idle_after_w, MILLI),
        voltage_v=window.voltage_v,
        lost_share=window.lost_share,
        output_sha256=window.lap.output_sha256,
        invalid=window.invalid,
    )


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 1e-3 else "more than 99.9 %" if share > 1 - 1e-3 else f"{share:.1%}"
