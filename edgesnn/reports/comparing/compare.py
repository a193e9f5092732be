"""Comparing sessions that share a key: exact counts, intervals for the rest, budgets, and one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesnn.errors import EXIT_OK, GateError, UndecidedError
from edgesnn.names import nearest
from edgesnn.record.steps import FRAMES, TOKENS
from edgesnn.reports.comparing.metrics import compare_metrics
from edgesnn.reports.comparing.result import (
    BudgetResult,
    Change,
    ComparisonVerdict,
    Key,
    MetricResult,
    Outcome,
    RunComparison,
    RunSide,
    TargetComparison,
    Unmatched,
)
from edgesnn.reports.comparing.series import MIN_SESSIONS, Mode, Variance
from edgesnn.reports.comparing.summary import SummarisedRun
from edgesnn.reports.comparing.thresholds import Thresholds

#: Confidence that all intervals of one target and family hold together.
LEVEL = 0.95

_VERDICT_ORDER = (
    ComparisonVerdict.REGRESSION,
    ComparisonVerdict.UNDECIDED,
    ComparisonVerdict.IMPROVEMENT,
    ComparisonVerdict.NO_CHANGE,
)


@dataclass(frozen=True, slots=True)
class BaseSide:
    """The base of one key.

    Attributes:
        sessions: Its sessions, oldest first; the last one gives counts, bits and accuracy.
        sources: File names.
        notes: What is known of its history, for example a slow drift.
    """

    sessions: tuple[SummarisedRun, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()


def base_sides(sessions: Sequence[SummarisedRun]) -> dict[Key, BaseSide]:
    """Sessions as bases, by key, oldest first."""
    grouped: dict[Key, list[SummarisedRun]] = {}
    for session in sessions:
        grouped.setdefault(session.key, []).append(session)
    return {
        key: BaseSide(tuple(sorted(group, key=_age)), tuple(one.source for one in group))
        for key, group in grouped.items()
    }


def compare_runs(
    base: Mapping[Key, BaseSide],
    heads: Sequence[SummarisedRun],
    *,
    thresholds: Thresholds | None = None,
    strict: bool = False,
    counts_only: bool = False,
    level: float = LEVEL,
) -> RunComparison:
    """Compare runs with what they may be compared with.

    Args:
        base: Bases by key.
        heads: Runs to judge; several of one key count as sessions of one build.
        thresholds: Smallest changes that count; the defaults when None.
        strict: Whether what is inconclusive, or has no counterpart, fails.
        counts_only: Whether times, energies and memory are information only, whatever the base holds.
        level: Confidence that all intervals of one target and family hold together.

    Returns:
        The comparison, the worst target first.
    """
    limits = thresholds or Thresholds()
    grouped: dict[Key, list[SummarisedRun]] = {}
    for head in heads:
        grouped.setdefault(head.key, []).append(head)
    targets, unmatched = [], []
    for key, group in grouped.items():
        group.sort(key=_age)
        if key in base:
            variance = _counts_only() if counts_only else _variance(base[key].sessions, group)
            targets.append(
                _compare_target(key, base[key], group, limits, variance, strict=strict, level=level)
            )
        else:
            reason = _no_counterpart(key, "the base", base)
            sources = tuple(one.source for one in group)
            unmatched.append(Unmatched(key, "head", sources, reason, group[-1].budgets))
    for key, side in base.items():
        if key not in grouped:
            reason = _no_counterpart(key, "the head", grouped)
            unmatched.append(Unmatched(key, "base", side.sources, reason, ()))
    targets.sort(key=lambda one: (_VERDICT_ORDER.index(one.verdict), one.key.parts()))
    return _overall(tuple(targets), tuple(unmatched), strict, level)


def _age(session: SummarisedRun) -> tuple[str, str]:
    return session.created, session.source


def _no_counterpart(key: Key, side: str, others: Mapping[Key, object]) -> str:
    """Why a run stands alone: which parts of the nearest key differ."""
    texts = {other.text(): other for other in others}
    near = nearest(key.text(), texts) if len(texts) < 100 else []
    if not near:
        return f"{side} has no run of this model, target, engine, meter, profile and workload"
    other = dict(texts[near[0]].parts())
    differences = [
        f"{name} '{other[name]}' instead of '{value}'" for name, value in key.parts() if other[name] != value
    ]
    return f"{side} has no such run; the nearest has {', '.join(differences)}"


def _compare_target(
    key: Key,
    base: BaseSide,
    heads: Sequence[SummarisedRun],
    limits: Thresholds,
    variance: Variance,
    *,
    strict: bool,
    level: float,
) -> TargetComparison:
    metrics = compare_metrics(base.sessions, heads, variance, limits, level)
    before, latest = base.sessions[-1], heads[-1]
    old = {budget.name: budget.head for budget in before.budgets}
    budgets = tuple(replace(budget, base=old.get(budget.name)) for budget in latest.budgets)
    invalid = [one.source for one in heads if one.verdict == "INVALID"]
    notes = list(base.notes)
    notes += [f"the run of {source} is INVALID: it decides nothing" for source in invalid]
    return TargetComparison(
        key=key,
        base=_side(base.sessions, base.sources),
        head=_side(heads, tuple(one.source for one in heads)),
        mode=variance.mode,
        mode_reason=variance.why,
        verdict=_target_verdict(metrics, budgets, bool(invalid), strict),
        metrics=metrics,
        budgets=budgets,
        changed=_changes(before, latest),
        notes=tuple(notes),
    )


def _counts_only() -> Variance:
    return Variance(Mode.NONE, "times and energies are information only, as --counts-only says")


def _variance(base: Sequence[SummarisedRun], heads: Sequence[SummarisedRun]) -> Variance:
    """Where the variance between sessions comes from, and the sentence that says so."""
    if any(one.verdict == "INVALID" for one in (*base, *heads)):
        return Variance(Mode.NONE, "times and energies are information only: a run is INVALID")
    ids, others = [one.interleaving for one in base], [one.interleaving for one in heads]
    if None not in ids and sorted(map(str, ids)) == sorted(map(str, others)) and len(set(ids)) == len(ids):
        many = "one session" if len(ids) == 1 else f"{len(ids)} sessions"
        return Variance(Mode.INTERLEAVED, f"the windows of base and head took turns in {many}")
    if len(base) >= MIN_SESSIONS:
        return Variance(Mode.SESSIONS, f"{len(base)} sessions of the base say how sessions vary")
    return Variance(
        Mode.NONE,
        f"times and energies are information only: {len(base)} of {MIN_SESSIONS} sessions that a baseline "
        "needs, and the windows did not take turns in one session (edgesnn profile A B --interleave)",
    )


def _side(sessions: Sequence[SummarisedRun], sources: tuple[str, ...]) -> RunSide:
    latest = sessions[-1]
    names = [f"{words.series}.p50" for words in (TOKENS, FRAMES)]
    windows = [len(one.series[name].values) for one in sessions for name in names if name in one.series]
    return RunSide(
        sources=sources,
        sessions=len(sessions),
        windows=sum(windows),
        created=latest.created,
        commit=latest.commit,
        program_hash=latest.program_hash,
        verdict=latest.verdict,
        simulated=any(one.simulated for one in sessions),
    )


def _changes(base: SummarisedRun, head: SummarisedRun) -> tuple[Change, ...]:
    names = [*base.identity, *(name for name in head.identity if name not in base.identity)]
    pairs = ((name, base.identity.get(name), head.identity.get(name)) for name in names)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _budgets_fail(budgets: Sequence[BudgetResult]) -> bool:
    return any(one.required and one.verdict == "FAIL" for one in budgets)


def _budgets_open(budgets: Sequence[BudgetResult]) -> bool:
    return any(
        one.required and one.verdict in ("UNDECIDED", "UNMEASURED") and not one.excused for one in budgets
    )


def _target_verdict(
    metrics: Sequence[MetricResult], budgets: Sequence[BudgetResult], invalid: bool, strict: bool
) -> ComparisonVerdict:
    outcomes = {metric.outcome for metric in metrics if metric.gates}
    if Outcome.REGRESSION in outcomes or _budgets_fail(budgets):
        return ComparisonVerdict.REGRESSION
    if invalid or _budgets_open(budgets) or (strict and Outcome.INCONCLUSIVE in outcomes):
        return ComparisonVerdict.UNDECIDED
    return ComparisonVerdict.IMPROVEMENT if Outcome.IMPROVEMENT in outcomes else ComparisonVerdict.NO_CHANGE


def _overall(
    targets: tuple[TargetComparison, ...], unmatched: tuple[Unmatched, ...], strict: bool, level: float
) -> RunComparison:
    verdicts = [target.verdict for target in targets]
    for one in unmatched:
        if _budgets_fail(one.budgets):
            verdicts.append(ComparisonVerdict.REGRESSION)
        elif strict or _budgets_open(one.budgets):
            verdicts.append(ComparisonVerdict.UNDECIDED)
    if not targets:
        verdicts.append(ComparisonVerdict.UNDECIDED)
    verdict = min(verdicts, key=_VERDICT_ORDER.index)
    codes = {
        ComparisonVerdict.REGRESSION: GateError.exit_code,
        ComparisonVerdict.UNDECIDED: UndecidedError.exit_code,
    }
    reasons = [reason for target in targets for reason in reasons_of(target)]
    for one in unmatched:
        reasons += _budget_reasons(one.key, one.budgets)
        reasons.append(f"{one.key.text()}: not compared, {one.reason}")
    if not targets:
        reasons.insert(0, "nothing was compared: no run has a counterpart")
    return RunComparison(
        verdict=verdict,
        exit_code=codes.get(verdict, EXIT_OK),
        strict=strict,
        reasons=tuple(reasons),
        targets=targets,
        unmatched=unmatched,
        level=level,
    )


def reasons_of(target: TargetComparison) -> list[str]:
    """One clause for everything that decided the verdict of a target, or stayed open."""
    name = f"{target.key.model} on {target.key.target}"
    gating = [metric for metric in target.metrics if metric.gates]
    found = [
        f"{name}: {metric.name} {metric.outcome}{f', {metric.reason}' if metric.reason else ''}"
        for outcome in (Outcome.REGRESSION, Outcome.INCONCLUSIVE)
        for metric in gating
        if metric.outcome is outcome
    ]
    return _budget_reasons(target.key, target.budgets) + found + [f"{name}: {note}" for note in target.notes]


def _budget_reasons(key: Key, budgets: Sequence[BudgetResult]) -> list[str]:
    found = []
    for one in budgets:
        if not one.required or one.verdict == "PASS" or one.excused:
            continue
        value = "no value" if one.head is None else f"{one.head:.10g} {one.unit}"
        why = "" if one.reason is None else f", {one.reason}"
        found.append(
            f"{key.model} on {key.target}: budget {one.name} {one.verdict} ({value}, limit {one.side} "
            f"{one.limit:.10g}){why}"
        )
    return found
