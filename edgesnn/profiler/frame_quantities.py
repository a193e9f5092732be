"""The quantities of a network that reads frames: there with their intervals, or absent with their reasons."""

from __future__ import annotations

import numpy as np

from edgesnn.profiler.budgets.profile import Cell
from edgesnn.profiler.budgets.statistics import FloatArray
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.spread import windows_median_throughput
from edgesnn.profiler.power.duty import battery_life, busy_share, mean_power_mw
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.uncertainty import TAIL, PowerBudget
from edgesnn.profiler.quality.decisions import NO_FLOAT, NO_LABELS, DecisionAccuracy, share_interval
from edgesnn.profiler.quantities import summary_quantities
from edgesnn.profiler.results import Absent
from edgesnn.record.quantities import SUMMARY_KEYS, Kind, Quantities, Quantity, known, missing
from edgesnn.runners.base import DeviceInfo

_FRAME = tuple(f"frame.{key}" for key in SUMMARY_KEYS)
_DECISION = tuple(f"decision.{key}" for key in SUMMARY_KEYS)
_RATES = ("breakdown.outside_steps", "throughput.frames")
_ACCURACY = tuple(
    f"accuracy.{key}" for key in ("decisions", "float_decisions", "points_below_float", "same_decisions")
)
_MILLI, _MICRO = 1e3, 1e6

NO_LENGTH = (
    "nobody says how many frames a decision takes: import the network with --calibration or --held-out, "
    "or set decision_frames in the profile"
)
NO_RATE = "the profile does not say how often a frame comes (frames_per_second)"
NO_IDLE = "the idle stretches beside the windows were not measured whole"


def frame_quantities(timed: FrameSession | Absent, device: DeviceInfo) -> Quantities:
    """Latency of a frame and of a decision, and frames a second."""
    if isinstance(timed, Absent):
        return missing((*_FRAME, *_DECISION, *_RATES), timed.reason)
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    clock = f"{timed.clock} clock, {len(timed.windows)} windows"
    found = summary_quantities("frame", timed.forward, f"one frame; {clock}", kind)
    if timed.decision is None:
        found |= missing(_DECISION, NO_LENGTH)
    else:
        how = f"sum over the {timed.decision_frames} frames of a decision; {clock}"
        found |= summary_quantities("decision", timed.decision, how, kind)
    outside = float(np.mean([window.outside_ms_per_token for window in timed.windows]))
    rows = {
        "breakdown.outside_steps": (
            outside,
            "window less its frames, per frame: transport, host loop, hashing the answers",
        ),
        "throughput.frames": (
            windows_median_throughput(timed.windows),
            f"frames without pause, median over the windows; {clock}",
        ),
    }
    return found | {
        name: known(name, value, how, kind, n=len(timed.windows)) for name, (value, how) in rows.items()
    }


def decision_quantities(accuracy: DecisionAccuracy | Absent) -> Quantities:
    """Accuracy on held-out windows, beside the float network's."""
    if isinstance(accuracy, Absent):
        return missing(_ACCURACY, accuracy.reason)
    n = accuracy.windows
    on = f"{accuracy.text}: {n:,} decisions of {accuracy.held_out.length} frames"
    found: Quantities = {}
    shares = {
        "accuracy.decisions": (accuracy.right, f"golden on {on}", NO_LABELS),
        "accuracy.float_decisions": (
            accuracy.float_right,
            f"the float network, as stored in the bundle; {on}",
            NO_LABELS if accuracy.held_out.labels is None else NO_FLOAT,
        ),
        "accuracy.same_decisions": (accuracy.same, f"golden against the float network; {on}", NO_FLOAT),
    }
    for name, (hits, how, why) in shares.items():
        if hits is None:
            found |= missing([name], why)
        else:
            count = int(hits.sum())
            found[name] = known(name, count / n, how, interval=share_interval(count, n), n=n)
    name, gap = "accuracy.points_below_float", accuracy.below_float()
    if gap is None:
        return found | missing([name], shares["accuracy.float_decisions"][2])
    how = f"accuracy of the float network less golden's, the same windows; {on}"
    return found | {name: known(name, gap[0], how, interval=gap[1], n=n)}


