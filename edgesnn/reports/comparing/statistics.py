"""Intervals of a change: Welch's t, sessions as a random effect, bootstrap over documents, Holm.

Every estimator gives an `Estimate`: a change with its variance as a sum of parts, each with its degrees of
freedom (Satterthwaite's rule joins them), or with bootstrap draws. `holm` then chooses the confidence of each
interval so that all intervals of one family hold together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from edgesnn.bootstrap import draws_beyond, tail_beyond

FloatArray = npt.NDArray[np.float64]

#: Draws of the bootstrap; the tail of a 95 % interval under Holm with three metrics holds 83 of them.
RESAMPLES = 10_000
#: Fewest documents whose bootstrap is trusted. A percentile interval over few units is too short: over five
#: it gives 12 % false alarms at a nominal 5 % (measured for this project's design).
MIN_DOCUMENTS = 20
_CHUNK = 1_000_000
#: Most repetitions that "how many would decide" looks for.
MOST_NEEDED = 100_000


@dataclass(frozen=True, slots=True)
class VariancePart:
    """One part of a variance.

    Attributes:
        variance: The part.
        degrees_of_freedom: Those of its estimate.
    """

    variance: float
    degrees_of_freedom: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A change and what is known of its error.

    Attributes:
        change: The change, positive when head is larger.
        parts: Parts of its variance; empty when `draws` are there.
        draws: Sorted bootstrap draws of the change, or None.
        units: What was drawn from, for example documents, at least two where there are draws.
    """

    change: float
    parts: tuple[VariancePart, ...] = ()
    draws: FloatArray | None = None
    units: int = 0

    @property
    def standard_error(self) -> float:
        """Root of the variance."""
        return math.sqrt(sum(part.variance for part in self.parts))

    @property
    def degrees_of_freedom(self) -> float | None:
        """By Satterthwaite's rule, of the parts together; None for a bootstrap or without any variance.

        Source: F. E. Satterthwaite, An approximate distribution of estimates of variance components,
        Biometrics Bulletin 2, 1946; for two parts it is Welch's formula.
        """
        total = sum(part.variance for part in self.parts)
        if total == 0:
            return None
        weight = sum(part.variance**2 / part.degrees_of_freedom for part in self.parts)
        return total**2 / weight

    def p_value(self) -> float:
        """Two-sided probability of a change this far from 0 when there is none."""
        if self.draws is not None:
            below, above = float(np.mean(self.draws <= 0)), float(np.mean(self.draws >= 0))
            tail = max(1.0 / len(self.draws), min(below, above, 0.5))
            return 2.0 * tail_beyond(tail, self.units)
        freedom = self.degrees_of_freedom
        if freedom is None:
            return 1.0 if self.change == 0 else 0.0
        return float(2.0 * stdtr(freedom, -abs(self.change) / self.standard_error))

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of the change.

        Args:
            level: Its confidence, 0..1.
        """
        tail = (1.0 - level) / 2.0
        if self.draws is not None:
            beyond = draws_beyond(tail, self.units)
            low, high = np.quantile(self.draws, [beyond, 1.0 - beyond])
            return float(low), float(high)
        freedom = self.degrees_of_freedom
        if freedom is None:
            return self.change, self.change
        half = float(stdtrit(freedom, 1.0 - tail)) * self.standard_error
        return self.change - half, self.change + half


def welch(base: Sequence[float], head: Sequence[float]) -> Estimate:
    """Difference of two means with unequal variances.

    Source: B. L. Welch, The generalization of Student's problem, Biometrika 34, 1947.

    Args:
        base: Values of the base, at least two; logarithms for a ratio.
        head: Values of the head, at least two.
    """
    a, b = np.asarray(base, np.float64), np.asarray(head, np.float64)
    parts = tuple(_mean_part(values) for values in (a, b))
    return Estimate(float(b.mean() - a.mean()), parts)


def together(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates of one change, for example of several interleaved sessions."""
    count = len(estimates)
    parts = tuple(
        VariancePart(part.variance / count**2, part.degrees_of_freedom)
        for one in estimates
        for part in one.parts
    )
    return Estimate(sum(one.change for one in estimates) / count, parts)


