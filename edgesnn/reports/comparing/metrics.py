"""Every metric of one target, compared by the method that its family asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgesnn.record.quantities import QUANTITIES
from edgesnn.reports.comparing.accuracy import compare_accuracy
from edgesnn.reports.comparing.counts import compare_bits, compare_counts
from edgesnn.reports.comparing.judging import untested
from edgesnn.reports.comparing.result import Family, MetricResult, Outcome
from edgesnn.reports.comparing.series import Variance, compare_series
from edgesnn.reports.comparing.summary import SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

_SERIES_FAMILIES = (Family.TIMES, Family.ENERGIES, Family.MEMORY)


def compare_metrics(
    base: Sequence[SummarisedRun],
    heads: Sequence[SummarisedRun],
    variance: Variance,
    limits: Thresholds,
    level: float,
) -> tuple[MetricResult, ...]:
    """Compare everything of one key.

    Args:
        base: Sessions of the base, oldest first.
        heads: Sessions of the head, oldest first.
        variance: Where the variance of times and energies comes from.
        limits: Smallest changes that count.
        level: Confidence that all intervals of one family hold together.

    Returns:
        Bits, counts, times, energies, memory, accuracy, then everything that is only shown.
    """
    found = [*compare_bits(base[-1], heads), *compare_counts(base[-1], heads, limits)]
    for family in _SERIES_FAMILIES:
        found += compare_series(family, base, heads, variance, limits=limits, level=level)
    found += compare_accuracy(base[-1], heads[-1], limits, level)
    return (*found, *_shown(base[-1], heads[-1], {metric.name for metric in found}))


def _shown(base: SummarisedRun, head: SummarisedRun, compared: set[str]) -> list[MetricResult]:
    """Quantities that stand beside the gates, for the reader."""
    found = []
    for name in dict.fromkeys((*base.quantities, *head.quantities)):
        old, new = base.quantities.get(name), head.quantities.get(name)
        some = new or old
        values = [None if one is None else one.value for one in (old, new)]
        if name in compared or some is None or values == [None, None]:
            continue
        change = None
        reason = "shown only"
        if old is not None and new is not None and old.unit != new.unit:
            reason = f"the base is in {old.unit}, the head in {new.unit}"
        elif values[0] and values[1] and values[0] > 0 and values[1] > 0:
            change = math.log(values[1] / values[0])
        known = QUANTITIES.get(name)
        found.append(
            untested(
                name,
                _family_of(name),
                some.unit,
                some.kind,
                base=values[0],
                head=values[1],
                change=change,
                outcome=Outcome.INFORMATION,
                reason=reason,
                unit_of_n="",
                better="lower" if known is None else known.better,
            )
        )
    return found


_PREFIXES: Mapping[str, Family] = {
    "activity.": Family.COUNTS,
    "instructions.": Family.COUNTS,
    "energy": Family.ENERGIES,
    "power.": Family.ENERGIES,
    "battery.": Family.ENERGIES,
    "duty.power": Family.ENERGIES,
    "cascade.": Family.ENERGIES,
    "memory.peak": Family.MEMORY,
    "memory.baseline": Family.MEMORY,
    "memory.loaded": Family.MEMORY,
    "accuracy.": Family.ACCURACY,
    "parity.": Family.BITS,
    "size.": Family.COUNTS,
}


def _family_of(name: str) -> Family:
    return next((family for prefix, family in _PREFIXES.items() if name.startswith(prefix)), Family.TIMES)
