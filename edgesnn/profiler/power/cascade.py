"""A cascade: a wake network that is always on, and a language model that answers when it decides so.

On one device the wake network computes a frame and idles until the next one; its power holds the idle power.
A decision for anything but the background asks for an answer, whether there was an event or not, so answers
add what they draw above idle:

    P = P_wake + A (P_busy - P_idle) t_answer,    A = E s + (W - E) f

E are events an hour, W decisions an hour, s and f the shares of events and of other windows that wake it, as
held-out windows show. Uncertainty is propagated by Monte Carlo, as `edgesnn.profiler.power.uncertainty` does:
both sessions draw the same instrument, so its gain does not average out; s and f are drawn from Beta
distributions (Jeffreys: L. D. Brown, T. T. Cai, A. DasGupta, Interval estimation for a binomial proportion,
Statistical Science 16, 2001), the mean time of an answer from the normal distribution of its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from edgesnn.profiler.budgets.profile import Cascade, Cell
from edgesnn.profiler.budgets.statistics import FloatArray
from edgesnn.profiler.frame_quantities import NO_IDLE, NO_LENGTH, always_on_power
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.generation import GenerationSession
from edgesnn.profiler.power.duty import SECONDS_PER_HOUR, battery_life, busy_share
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.uncertainty import TAIL, TRIALS, PowerBudget
from edgesnn.profiler.quality.decisions import NO_LABELS, DecisionAccuracy, share_interval
from edgesnn.profiler.results import Absent
from edgesnn.record.cascade import WakeNetwork
from edgesnn.record.quantities import GROUPS, Kind, Quantities, Quantity, QuantityGroup, known, missing

_MILLI, _MICRO = 1e3, 1e6
_SEED = 20_240_601
_NAMES = tuple(one.name for one in GROUPS[QuantityGroup.CASCADE])
_POWERS = ("answer_energy", "wake_power", "answers_power", "power", "battery_life")

NO_ANSWERS = "no whole answer was timed: the workload's kind must be prompt or sentence"


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredWake:
    """What was measured of the wake network.

    Attributes:
        name: Name of its bundle.
        program_hash: Of its program.
        quantities: Its quantities, all of them.
        accuracy: What golden decides on its held-out windows, or why nothing.
        timed: Its times, or why there are none.
        metered: Its power, or why there is none.
        simulated: Whether its device or meter is a simulation.
    """

    name: str
    program_hash: str
    quantities: Quantities
    accuracy: DecisionAccuracy | Absent
    timed: FrameSession | Absent
    metered: PowerResult | Absent
    simulated: bool


class _Wakes(NamedTuple):
    """Of held-out windows: events and others, and how many of each wake it."""

    events: int
    heard: int
    others: int
    false: int


class _Pair(NamedTuple):
    """A quantity: its best estimate and its draws."""

    value: float
    trials: FloatArray


class _Drawn(NamedTuple):
    """What a meter is needed for, each with how it was taken."""

    answer_energy: tuple[_Pair, str]
    wake_power: tuple[_Pair, str]
    answers_power: tuple[_Pair, str]
    power: tuple[_Pair, str]


def wake_network(wake: MeasuredWake, cascade: Cascade) -> WakeNetwork:
    """The wake network as a record keeps it."""
    found = _wakes(wake.accuracy, cascade.background)
    counts = None if isinstance(found, Absent) else found
    frames = None if isinstance(wake.timed, Absent) else wake.timed.decision_frames
    return WakeNetwork(
        name=wake.name,
        program_hash=wake.program_hash,
        frames_per_second=cascade.frames_per_second,
        events_per_hour=cascade.events_per_hour,
        background=cascade.background,
        decision_frames=frames,
        events=None if counts is None else counts.events,
        events_heard=None if counts is None else counts.heard,
        others=None if counts is None else counts.others,
        others_heard=None if counts is None else counts.false,
        quantities=wake.quantities,
    )


def cascade_quantities(
    wake: MeasuredWake,
    cascade: Cascade,
    answers: GenerationSession | Absent | None,
    power: PowerResult | Absent,
    cell: Cell | None,
    *,
    simulated: bool,
) -> Quantities:
    """How often the wake network asks for an answer, and what both draw together.

    Args:
        wake: The wake network.
        cascade: How often its frames and events come.
        answers: The whole answers of the language model; None where the profile asks for none.
        power: The metered session of the language model.
        cell: The cell of the profile.
        simulated: Whether the language model's device or meter is a simulation.
    """
    found = _wakes(wake.accuracy, cascade.background)
    if isinstance(found, Absent):
        return missing(_NAMES, found.reason)
    shares = _share_quantities(found)
    timed = wake.timed
    if isinstance(timed, Absent) or timed.decision_frames is None:
        why = timed.reason if isinstance(timed, Absent) else NO_LENGTH
        return shares | missing(_NAMES[2:], why)
    decisions = cascade.frames_per_second * SECONDS_PER_HOUR / timed.decision_frames
    if cascade.events_per_hour > decisions:
        why = f"{cascade.events_per_hour:g} events an hour, but only {decisions:.4g} decisions"
        return shares | missing(_NAMES[2:], why)
    rng = np.random.default_rng(_SEED)
    others = decisions - cascade.events_per_hour
    true, false = _share(found.heard, found.events, rng), _share(found.false, found.others, rng)
    falsely = _Pair(others * false.value, others * false.trials)
    rate = _Pair(
        cascade.events_per_hour * true.value + falsely.value,
        cascade.events_per_hour * true.trials + falsely.trials,
    )
    asked = f"{cascade.events_per_hour:g} events and {decisions:,.0f} decisions an hour"
    kind = Kind.SIMULATED if wake.simulated or simulated else Kind.MEASURED
    shares |= {
        "cascade.false_wakes_per_hour": _known("false_wakes_per_hour", falsely, asked, Kind.MEASURED),
        "cascade.answers_per_hour": _known(
            "answers_per_hour", rate, f"true and false; {asked}", Kind.MEASURED
        ),
    }
    drawn = _powers(wake, timed, cascade, answers, power, rate=rate)
    if isinstance(drawn, Absent):
        return shares | missing([f"cascade.{name}" for name in _POWERS], drawn.reason)
    for name, (pair, how) in drawn._asdict().items():
        shares[f"cascade.{name}"] = _known(name, pair, how, kind)
    name = "cascade.battery_life"
    return shares | {name: battery_life(drawn.power[0].value, cell, kind, name)}


def _powers(
    wake: MeasuredWake,
    timed: FrameSession,
    cascade: Cascade,
    answers: GenerationSession | Absent | None,
    power: PowerResult | Absent,
    *,
    rate: _Pair,
) -> _Drawn | Absent:
    """Energy of an answer and the powers, each with how it was taken; or why there are none."""
    if answers is None:
        return Absent(NO_ANSWERS)
    if isinstance(answers, Absent):
        return answers
    listening, answering = _budget(wake.metered), _budget(power)
    if isinstance(listening, Absent):
        return listening
    if isinstance(answering, Absent):
        return answering
    dynamic = answering.dynamic_w
    if listening.idle_w is None or dynamic is None:
        return Absent(NO_IDLE)
    frame_s = timed.forward.mean_ms / 1000.0
    seconds = answers.total_ms / 1000.0
    busy = busy_share(cascade.frames_per_second, frame_s) + rate.value * seconds.mean() / SECONDS_PER_HOUR
    if busy > 1.0:
        return Absent(
            f"the device cannot keep up: frames and answers take {busy:.3g} times the time there is"
        )
    spread = seconds.std(ddof=1) / np.sqrt(len(seconds)) if len(seconds) > 1 else 0.0
    lasting = np.random.default_rng(_SEED + 1).normal(seconds.mean(), spread, TRIALS)
    energy = _Pair(
        dynamic.value * float(seconds.mean()) * _MICRO, dynamic.trials * np.maximum(lasting, 0.0) * _MICRO
    )
    per = _MILLI * SECONDS_PER_HOUR  # an uJ an hour is so many parts of a mW
    added = _Pair(rate.value * energy.value / per, rate.trials * energy.trials / per)
    always = _Pair(*always_on_power(listening, cascade.frames_per_second, frame_s))
    together = _Pair(always.value + added.value, always.trials + added.trials)
    n = len(seconds)
    return _Drawn(
        answer_energy=(energy, f"mean power above idle for the mean time of {n} answers"),
        wake_power=(always, f"{cascade.frames_per_second:g} frames a second, idle between them"),
        answers_power=(added, "energy of an answer above idle, times answers an hour"),
        power=(together, "wake network always on, and its answers, on one device"),
    )


def _budget(power: PowerResult | Absent) -> PowerBudget | Absent:
    if isinstance(power, Absent):
        return power
    return Absent("no valid window") if power.budget is None else power.budget


def _wakes(accuracy: DecisionAccuracy | Absent, background: int) -> _Wakes | Absent:
    """How often it wakes, by what there was; a decision for another event than there was wakes it too."""
    if isinstance(accuracy, Absent):
        return accuracy
    labels = accuracy.held_out.labels
    if labels is None:
        return Absent(NO_LABELS)
    event, fires = labels != background, accuracy.decided != background
    found = _Wakes(
        int(event.sum()), int((event & fires).sum()), int((~event).sum()), int((~event & fires).sum())
    )
    if not found.events or not found.others:
        what = "events" if not found.events else f"windows of the background, class {background}"
        return Absent(f"the held-out windows hold no {what}")
    return found


def _share(hits: int, count: int, rng: np.random.Generator) -> _Pair:
    """A share with draws whose percentiles are the ends of its exact interval (Clopper and Pearson).

    So they hold the share itself, also where it is 0 or 1, and agree with `share_interval`.
    """
    at = rng.random(TRIALS)
    low = betaincinv(hits, count - hits + 1, at) if hits else np.zeros(TRIALS)
    high = betaincinv(hits + 1, count - hits, at) if hits < count else np.ones(TRIALS)
    return _Pair(hits / count, np.where(at < 0.5, low, high))


def _share_quantities(found: _Wakes) -> Quantities:
    rows = {
        "cascade.true_wakes": (found.heard, found.events, "held-out windows with an event"),
        "cascade.false_wakes": (found.false, found.others, "held-out windows without one"),
    }
    return {
        name: known(
            name,
            hits / count,
            f"golden on {count:,} {what}",
            interval=share_interval(hits, count),
            n=count,
        )
        for name, (hits, count, what) in rows.items()
    }


def _known(name: str, pair: _Pair, how: str, kind: Kind) -> Quantity:
    low, high = (float(end) for end in np.quantile(pair.trials, [TAIL, 1 - TAIL]))
    return known(f"cascade.{name}", pair.value, how, kind, interval=(low, high))
