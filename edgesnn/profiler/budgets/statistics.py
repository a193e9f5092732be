"""Statistics of latencies: percentiles with distribution-free intervals, effective sample size, drift.

Nothing here assumes a distribution. Neighbouring calls are correlated (caches, clocks and interrupts last
longer than one call), so every interval stands on an effective number of samples that is stated beside it:
``effective_n = n / tau`` with the integrated autocorrelation time ``tau = 1 + 2 * sum(rho_k)``, estimated by
Geyer's initial monotone positive sequence (C. J. Geyer, Practical Markov Chain Monte Carlo, 1992). For a
percentile tau is the larger of the ranks' and that of the indicator "at most the percentile", as in
A. Vehtari et al., Rank-normalization, folding, and localization, 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, bdtrik

from edgesnn.record.timing import Drift

FloatArray = npt.NDArray[np.float64]

#: Confidence of intervals.
CONFIDENCE = 0.95
#: Percentiles that every summary reports.
PERCENTILES = (0.50, 0.90, 0.95, 0.99)
#: Least n whose largest value bounds p99 from above with 95 % confidence: ``0.99**299 < 0.05``.
P99_MIN_SAMPLES = 299
#: A change between first and last quarter below this is not called drift.
DRIFT_THRESHOLD = 0.05
#: Fewest samples in which drift is looked for.
DRIFT_MIN_SAMPLES = 40


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile with its distribution-free interval.

    Attributes:
        q: Which one, 0..1.
        value_ms: The order statistic ``ceil(n * q)``.
        lower_ms: Lower end of the 95 % interval, or None where the sample is too small to give one.
        upper_ms: Upper end, or None likewise.
        effective_n: Number of independent samples that the interval stands on.
    """

    q: float
    value_ms: float
    lower_ms: float | None
    upper_ms: float | None
    effective_n: float


@dataclass(frozen=True, slots=True)
class TimesSummary:
    """A series of times.

    Attributes:
        n: Samples.
        autocorrelation_time: tau of the ranks, in samples; 1 when neighbours are independent.
        effective_n: ``n / tau``.
        min_ms: Smallest.
        mean_ms: Mean.
        max_ms: Largest.
        percentiles: p50, p90, p95, p99.
        p99_note: What the sample cannot say about p99; None when it can bound it.
        drift: First against last quarter, or None with fewer than 40 samples.
    """

    n: int
    autocorrelation_time: float
    effective_n: float
    min_ms: float
    mean_ms: float
    max_ms: float
    percentiles: tuple[Percentile, ...]
    p99_note: str | None
    drift: Drift | None

    def percentile(self, q: float) -> Percentile:
        """One of the reported percentiles."""
        return next(p for p in self.percentiles if math.isclose(p.q, q))