def energy_per_decision(
    timed: FrameSession | Absent, power: PowerResult | Absent, *, simulated: bool
) -> Quantity | None:
    """Energy of all frames of a decision; None where there is no energy of a frame or no such number."""
    if isinstance(timed, Absent) or timed.decision_frames is None:
        return None
    if isinstance(power, Absent) or power.budget is None:
        return None
    frame, count = power.budget.energy_per_inference_j, timed.decision_frames
    scale = _MICRO * count
    return known(
        "energy.per_decision",
        frame.value * scale,
        f"total energy of {count} frames; {len(power.valid)} windows",
        Kind.SIMULATED if simulated else Kind.MEASURED,
        interval=(frame.lower * scale, frame.upper * scale),
        n=len(power.valid),
    )


def always_on_quantities(
    timed: FrameSession | Absent,
    power: PowerResult | Absent,
    frames_per_second: float | None,
    cell: Cell | None,
    *,
    simulated: bool,
) -> Quantities:
    """What a rate of frames means: busy share, energy per decision, power idle between frames, battery life.

    Args:
        timed: The times.
        power: The metered session.
        frames_per_second: How often a frame comes.
        cell: The cell of the profile.
        simulated: Whether meter or device is a simulation.
    """
    found: Quantities = {}
    if isinstance(power, PowerResult) and power.budget is not None:
        per_decision = energy_per_decision(timed, power, simulated=simulated)
        found = (
            missing(["energy.per_decision"], NO_LENGTH)
            if per_decision is None
            else {"energy.per_decision": per_decision}
        )
    names = ("duty.busy_share", "duty.power", "duty.battery_life")
    if isinstance(timed, Absent):
        return found | missing(names, timed.reason)
    if frames_per_second is None:
        return found | missing(names, NO_RATE)
    seconds = timed.forward.mean_ms / 1000.0
    share = busy_share(frames_per_second, seconds)
    kind = Kind.SIMULATED if simulated else Kind.MEASURED
    rate = f"{frames_per_second:g} frames a second"
    found["duty.busy_share"] = known("duty.busy_share", share, f"{rate} times the mean time of a frame", kind)
    if share > 1.0:
        why = f"the device cannot keep the rate: {rate} take {share:.3g} times the time there is"
    elif isinstance(power, Absent):
        why = power.reason
    elif power.budget is None:
        why = "no valid window"
    elif power.budget.idle_w is None:
        why = NO_IDLE
    else:
        value, trials = always_on_power(power.budget, frames_per_second, seconds)
        how = f"energy of a frame at {rate}, idle between frames; {len(power.valid)} windows"
        low, high = (float(end) for end in np.quantile(trials, [TAIL, 1 - TAIL]))
        found["duty.power"] = known("duty.power", value, how, kind, interval=(low, high), n=len(power.valid))
        found["duty.battery_life"] = battery_life(value, cell, kind)
        return found
    return found | missing(names[1:], why)


def always_on_power(
    budget: PowerBudget, frames_per_second: float, frame_seconds: float
) -> tuple[float, FloatArray]:
    """Mean power of a device that computes frames at a rate and idles between them, milliwatts.

    Args:
        budget: Power of the metered windows; its idle power was measured.
        frames_per_second: How often a frame comes.
        frame_seconds: Mean time of a frame.

    Returns:
        The best estimate, and one value for every trial of the propagation.
    """
    idle, frame = budget.idle_w, budget.energy_per_inference_j
    assert idle is not None

    rate = (frames_per_second, frame_seconds)
    value = mean_power_mw(frame.value * _MICRO, idle.value * _MILLI, *rate)
    return value, mean_power_mw(frame.trials * _MICRO, idle.trials * _MILLI, *rate)
