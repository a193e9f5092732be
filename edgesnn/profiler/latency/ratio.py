"""The ratio of two programs from windows of one session: Welch's t over the logarithms of the windows.

A window is one sample, because calls within a window are correlated. The logarithm turns the ratio into a
difference, whose interval is Welch's: variances may differ, degrees of freedom by Welch and Satterthwaite
(B. L. Welch, The generalization of Student's problem when several different population variances are
involved, 1947). Rank tests and percentile bootstraps are not used: with five windows against five the first
cannot survive a correction for several metrics, and the second gives 12 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

import random

import numpy as np

from edgesnn.profiler.budgets.statistics import CONFIDENCE, FloatArray
from edgesnn.record.timing import RatioFigure

#: Fewest windows of a side that have a variance.
LEAST_WINDOWS = 2


def ratio_of_windows(a: FloatArray, b: FloatArray) -> RatioFigure:
    """The ratio of B to A.

    Args:
        a: One positive value per window of A, for example its median time.
        b: The same of B.

    Returns:
        The ratio; without an interval where a side has fewer than two windows, or all its windows are equal.
    """
    log_a, log_b = np.log(a), np.log(b)
    value = float(np.exp(log_b.mean() - log_a.mean()))
    reason = lower = upper = freedom = None
    if min(len(a), len(b)) < LEAST_WINDOWS:
        reason = "a side has fewer than two windows"
    elif not (np.ptp(log_a) > 0 or np.ptp(log_b) > 0):
        reason = "no window differs from another of its side"
    else:
        from scipy.stats import ttest_ind  # a second of processor time

        test = ttest_ind(log_b, log_a, equal_var=False)
        interval = test.confidence_interval(CONFIDENCE)
        lower, upper = float(np.exp(interval.low)), float(np.exp(interval.high))
        freedom = float(test.df)
    return RatioFigure(
        value=value,
        lower=lower,
        upper=upper,
        degrees_of_freedom=freedom,
        windows_a=len(a),
        windows_b=len(b),
        reason=reason,
    )


def interleaved_order(windows: int, seed: int) -> str:
    """The order of an A/B session, as a string of ``A`` and ``B``.

    Blocks of four, ABBA or BAAB as the seed draws them: within a block a steady drift costs both sides the
    same, and no rhythm of the machine can follow a drawn order.

    Args:
        windows: Windows of each side; an odd number is rounded up.
        seed: Seed of the draw.
    """
    draw = random.Random(seed)
    blocks = (windows + 1) // 2
    return "".join(draw.choice(("ABBA", "BAAB")) for _ in range(blocks))