def autocorrelation_time(series: FloatArray) -> float:
    """Integrated autocorrelation time of a series, in samples, at least 1.

    Args:
        series: Values in the order they were taken.

    Returns:
        ``1 + 2 * sum(rho_k)`` over Geyer's initial monotone positive sequence; 1 for a constant or a series
        of fewer than 8 values; at most n.
    """
    n = len(series)
    centred = series - series.mean() if n else series
    if n < 8 or not np.any(centred):
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n]
    rho = covariance / covariance[0]
    pairs = rho[: 2 * (n // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    kept = pairs[: int(negative[0])] if len(negative) else pairs
    kept = np.minimum.accumulate(kept)
    return float(np.clip(2.0 * kept.sum() - 1.0, 1.0, n))


def rank_autocorrelation_time(values: FloatArray) -> float:
    """`autocorrelation_time` of the ranks, which outliers cannot hide."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal values share the mean of their ranks
    return autocorrelation_time(ranks[places])


def order_interval(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks of the order statistics between which a quantile lies.

    ``P(X_(r) <= x_q <= X_(s)) >= confidence`` for n independent samples, because the number of samples below
    ``x_q`` is binomial (n, q). Both tails get the same share; where the upper one has no rank, the maximum
    is used as long as ``q**n`` leaves room.

    Args:
        n: Independent samples.
        q: The quantile, 0..1.
        confidence: Coverage.

    Returns:
        Ranks r and s, counted from 1; None where no order statistic bounds that side.
    """
    if n < 1:
        return None, None
    tail = (1.0 - confidence) / 2.0
    upper = _binomial_quantile(1.0 - tail, n, q) + 1
    lower_tail = tail
    if upper > n:
        beyond = q**n
        if beyond > 1.0 - confidence:
            return _lower_rank(n, q, tail), None
        upper, lower_tail = n, 1.0 - confidence - beyond
    return _lower_rank(n, q, lower_tail), upper


def _lower_rank(n: int, q: float, tail: float) -> int | None:
    """Largest r with ``P(Bin(n, q) < r) <= tail``."""
    return _binomial_quantile(tail, n, q) or None


def _binomial_quantile(p: float, n: int, q: float) -> int:
    """Smallest k with ``P(Bin(n, q) <= k) >= p``."""
    k = max(0, math.ceil(bdtrik(p, n, q)))
    return k - 1 if k and bdtr(k - 1, n, q) >= p else k


def percentile(values: FloatArray, q: float, tau: float | None = None) -> Percentile:
    """One percentile and its interval.

    Args:
        values: Times in milliseconds, in the order they were taken.
        q: Which percentile, 0..1.
        tau: Autocorrelation time of the ranks, if it is known already.
    """
    ordered = np.sort(values)
    tau = rank_autocorrelation_time(values) if tau is None else tau
    at_most = values <= ordered[_nearest_rank(len(values), q)]
    return _with_interval(ordered, q, max(tau, autocorrelation_time(at_most.astype(np.float64))))


def _nearest_rank(n: int, q: float) -> int:
    """Index of the order statistic ``ceil(n * q)``."""
    return max(0, math.ceil(n * q - 1e-9) - 1)


def _with_interval(ordered: FloatArray, q: float, tau: float) -> Percentile:
    """A percentile of sorted values whose order had that autocorrelation time."""
    n = len(ordered)
    value = float(ordered[_nearest_rank(n, q)])
    effective = n / tau
    m = max(1, int(effective))
    low, high = order_interval(m, q)
    return Percentile(
        q=q,
        value_ms=value,
        lower_ms=None if low is None else min(value, float(ordered[max(0, math.floor(low * n / m) - 1)])),
        upper_ms=None if high is None else max(value, float(ordered[min(n, math.ceil(high * n / m)) - 1])),
        effective_n=effective,
    )


def drift(values: FloatArray) -> Drift | None:
    """Compare the medians of the first and the last quarter of a series.

    The autocorrelation time is that of the quarter less its straight line: a trend is what is looked for, and
    must not count as correlation that widens the interval.

    Args:
        values: Times in milliseconds, in the order they were taken.

    Returns:
        The comparison, or None with fewer than 40 samples.
    """
    n = len(values)
    if n < DRIFT_MIN_SAMPLES:
        return None
    first, last = _trending_median(values[: n // 4]), _trending_median(values[-(n // 4) :])
    ratio = last.value_ms / first.value_ms if first.value_ms > 0 else 1.0
    shown = False
    if None not in (first.lower_ms, first.upper_ms, last.lower_ms, last.upper_ms):
        shown = disjoint_intervals(
            (first.lower_ms or 0.0, first.upper_ms or 0.0), (last.lower_ms or 0.0, last.upper_ms or 0.0)
        )
    drifted = shown and abs(ratio - 1.0) >= DRIFT_THRESHOLD
    return Drift(first_ms=first.value_ms, last_ms=last.value_ms, ratio=ratio, drifted=drifted)


def _trending_median(quarter: FloatArray) -> Percentile:
    at = np.arange(len(quarter), dtype=np.float64)
    slope, intercept = np.polyfit(at, quarter, 1)
    residual = np.round(quarter - (slope * at + intercept), 9)  # what rounding leaves has ranks, too
    tau = rank_autocorrelation_time(residual)
    return _with_interval(np.sort(quarter), 0.5, tau)


def disjoint_intervals(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two closed intervals share no point."""
    return a[1] < b[0] or b[1] < a[0]


def summarise(values: FloatArray) -> TimesSummary:
    """Everything that is reported of a series of times.

    Args:
        values: Times in milliseconds, in the order they were taken; at least one.
    """
    tau = rank_autocorrelation_time(values)
    percentiles = tuple(percentile(values, q, tau) for q in PERCENTILES)
    p99 = percentiles[-1]
    note = None
    if p99.effective_n < P99_MIN_SAMPLES:
        note = (
            f"no claim about p99: {len(values)} samples count as {p99.effective_n:.0f} independent ones, "
            f"a 95 % upper bound needs {P99_MIN_SAMPLES}"
        )
    return TimesSummary(
        n=len(values),
        autocorrelation_time=tau,
        effective_n=len(values) / tau,
        min_ms=float(values.min()),
        mean_ms=float(values.mean()),
        max_ms=float(values.max()),
        percentiles=percentiles,
        p99_note=note,
        drift=drift(values),
    )
