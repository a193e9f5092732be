"""Steps and slow drift over a history: what no comparison of two neighbours would see.

A series of session means is cut into levels by optimal partitioning: the least sum of squares plus a
penalty for every cut (B. Jackson et al., An algorithm for optimal partitioning of data on an interval, IEEE
Signal Processing Letters 12, 2005). The noise is that of differences of neighbours, which steps hardly move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.reports.baseline import Baseline
from edgesnn.reports.comparing import statistics as st
from edgesnn.reports.comparing.result import ChangeScale, Family
from edgesnn.reports.comparing.summary import SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

FloatArray = npt.NDArray[np.float64]

#: Fewest sessions of a level: two outliers in a row are no level.
SHORTEST = 3
#: Sessions at each end of a level that are compared for drift.
ENDS = 5
#: Penalty of a cut in units of ``variance * log(n)``. 2 is Schwarz's for one mean and one place; twice that,
#: because sessions have heavier tails than a normal distribution.
PENALTY = 4.0
#: Longest history that is cut; older sessions are left out.
LONGEST = 2000
_LEVEL = 0.95
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A place where the level of a metric changed.

    Attributes:
        metric: The metric.
        at: Number of the first session of the new level, from 0.
        commit: Its git commit, or None.
        created: When it was made.
        change: Natural logarithm of new level over old level.
    """

    metric: str
    at: int
    commit: str | None
    created: str
    change: float


@dataclass(frozen=True, slots=True)
class SessionDrift:
    """The newest sessions against the first ones since the last accepted change.

    Attributes:
        metric: The metric.
        sessions: Sessions in between, both ends included.
        since: When the first of them was made.
        change: Natural logarithm of last over first.
        lower: Lower end of its 95 % interval (Welch t over session means), Holm over the metrics.
        upper: Upper end.
        worse: Whether the interval excludes 0 on the bad side and the change is at least the threshold.
    """

    metric: str
    sessions: int
    since: str
    change: float
    lower: float
    upper: float
    worse: bool

    def sentence(self) -> str:
        """The drift in words."""
        return (
            f"slow drift: {self.metric} {_percent(self.change)} [{_percent(self.lower)}, "
            f"{_percent(self.upper)}] over {self.sessions} sessions since {self.since[:10]}"
        )


def _percent(change: float) -> str:
    return f"{100 * math.expm1(change):+.1f} %"


def session_means(sessions: Sequence[SummarisedRun], metric: str) -> tuple[list[int], FloatArray]:
    """Mean logarithm of one metric by session.

    Returns:
        Numbers of the sessions that have it, and the means.
    """
    places, means = [], []
    for place, session in enumerate(sessions):
        series = session.series.get(metric)
        if series is not None and min(series.values) > 0:
            places.append(place)
            means.append(float(np.mean(np.log(series.values))))
    return places, np.array(means)


def cuts(values: FloatArray) -> list[int]:
    """Places where the mean of a series changes.

    Args:
        values: The series, at most `LONGEST` values.

    Returns:
        Index of the first value of every level but the first, ascending.
    """
    n = len(values)
    if n < 2 * SHORTEST:
        return []
    differences = np.abs(np.diff(values))
    sd = _MAD_TO_SD * float(np.median(differences)) / math.sqrt(2.0)
    if sd == 0:  # most neighbours are equal: any difference that is not rounding is a step
        sd = max(float(np.max(np.abs(values))), 1.0) * 1e-9
    penalty = PENALTY * sd**2 * math.log(n)
    sums, squares = np.concatenate([[0.0], values.cumsum()]), np.concatenate([[0.0], (values**2).cumsum()])
    best = np.full(n + 1, np.inf)
    best[0] = -penalty
    previous = np.zeros(n + 1, np.int64)
    for stop in range(SHORTEST, n + 1):
        starts = np.arange(0, stop - SHORTEST + 1)
        counts = stop - starts
        cost = squares[stop] - squares[starts] - (sums[stop] - sums[starts]) ** 2 / counts
        total = best[starts] + cost + penalty
        previous[stop] = starts[int(total.argmin())]
        best[stop] = total.min()
    found = []
    at = int(previous[n])
    while at > 0:
        found.append(at)
        at = int(previous[at])
    return found[::-1]


def steps(baseline: Baseline, thresholds: Thresholds | None = None) -> list[LevelChange]:
    """Steps of every metric over the whole history, either way, at least as large as its threshold."""
    limits, found = thresholds or Thresholds(), []
    for metric, family in _metrics(baseline.sessions):
        places, means = session_means(baseline.sessions, metric)
        places, means = places[-LONGEST:], means[-LONGEST:]
        bounds = [0, *cuts(means), len(means)]
        for before, at, after in zip(bounds, bounds[1:], bounds[2:], strict=False):
            change = float(means[at:after].mean() - means[before:at].mean())
            if abs(change) >= limits.of(metric, family, ChangeScale.LOG_RATIO):
                session = baseline.sessions[places[at]]
                found.append(LevelChange(metric, places[at], session.commit, session.created, change))
    return sorted(found, key=lambda step: (step.at, step.metric))


def drifts(baseline: Baseline, thresholds: Thresholds | None = None) -> list[SessionDrift]:
    """The last `ENDS` sessions of the current level against its first; nothing for fewer than both ends."""
    limits = thresholds or Thresholds()
    start = baseline.levels[-1].at if baseline.levels else 0
    sessions = baseline.sessions[start:]
    estimates, families, lengths = {}, {}, {}
    for metric, family in _metrics(sessions):
        _, means = session_means(sessions, metric)
        if len(means) >= 2 * ENDS:
            estimates[metric] = st.welch(means[:ENDS].tolist(), means[-ENDS:].tolist())
            families[metric], lengths[metric] = family, len(means)
    levels = st.holm({name: one.p_value() for name, one in estimates.items()}, _LEVEL)
    found = []
    for metric, estimate in estimates.items():
        low, high = estimate.interval(levels[metric])
        threshold = limits.of(metric, families[metric], ChangeScale.LOG_RATIO)
        worse = low > 0 and estimate.change >= threshold
        found.append(
            SessionDrift(metric, lengths[metric], sessions[0].created, estimate.change, low, high, worse)
        )
    return found


def _metrics(sessions: Sequence[SummarisedRun]) -> list[tuple[str, Family]]:
    return list({name: series.family for one in sessions for name, series in one.series.items()}.items())
