"""How far out the percentiles of a bootstrap must be taken, so that intervals of few units are long enough.

Source: T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015,
section 4.3, the expanded percentile interval: the variance of draws from n units is (n - 1) / n of the right
one, and draws know nothing of the tails of t. Plain percentiles over 20 documents cover 92 to 93 % at a
nominal 95 %, these 95 % (simulated).
"""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri, stdtr, stdtrit


def draws_beyond(tail: float, units: int) -> float:
    """Share of the draws that lies beyond an end of an interval that leaves ``tail`` there.

    Args:
        tail: Probability beyond that end, below 0.5.
        units: What was drawn from, at least two.
    """
    return float(ndtr(-math.sqrt(units / (units - 1)) * stdtrit(units - 1, 1.0 - tail)))


def tail_beyond(draws: float, units: int) -> float:
    """The inverse of `draws_beyond`: the probability beyond a place behind that share of the draws."""
    return float(stdtr(units - 1, math.sqrt((units - 1) / units) * ndtri(draws)))
