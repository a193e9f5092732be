"""What compares exactly: counts, and the bits of the answers."""

from __future__ import annotations

from collections.abc import Sequence

from edgesnn.record.quantities import Kind
from edgesnn.record.steps import TOKENS
from edgesnn.reports.comparing.judging import untested
from edgesnn.reports.comparing.result import ChangeScale, Family, MetricResult, Outcome
from edgesnn.reports.comparing.summary import ExactCount, SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

_PARITY = "parity.mismatches"
_OUTPUTS = "output.differing_windows"


def compare_bits(base: SummarisedRun, heads: Sequence[SummarisedRun]) -> list[MetricResult]:
    """Logits that differ from golden's, and windows whose answers differ although the program is the same.

    Args:
        base: The base.
        heads: Sessions of the head.
    """
    found = []
    old, new = base.counts.get(_PARITY), _worst(heads, _PARITY)
    if old is not None or new is not None:
        # Golden's bits are the definition: a base that was never compared with it counts as equal to it.
        unit = TOKENS.outputs if new is None else new.unit
        reference = old or ExactCount(0.0, unit, Kind.MEASURED, Family.BITS)
        reason = "the base was not compared with golden: held against 0" if old is None else None
        found.append(_exact(_PARITY, reference, new, 0.0, reason))
    same = [head for head in heads if head.program_hash == base.program_hash]
    pairs = [
        (base.outputs[steps], head.outputs[steps])
        for head in same
        for steps in head.outputs
        if steps in base.outputs
    ]
    if pairs:
        differing = ExactCount(float(sum(a != b for a, b in pairs)), "windows", Kind.MEASURED, Family.BITS)
        none = ExactCount(0.0, "windows", Kind.MEASURED, Family.BITS)
        reason = "the same program gave other answers to the same input" if differing.value else None
        found.append(_exact(_OUTPUTS, none, differing, 0.0, reason))
    return found


def compare_counts(
    base: SummarisedRun, heads: Sequence[SummarisedRun], limits: Thresholds
) -> list[MetricResult]:
    """Bytes, spikes, operations and whatever else is counted: one more is a regression.

    Args:
        base: The base.
        heads: Sessions of the head; the largest count stands for all.
        limits: What a user allows a count to grow by; 0 unless set.
    """
    names = dict.fromkeys(name for one in (base, *heads) for name in one.counts if name != _PARITY)
    found = []
    for name in names:
        old, new = base.counts.get(name), _worst(heads, name)
        threshold = limits.of(name, Family.COUNTS, ChangeScale.EXACT)
        if old is None and new is not None:
            found.append(
                _result(name, None, new, Outcome.INFORMATION, threshold=0.0, reason="the base has no value")
            )
        elif old is not None:
            found.append(_exact(name, old, new, threshold * old.value, None))
    return found


def _worst(heads: Sequence[SummarisedRun], name: str) -> ExactCount | None:
    counts = [head.counts[name] for head in heads if name in head.counts]
    return max(counts, key=lambda count: count.value, default=None)


def _exact(
    name: str, base: ExactCount, head: ExactCount | None, threshold: float, reason: str | None
) -> MetricResult:
    if head is None:
        return _result(
            name, base, None, Outcome.INCONCLUSIVE, threshold=threshold, reason="the head has no value"
        )
    if head.unit != base.unit:
        reason = f"the base is in {base.unit}, the head in {head.unit}"
        return _result(name, base, head, Outcome.INCONCLUSIVE, threshold=threshold, reason=reason)
    change = head.value - base.value
    outcome = Outcome.NO_CHANGE
    if change > threshold:
        outcome = Outcome.REGRESSION
    elif change < -threshold:
        outcome = Outcome.IMPROVEMENT
    return _result(name, base, head, outcome, threshold=threshold, reason=reason)


def _result(
    name: str,
    base: ExactCount | None,
    head: ExactCount | None,
    outcome: Outcome,
    *,
    threshold: float,
    reason: str | None,
) -> MetricResult:
    some = head or base
    assert some is not None
    comparable = base is not None and head is not None and base.unit == head.unit
    return untested(
        name,
        some.family,
        some.unit,
        some.kind,
        base=None if base is None else base.value,
        head=None if head is None else head.value,
        change=head.value - base.value if comparable and head is not None and base is not None else None,
        outcome=outcome,
        reason=reason,
        unit_of_n="",
        scale=ChangeScale.EXACT,
        threshold=threshold,
        method="exact",
    )
