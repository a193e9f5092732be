"""Quality, paired by document or by window of frames: both sides answered the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesnn.record.quantities import QUANTITIES, Kind
from edgesnn.reports.comparing import statistics as st
from edgesnn.reports.comparing.judging import HolmCandidate, judge_family, untested
from edgesnn.reports.comparing.result import ChangeScale, Family, MetricResult, Outcome
from edgesnn.reports.comparing.summary import SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

FloatArray = npt.NDArray[np.float64]

#: Ratios of sums over documents, or over windows of frames: name, numerator, denominator (None counts them),
#: and what must be the same for the two sides to have been scored on the same.
_RATIOS: tuple[tuple[str, str, str | None, str], ...] = (
    ("accuracy.top1", "hits", "positions", "bytes"),
    ("accuracy.bits_per_byte", "bits", "bytes", "bytes"),
    ("accuracy.retention", "counted_hits", "teacher_hits", "bytes"),
    ("accuracy.decisions", "window_hits", None, "window_id"),
)


def compare_accuracy(
    base: SummarisedRun, head: SummarisedRun, limits: Thresholds, level: float
) -> list[MetricResult]:
    """Compare top-1, bits per byte and retention, or decisions.

    Args:
        base: The base.
        head: The head.
        limits: Smallest changes that count.
        level: Confidence that all intervals hold together.
    """
    candidates: list[HolmCandidate] = []
    settled: list[MetricResult] = []
    for name, top, bottom, same_as in _RATIOS:
        unit_of_n = "windows" if bottom is None else "documents"
        unit, better = QUANTITIES[name].unit, QUANTITIES[name].better
        old, new = base.quantities.get(name), head.quantities.get(name)
        if (old is None or old.value is None) and (new is None or new.value is None):
            continue
        why = _not_paired(base, head, (top, bottom), same_as)
        if why is None:
            a, b = _columns(base, top, bottom), _columns(head, top, bottom)
            documents = len(a[0])
            same = np.array_equal(a, b)  # the same answers: nothing to draw
            estimate = st.Estimate(0.0) if same else st.paired_ratio_difference(a, b)
            candidates.append(
                HolmCandidate(
                    name, Family.ACCURACY, unit, Kind.MEASURED, float(a[0].sum() / a[1].sum()),
                    float(b[0].sum() / b[1].sum()), ChangeScale.DIFFERENCE, better, estimate, documents,
                    documents, unit_of_n,
                    f"difference, {unit_of_n} drawn with replacement, the same for both sides",
                    _documents_needed(estimate, documents),
                )
            )  # fmt: skip
            continue
        values = [None if one is None else one.value for one in (old, new)]
        outcome = Outcome.INCONCLUSIVE
        if values[0] is None:
            outcome, why = Outcome.INFORMATION, "the base has no value"
        elif values[1] is None:
            why = f"the head has no value: {new.reason if new is not None else 'it was not asked for'}"
        change = None if None in values else (values[1] or 0.0) - (values[0] or 0.0)
        settled.append(
            untested(
                name,
                Family.ACCURACY,
                unit,
                Kind.MEASURED,
                base=values[0],
                head=values[1],
                change=change,
                outcome=outcome,
                reason=why,
                unit_of_n=unit_of_n,
                scale=ChangeScale.DIFFERENCE,
                better=better,
            )
        )
    return [*judge_family(candidates, limits, level), *settled]


def _columns(one: SummarisedRun, top: str, bottom: str | None) -> tuple[FloatArray, FloatArray]:
    hits = np.array(one.documents[top])
    return hits, np.ones(len(hits)) if bottom is None else np.array(one.documents[bottom])


def _not_paired(
    base: SummarisedRun, head: SummarisedRun, columns: tuple[str, str | None], same_as: str
) -> str | None:
    """Why a ratio cannot be compared document by document or window by window; None when it can."""
    top, bottom = columns
    unit = "window" if bottom is None else "document"
    names = [name for name in (top, bottom) if name is not None]
    for side, one in (("base", base), ("head", head)):
        if not {same_as, *names} <= set(one.documents):
            return f"the {side} holds no scores by {unit}: profile it again with this version"
    if base.documents[same_as] != head.documents[same_as]:
        return f"base and head were scored on other {unit}s"
    if bottom == "positions" and base.documents[bottom] != head.documents[bottom]:
        return "another tokenizer: shares of its tokens do not compare (bits per byte do)"
    if bottom is not None and not (sum(base.documents[bottom]) > 0 and sum(head.documents[bottom]) > 0):
        return "nothing was scored"
    same = all(base.documents[name] == head.documents[name] for name in names)
    count = len(base.documents[same_as])
    if count < st.MIN_DOCUMENTS and not same:
        return f"{count} {unit}s: an interval needs {st.MIN_DOCUMENTS}"
    return None


def _documents_needed(estimate: st.Estimate, documents: int) -> Callable[[float, float], int | None]:
    def needed(half: float, level: float) -> int | None:
        low, high = estimate.interval(level)
        return (
            None if half <= 0 else max(documents + 1, math.ceil(documents * ((high - low) / 2 / half) ** 2))
        )

    return needed
