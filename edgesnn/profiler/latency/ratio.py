"""The ratio of two programs from windows of one session: Welch's t over the logarithms of the windows.

A window is one sample, because calls within a window are correlated. The logarithm turns the ratio into a
difference, whose interval is Welch's: variances may differ, degrees of freedom by Welch and Satterthwaite
(B. L. Welch, The generalization of Student's problem when several different population variances are
involved, 1947). Rank tests and percentile bootstraps are not used: with five windows against five the first
cannot survive a correction for several metrics, and the second gives 12 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_ind

from edgesnn.profiler.budgets.statistics import CONFIDENCE, FloatArray

#: Fewest windows of a side that have a variance.
LEAST_WINDOWS = 2


@dataclass(frozen=True, slots=True)
class Ratio:
    """B over A.

    Attributes:
        value: Ratio of the geometric means over windows; above 1, B takes more.
        lower: Lower end of its 95 % interval, or None.
        upper: Upper end, likewise.
        degrees_of_freedom: Welch and Satterthwaite's, or None.
        windows_a: Windows of A.
        windows_b: Windows of B.
        reason: Why there is no interval, or None.
    """

    value: float
    lower: float | None
    upper: float | None
    degrees_of_freedom: float | None
    windows_a: int
    windows_b: int
    reason: str | None = None

    def statement(self, what: str, a: str = "A", b: str = "B") -> str:
        """The ratio in words.

        Args:
            what: What is compared, for example ``median time per step``.
            a: Name of the first.
            b: Name of the second.
        """
        if self.lower is None or self.upper is None or self.degrees_of_freedom is None:
            return f"{what}: {b} takes {self.value:.4g} times that of {a}; {self.reason}"
        interval = (
            f"{self.value:.4g} times (95 % interval {self.lower:.4g} to {self.upper:.4g}, Welch t, "
            f"{self.degrees_of_freedom:.1f} degrees of freedom)"
        )
        if self.lower > 1.0:
            return f"{what}: {b} is slower than {a}, {interval}"
        if self.upper < 1.0:
            return f"{what}: {b} is faster than {a}, {interval}"
        return f"{what}: no difference between {a} and {b} shown, {interval}"


def ratio_of_windows(a: FloatArray, b: FloatArray) -> Ratio:
    """The ratio of B to A.

    Args:
        a: One positive value per window of A, for example its median time.
        b: The same of B.

    Returns:
        The ratio; without an interval where a side has fewer than two windows, or all its windows are equal.
    """
    log_a, log_b = np.log(a), np.log(b)
    value = float(np.exp(log_b.mean() - log_a.mean()))
    if min(len(a), len(b)) < LEAST_WINDOWS:
        return Ratio(value, None, None, None, len(a), len(b), "a side has fewer than two windows")
    if not (np.ptp(log_a) > 0 or np.ptp(log_b) > 0):
        return Ratio(value, None, None, None, len(a), len(b), "no window differs from another of its side")
    test = ttest_ind(log_b, log_a, equal_var=False)
    interval = test.confidence_interval(CONFIDENCE)
    return Ratio(
        value,
        float(np.exp(interval.low)),
        float(np.exp(interval.high)),
        float(test.df),
        len(a),
        len(b),
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
