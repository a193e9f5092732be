"""What measurement windows say of each other: outliers, drift, and windows that came out too short.

Everything here reports; nothing is removed, because a slow window happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesnn.profiler.budgets.statistics import CONFIDENCE, DRIFT_THRESHOLD, FloatArray
from edgesnn.profiler.budgets.workload import SteppedWorkload
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.record.timing import WindowDrift, WindowOutlier

#: Modified z-scores beyond this are outliers, and the factors that make both estimates of the spread equal to
#: the standard deviation of normal values: B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers,
#: 1993, section 3.3 (0.6745 = 1 / 1.4826; 1.2533 for the mean absolute deviation, sqrt(pi / 2)).
OUTLIER_SCORE = 3.5
MAD_TO_SIGMA = 1.4826
MEAN_AD_TO_SIGMA = 1.2533
#: Fewest windows in which outliers and drift are looked for.
LEAST_WINDOWS = 4


def outliers(values_ms: FloatArray) -> list[WindowOutlier]:
    """Windows that lie apart by the rule of the median absolute deviation.

    A window is an outlier when ``|x - median| / (1.4826 * MAD)`` exceeds 3.5. Where more than half of the
    values are equal the MAD is 0; then the mean absolute deviation, times 1.2533, takes its place.

    Args:
        values_ms: One value per window, in order.

    Returns:
        The outliers; none with fewer than four windows.
    """
    if len(values_ms) < LEAST_WINDOWS:
        return []
    centred = values_ms - np.median(values_ms)
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(centred)))
    if sigma == 0.0:
        sigma = MEAN_AD_TO_SIGMA * float(np.abs(centred).mean())
    if sigma == 0.0:
        return []
    scores = centred / sigma
    return [
        WindowOutlier(window=number + 1, value_ms=float(values_ms[number]), score=float(scores[number]))
        for number in map(int, np.flatnonzero(np.abs(scores) > OUTLIER_SCORE))
    ]


def window_drift(values_ms: FloatArray, offsets_s: FloatArray) -> WindowDrift | None:
    """The trend over windows: Theil and Sen's slope of the logarithm with its interval.

    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968. One wild window
    does not move it.

    Args:
        values_ms: One positive value per window, in order.
        offsets_s: When each window began.

    Returns:
        The trend over the whole session, or None with fewer than four windows or no time between them.
    """
    span = float(np.ptp(offsets_s)) if len(offsets_s) else 0.0
    if len(values_ms) < LEAST_WINDOWS or span <= 0.0:
        return None
    from scipy.stats import theilslopes  # a second of processor time

    slope, _, low, high = theilslopes(np.log(values_ms), offsets_s, alpha=CONFIDENCE)
    change, lower, upper = (float(np.expm1(value * span)) for value in (slope, low, high))
    drifted = (lower > 0 or upper < 0) and abs(change) >= DRIFT_THRESHOLD
    return WindowDrift(change=change, lower=lower, upper=upper, drifted=drifted)


def medians(windows: Sequence[MeasuredWindow]) -> FloatArray:
    """Median forward pass of each window's counted steps, milliseconds."""
    return np.array([float(np.median(window.counted_ms)) for window in windows])


def means(windows: Sequence[MeasuredWindow]) -> FloatArray:
    """Mean forward pass of each window's counted steps, milliseconds."""
    return np.array([float(window.counted_ms.mean()) for window in windows])


def offsets(windows: Sequence[MeasuredWindow]) -> FloatArray:
    """When each window began, seconds after the first."""
    return np.array([(window.started_ns - windows[0].started_ns) / 1e9 for window in windows])


def windows_median_throughput(windows: Sequence[MeasuredWindow]) -> float:
    """Median over the windows of counted tokens per second, as MLPerf Tiny takes it (performance mode)."""
    return float(np.median(1000.0 / means(windows)))


def short_windows(windows: Sequence[MeasuredWindow], workload: SteppedWorkload) -> list[str]:
    """One clause per window whose counted steps lasted less than the workload asks for.

    MLPerf Tiny asks for 10 s of every window; a total over the windows would hide a short one.
    """
    found = []
    for number, window in enumerate(windows, start=1):
        seconds = float(window.counted_ms.sum()) / 1000.0
        if seconds < workload.min_window_seconds:
            found.append(
                f"window {number} lasted {seconds:.4g} s of counted steps, "
                f"less than the {workload.min_window_seconds:g} s that the profile asks for"
            )
    return found


def window_marks(windows: Sequence[MeasuredWindow], workload: SteppedWorkload) -> list[str]:
    """What a run's windows say of each other, as clauses for its marks.

    Args:
        windows: The windows, in order.
        workload: What they were asked to be.
    """
    values = medians(windows)
    found = short_windows(windows, workload)
    for outlier in outliers(values):
        found.append(
            f"window {outlier.window} lies apart: median {outlier.value_ms:.4g} ms, {abs(outlier.score):.3g} "
            "robust standard deviations from the windows' median; it is kept"
        )
    drift = window_drift(values, offsets(windows))
    if drift is not None and drift.drifted:
        found.append(
            f"the windows drifted by {drift.change:+.1%} from first to last "
            f"(95 % interval {drift.lower:+.1%} to {drift.upper:+.1%})"
        )
    return found
