"""Times, energies and memory: log ratios over windows that took turns, or over sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from edgesnn.reports.comparing import statistics as st
from edgesnn.reports.comparing.judging import HolmCandidate, judge_family, untested
from edgesnn.reports.comparing.result import ChangeScale, Family, MetricResult, Outcome
from edgesnn.reports.comparing.summary import RepeatedValues, SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

#: Fewest sessions of a stored baseline before its times and energies gate.
MIN_SESSIONS = 5
_MIN_REPEATS = 2


class Mode(StrEnum):
    """Where the variance of times and energies comes from."""

    INTERLEAVED = "interleaved"  #: windows of both sides took turns in one session
    SESSIONS = "sessions"  #: the base holds enough sessions
    NONE = "none"  #: nobody knows it: times and energies are information only


@dataclass(frozen=True, slots=True)
class Variance:
    """Where the variance of times and energies comes from, and the sentence that says so.

    Attributes:
        mode: Where.
        why: The sentence.
    """

    mode: Mode
    why: str


def compare_series(
    family: Family,
    base: Sequence[SummarisedRun],
    heads: Sequence[SummarisedRun],
    variance: Variance,
    *,
    limits: Thresholds,
    level: float,
) -> list[MetricResult]:
    """Compare everything of one family that has one value per repetition.

    Args:
        family: Times, energies or memory.
        base: Sessions of the base.
        heads: Sessions of the head.
        variance: Where the variance between sessions comes from.
        limits: Smallest changes that count.
        level: Confidence that all intervals of the family hold together.
    """
    names = dict.fromkeys(
        name for one in (*base, *heads) for name, series in one.series.items() if series.family is family
    )
    candidates: list[HolmCandidate] = []
    settled: list[MetricResult] = []
    for name in names:
        old = [(one, one.series[name]) for one in base if name in one.series]
        new = [(one, one.series[name]) for one in heads if name in one.series]
        result = _candidate(name, family, old, new, variance)
        if isinstance(result, HolmCandidate):
            candidates.append(result)
        else:
            settled.append(result)
    return [*judge_family(candidates, limits, level), *settled]


_Sessions = Sequence[tuple[SummarisedRun, RepeatedValues]]


def _candidate(
    name: str, family: Family, old: _Sessions, new: _Sessions, variance: Variance
) -> HolmCandidate | MetricResult:
    """A metric ready for Holm, or its result where there is nothing to test."""
    some = (new or old)[0][1]

    def settled(outcome: Outcome, reason: str) -> MetricResult:
        values = [_geometric_mean(side) for side in (old, new)]
        change = None
        if values[0] is not None and values[1] is not None and _one_unit(old, new):
            change = math.log(values[1] / values[0])
        return untested(
            name,
            family,
            some.unit,
            some.kind,
            base=values[0],
            head=values[1],
            change=change,
            outcome=outcome,
            reason=reason,
            unit_of_n=some.unit_of_n,
        )

    if not old or not new:
        side = "base" if not old else "head"
        outcome = Outcome.INFORMATION if not old else Outcome.INCONCLUSIVE
        return settled(outcome, f"the {side} has no value")
    everything = [series for _, series in (*old, *new)]
    if not _one_unit(old, new):
        units = " and ".join(dict.fromkeys(series.unit for series in everything))
        return settled(Outcome.INCONCLUSIVE, f"mixed units: {units}")
    if len({series.kind for series in everything}) > 1:
        return settled(Outcome.INFORMATION, "one side is SIMULATED, the other is not")
    if variance.mode is Mode.NONE:
        return settled(Outcome.INFORMATION, variance.why)
    if family is Family.ENERGIES and len({one.meter_identity for one, _ in (*old, *new)}) > 1:
        return settled(Outcome.INFORMATION, "another meter or calibration: its gain error does not cancel")
    if min(value for series in everything for value in series.values) <= 0:
        return settled(Outcome.INCONCLUSIVE, "a value that is not above 0 has no ratio")
    a = [np.log(series.values).tolist() for _, series in old]
    b = [np.log(series.values).tolist() for _, series in new]
    if variance.mode is Mode.INTERLEAVED:
        return _interleaved(name, old, new, (a, b)) or settled(
            Outcome.INCONCLUSIVE, f"fewer than {_MIN_REPEATS} {some.unit_of_n} on one side"
        )
    if len(a) < MIN_SESSIONS:
        return settled(Outcome.INFORMATION, f"{len(a)} of {MIN_SESSIONS} sessions of the base have it")
    estimate = st.between_sessions(a, b)
    of_session = estimate.parts[0].variance / (1 / len(a) + 1 / len(b))
    return HolmCandidate(
        name, family, some.unit, some.kind, _mean_exp(a), _mean_exp(b), ChangeScale.LOG_RATIO, "lower",
        estimate, len(a), len(b), "sessions", "log ratio, session as a random effect, pooled t", lambda half,
        level: st.needed_sessions(of_session, half, level),
    )  # fmt: skip


def _interleaved(
    name: str, old: _Sessions, new: _Sessions, logs: tuple[list[list[float]], list[list[float]]]
) -> HolmCandidate | None:
    some, (a, b) = new[0][1], logs
    by_id = {one.interleaving: values for (one, _), values in zip(old, a, strict=True)}
    pairs = [(by_id.get(one.interleaving, []), values) for (one, _), values in zip(new, b, strict=True)]
    if min(len(values) for pair in pairs for values in pair) < _MIN_REPEATS:
        return None
    estimate = st.together([st.welch(*pair) for pair in pairs])
    flat_a, flat_b = [v for pair in pairs for v in pair[0]], [v for pair in pairs for v in pair[1]]
    return HolmCandidate(
        name, some.family, some.unit, some.kind, _mean_exp(a), _mean_exp(b), ChangeScale.LOG_RATIO, "lower",
        estimate, len(flat_a), len(flat_b), some.unit_of_n, f"log ratio, Welch t over {some.unit_of_n}",
        lambda half, level: st.needed_windows(flat_a, flat_b, half, level),
    )  # fmt: skip


def _one_unit(old: _Sessions, new: _Sessions) -> bool:
    return len({series.unit for _, series in (*old, *new)}) == 1


def _mean_exp(logs: Sequence[Sequence[float]]) -> float:
    """Geometric mean over sessions of their geometric means."""
    return math.exp(sum(sum(one) / len(one) for one in logs) / len(logs))


def _geometric_mean(side: _Sessions) -> float | None:
    values = [series.values for _, series in side]
    if not values or min(min(one) for one in values) <= 0:
        return None
    return _mean_exp([np.log(one).tolist() for one in values])
