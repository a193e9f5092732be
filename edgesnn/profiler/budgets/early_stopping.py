"""What a sample of times can show about a limit on a percentile: the early-stopping bound of MLPerf.

Source: MLPerf inference rules, appendix "early stopping": with h samples under the limit and t over it, the
percentile p is shown to lie below the limit when ``I_p(h, t + 1) <= 1 - c``, with I the regularised
incomplete beta function, confidence c = 0.99 and tolerance d = 0. It is the probability of at most t samples
over the limit if exactly a share 1 - p of all calls were over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

from edgesnn.profiler.budgets.statistics import FloatArray, autocorrelation_time, rank_autocorrelation_time

#: Confidence of a verdict on a percentile.
CONFIDENCE = 0.99
_MOST_SAMPLES = 10_000_000


#: A percentile shown to lie beyond the limit by this factor needs no correction for correlated neighbours.
MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class LimitTest:
    """What a series shows about "percentile q lies below the limit".

    Attributes:
        n: Independent samples that the test counts: all of them with a margin, else samples over tau.
        over: Samples at or over the limit that it counts, likewise, rounded to the worse side.
        tau: Autocorrelation time that both were divided by; 1 with a margin.
        margin: Whether a limit tighter by `MARGIN` on the side of the verdict is shown as well, counting
            every sample.
        shown_below: The percentile lies below the limit, with confidence 0.99.
        shown_above: The percentile lies at or above it, with confidence 0.99.
        samples_needed: Samples of such a series that would decide if the share over the limit stays;
            None when decided, or when ten million would not do.
    """

    n: int
    over: int
    tau: float
    margin: bool
    shown_below: bool
    shown_above: bool
    samples_needed: int | None


def shows_below(n: int, over: int, q: float, confidence: float = CONFIDENCE) -> bool:
    """Whether so few samples over the limit show that a percentile lies below it.

    Args:
        n: Independent samples, h + t.
        over: t.
        q: The percentile, 0..1.
        confidence: c.
    """
    under = n - over
    return under > 0 and float(betainc(under, over + 1, q)) <= 1.0 - confidence


def shows_above(n: int, over: int, q: float, confidence: float = CONFIDENCE) -> bool:
    """The mirror of `shows_below`: so many samples over the limit would be that unlikely if q were below it.

    Args:
        n: Independent samples.
        over: How many are at or over the limit.
        q: The percentile, 0..1.
        confidence: c.
    """
    return over > 0 and float(betainc(over, n - over + 1, 1.0 - q)) <= 1.0 - confidence


def judge_limit(values: FloatArray, limit: float, q: float) -> LimitTest:
    """Judge a limit on a percentile.

    The bound of MLPerf counts every sample as independent. Here that is enough only with a margin, that is
    when the same bound also holds for half the limit (or, to show that it is exceeded, for twice the limit):
    slow and fast phases of a machine do not differ by more. Without it both counts are divided by the
    autocorrelation time, the larger of the ranks' and that of "at or over the limit".

    Args:
        values: Times in milliseconds, in the order they were taken.
        limit: The percentile must lie below it.
        q: The percentile, 0..1.
    """
    n, over_all = len(values), values >= limit
    over = int(over_all.sum())
    far_below = shows_below(n, int((values >= limit / MARGIN).sum()), q)
    far_above = shows_above(n, int((values >= limit * MARGIN).sum()), q)
    if far_below or far_above:
        return LimitTest(n, over, 1.0, True, far_below, far_above, None)
    tau = max(rank_autocorrelation_time(values), autocorrelation_time(over_all.astype(np.float64)))
    m = int(n / tau)
    worse = min(m, math.ceil(over / tau))
    below, above = shows_below(m, worse, q), shows_above(m, math.floor(over / tau), q)
    needed = None if below or above else _samples_needed(m, over / tau, q)
    return LimitTest(m, worse, tau, False, below, above, None if needed is None else math.ceil(needed * tau))


def _samples_needed(n: int, over: float, q: float) -> int | None:
    rate = over / n if n else 0.0

    def decides(m: int) -> bool:
        if rate <= 1.0 - q:
            return shows_below(m, math.ceil(rate * m - 1e-9), q)
        return shows_above(m, math.floor(rate * m + 1e-9), q)

    low, high = n, max(2 * n, 2)
    while not decides(high):
        low, high = high, 2 * high
        if high > _MOST_SAMPLES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
