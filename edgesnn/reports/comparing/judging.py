"""Judging a metric: its estimate waits for Holm, then the interval gives the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgesnn.reports.comparing.result import ChangeScale, Family, MetricResult, Outcome
from edgesnn.reports.comparing.statistics import Estimate, holm
from edgesnn.reports.comparing.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class HolmCandidate:
    """A metric whose interval waits for Holm."""

    name: str
    family: Family
    unit: str
    kind: str
    base: float
    head: float
    scale: ChangeScale
    better: str
    estimate: Estimate
    n_base: int
    n_head: int
    unit_of_n: str
    method: str
    needed: Callable[[float, float], int | None]


def judge_family(candidates: Sequence[HolmCandidate], limits: Thresholds, level: float) -> list[MetricResult]:
    """Judge the metrics of one family.

    Args:
        candidates: The metrics.
        limits: Smallest changes that count.
        level: Confidence that all their intervals hold together.
    """
    levels = holm({one.name: one.estimate.p_value() for one in candidates}, level)
    return [_judge(one, limits.of(one.name, one.family, one.scale), levels[one.name]) for one in candidates]


def _judge(one: HolmCandidate, threshold: float, level: float) -> MetricResult:
    low, high = one.estimate.interval(level)
    change = one.estimate.change
    outcome = outcome_of(change, low, high, threshold, one.better)
    reason = needed = None
    if outcome is Outcome.INCONCLUSIVE:
        distance = abs(change) if abs(change) >= threshold else threshold - abs(change)
        needed = one.needed(distance, level)
        many = f"about {needed:,} {one.unit_of_n} on each side would decide" if needed else None
        reason = many or f"no number of {one.unit_of_n} would decide: the change stands at the threshold"
    return replace(
        untested(
            one.name,
            one.family,
            one.unit,
            one.kind,
            base=one.base,
            head=one.head,
            change=change,
            outcome=outcome,
            reason=reason,
            unit_of_n=one.unit_of_n,
            scale=one.scale,
            better=one.better,
            threshold=threshold,
            method=one.method,
        ),
        lower=low,
        upper=high,
        level=level,
        degrees_of_freedom=one.estimate.degrees_of_freedom,
        p_value=one.estimate.p_value(),
        n_base=one.n_base,
        n_head=one.n_head,
        needed=needed,
    )


def outcome_of(change: float, low: float, high: float, threshold: float, better: str) -> Outcome:
    """What an interval says.

    Args:
        change: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        threshold: Smallest change that counts, positive.
        better: ``lower`` or ``higher``.

    Returns:
        A regression when the interval excludes 0 on the bad side and the estimate is at least the threshold;
        an improvement likewise on the good side; no change when the interval lies inside the threshold on
        both sides; inconclusive otherwise.
    """
    if better == "higher":
        change, low, high = -change, -high, -low
    if low > 0 and change >= threshold:
        return Outcome.REGRESSION
    if high < 0 and -change >= threshold:
        return Outcome.IMPROVEMENT
    if -threshold < low and high < threshold:
        return Outcome.NO_CHANGE
    return Outcome.INCONCLUSIVE


def untested(
    name: str,
    family: Family,
    unit: str,
    kind: str,
    *,
    base: float | None,
    head: float | None,
    change: float | None,
    outcome: Outcome,
    reason: str | None,
    unit_of_n: str,
    scale: ChangeScale = ChangeScale.LOG_RATIO,
    better: str = "lower",
    threshold: float = 0.0,
    method: str = "none",
) -> MetricResult:
    """A metric without interval: compared exactly, information, or something that stayed open."""
    return MetricResult(
        name=name,
        family=family,
        unit=unit,
        kind=kind,
        base=base,
        head=head,
        scale=scale,
        change=change,
        lower=None,
        upper=None,
        threshold=threshold,
        better=better,
        level=None,
        degrees_of_freedom=None,
        p_value=None,
        n_base=None,
        n_head=None,
        unit_of_n=unit_of_n,
        outcome=outcome,
        gates=outcome is not Outcome.INFORMATION,
        reason=reason,
        needed=None,
        method=method,
    )