def between_sessions(base: Sequence[Sequence[float]], head: Sequence[Sequence[float]]) -> Estimate:
    """Difference of means when every session has an offset of its own (random effect).

    With session means ``m_i`` the variance of one mean over k sessions is ``s^2 / k``; ``s^2`` holds the
    variance between sessions and that of the windows within, and is pooled over both sides, because sessions
    of one place vary alike whatever runs in them. A head with fewer or noisier windows than the base gets the
    variance that its windows lack as a part of its own: that of its own windows, and at least what as few
    windows of the base would have. One window alone says nothing of its variance.

    Args:
        base: Values by session, at least two sessions.
        head: Values by session, at least one.
    """
    a = np.array([np.mean(one) for one in base])
    b = np.array([np.mean(one) for one in head])
    freedom = (len(a) - 1) + (len(b) - 1)
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    pooled = squares / freedom
    parts = [VariancePart(pooled * (1 / len(a) + 1 / len(b)), freedom)]
    window, known = _within(base)
    if known:
        usual = window * float(np.mean([1 / len(one) for one in base]))
        fewer = VariancePart(window * float(np.mean([1 / len(one) for one in head])), known)
        own = [_mean_part(np.asarray(one)) for one in head if len(one) > 1]
        noisier = VariancePart(
            sum(part.variance for part in own) / max(len(own), 1),
            sum(part.degrees_of_freedom for part in own),
        )
        most = max(fewer, noisier, key=lambda part: part.variance)
        lacking = (most.variance - usual) / len(b)
        if lacking > 0 and most is fewer:  # of the base itself: no more is known of it than of its sessions
            parts = [VariancePart(parts[0].variance + lacking, min(freedom, known))]
        elif lacking > 0:
            parts.append(VariancePart(lacking, most.degrees_of_freedom))
    return Estimate(float(b.mean() - a.mean()), tuple(parts))


def _within(sessions: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Variance of a window within its session, over all sessions, and its degrees of freedom."""
    arrays = [np.asarray(one, np.float64) for one in sessions]
    freedom = sum(len(one) - 1 for one in arrays)
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in arrays)
    return (squares / freedom if freedom else 0.0), freedom


def _mean_part(values: FloatArray) -> VariancePart:
    """Variance of a mean."""
    return VariancePart(float(values.var(ddof=1)) / len(values), len(values) - 1)


def paired_ratio_difference(
    base: tuple[FloatArray, FloatArray], head: tuple[FloatArray, FloatArray], seed: int = 0
) -> Estimate:
    """Difference of two ratios of sums, head less base, documents drawn with replacement, the same for both.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        base: Numerator and denominator by document, ``[documents]``.
        head: Likewise, the same documents in the same order.
        seed: Seed of the draws.
    """
    columns = np.stack([*base, *head], axis=1)
    documents = len(columns)
    generator = np.random.default_rng(seed)
    draws = np.empty(RESAMPLES)
    step = max(1, _CHUNK // documents)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        # How often each document was drawn, times its numbers: far less memory traffic than gathering them.
        picked = generator.integers(0, documents, (rows, documents)) + documents * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * documents).reshape(rows, documents)
        sums = times @ columns
        draws[start : start + rows] = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    change = float(head[0].sum() / head[1].sum() - base[0].sum() / base[1].sum())
    return Estimate(change, draws=np.sort(draws), units=documents)


def holm(p_values: Mapping[str, float], level: float) -> dict[str, float]:
    """Confidence of each interval such that excluding 0 is Holm's decision.

    The smallest p-value meets ``alpha / m``, the next ``alpha / (m - 1)`` and so on; from the first that
    fails all the rest keep the confidence of that one.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.

    Args:
        p_values: Two-sided p-values by metric.
        level: Confidence that all intervals hold together.
    """
    alpha, stopped = 1.0 - level, False
    levels: dict[str, float] = {}
    share = alpha
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if not stopped:
            share = alpha / (len(p_values) - rank)
            stopped = p > share
        levels[name] = 1.0 - share
    return levels


def needed_windows(base: Sequence[float], head: Sequence[float], half: float, level: float) -> int | None:
    """Windows on each side that would make the interval of `welch` as short as asked.

    Args:
        base: Values of the base.
        head: Values of the head.
        half: Half-width that would decide.
        level: Confidence of the interval.

    Returns:
        The least number, or None beyond `MOST_NEEDED`.
    """
    a, b = float(np.var(base, ddof=1)), float(np.var(head, ddof=1))

    def half_of(n: int) -> float:
        freedom = (a + b) ** 2 / ((a**2 + b**2) / (n - 1))
        return float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt((a + b) / n)

    return _least(half_of, half) if a + b > 0 else None


def needed_sessions(variance: float, half: float, level: float) -> int | None:
    """Sessions on each side that would make the interval of `between_sessions` as short as asked.

    Args:
        variance: Variance of a session's mean.
        half: Half-width that would decide.
        level: Confidence of the interval.
    """

    def half_of(n: int) -> float:
        return float(stdtrit(2 * n - 2, (1 + level) / 2)) * math.sqrt(2 * variance / n)

    return _least(half_of, half) if variance > 0 else None


def _least(half_of: Callable[[int], float], half: float) -> int | None:
    """Least n from 2 on with ``half_of(n) <= half``; ``half_of`` falls with n."""
    if half <= 0 or half_of(MOST_NEEDED) > half:
        return None
    low, high = 1, MOST_NEEDED
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half_of(middle) <= half else (middle, high)
    return high
