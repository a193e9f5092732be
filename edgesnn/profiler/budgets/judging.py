"""Budgets and their verdicts.

PASS and FAIL are claims that the data show; what they do not show is UNDECIDED, with what would decide it;
what nobody measured is UNMEASURED. A number that was SIMULATED decides nothing. Percentile budgets use the
MLPerf early-stopping bound (`edgesnn.profiler.budgets.early_stopping`), intervals must lie wholly on one side
of the limit, and counts compare exactly.

The whole run: 3 when a required budget FAILs, else 4 when the run is invalid, else 6 when a required
budget is UNDECIDED or UNMEASURED (the latter is excused by ``--allow-unmeasured``) or an instrument that was
asked for gave nothing, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from edgesnn.errors import EXIT_OK, DeviceError, GateError, UndecidedError
from edgesnn.profiler.budgets.early_stopping import CONFIDENCE, judge_limit
from edgesnn.profiler.budgets.profile import Limit
from edgesnn.profiler.budgets.statistics import FloatArray
from edgesnn.record.quantities import Kind, Quantity, Side
from edgesnn.record.verdicts import Budget, BudgetOutcome, ExitCode, Overall, Verdict

NO_METER = "no meter was given"


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """What is judged.

    Attributes:
        name: Key of the profile, for example ``latency_ms_p95``.
        subject: What the budget speaks of, for people.
        side: On which side of the limit the value has to lie.
        limit: Limit and whether it gates.
    """

    name: str
    subject: str
    side: Side
    limit: Limit


def verdict_of(
    spec: BudgetSpec,
    quantity: Quantity,
    verdict: BudgetOutcome,
    reason: str | None = None,
    *,
    needed: int | None = None,
) -> Budget:
    """A budget with its verdict.

    Args:
        spec: The budget.
        quantity: The value that is shown.
        verdict: What can be said.
        reason: Why.
        needed: Samples or windows that would decide.
    """
    limit = spec.limit
    return Budget(
        name=spec.name,
        subject=spec.subject,
        quantity=quantity,
        side=spec.side,
        limit=limit.limit,
        required=limit.required,
        verdict=verdict,
        reason=reason,
        samples_needed=needed,
    )


def unmeasured(spec: BudgetSpec, quantity: Quantity) -> Budget:
    """The verdict on what nobody measured; without a limit it is only reported."""
    verdict = BudgetOutcome.REPORTED if spec.limit.limit is None else BudgetOutcome.UNMEASURED
    return verdict_of(spec, quantity, verdict, quantity.reason)


def judge_value(spec: BudgetSpec, quantity: Quantity) -> Budget:
    """Judge one exact value, for example a count or a size."""
    if quantity.value is None or quantity.kind is Kind.ABSENT:
        return unmeasured(spec, quantity)
    limit = spec.limit.limit
    if limit is None:
        return verdict_of(spec, quantity, BudgetOutcome.REPORTED)
    return verdict_of(
        spec, quantity, BudgetOutcome.PASS if spec.side.holds(quantity.value, limit) else BudgetOutcome.FAIL
    )


def judge_all(spec: BudgetSpec, quantity: Quantity, values: Sequence[float]) -> Budget:
    """Judge repeated measurements of one value: all on the right side pass, all on the wrong side fail."""
    limit = spec.limit.limit
    if limit is None or quantity.value is None or not values:
        return judge_value(spec, quantity)
    good = sum(spec.side.holds(value, limit) for value in values)
    if good == len(values):
        return verdict_of(spec, quantity, BudgetOutcome.PASS)
    if good == 0:
        return verdict_of(spec, quantity, BudgetOutcome.FAIL)
    reason = f"{len(values) - good} of {len(values)} measurements are beyond the limit"
    return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, reason)


def judge_interval(spec: BudgetSpec, quantity: Quantity, *, n: int, unit_of_n: str) -> Budget:
    """Judge an estimate by its 95 % interval, which must lie wholly on one side of the limit.

    Args:
        spec: The budget.
        quantity: The estimate with `Quantity.lower` and `Quantity.upper`.
        n: What the interval was made from.
        unit_of_n: What n counts, for example ``documents``.
    """
    limit = spec.limit.limit
    if quantity.value is None or limit is None:
        return judge_value(spec, quantity)
    low, high = quantity.lower, quantity.upper
    if low is None or high is None:
        reason = f"{n} {unit_of_n} give no interval"
        return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, reason, needed=2)
    holds = spec.side.holds(low, limit), spec.side.holds(high, limit)
    if all(holds):
        return verdict_of(spec, quantity, BudgetOutcome.PASS)
    if not any(holds):
        return verdict_of(spec, quantity, BudgetOutcome.FAIL)
    distance = abs(quantity.value - limit)
    needed = math.ceil(n * ((high - low) / 2.0 / distance) ** 2) if distance > 0 else None
    reason = f"the 95 % interval {low:.4g}..{high:.4g} holds the limit"
    if needed is not None:
        needed = max(needed, n + 1)
        reason += f"; about {needed} {unit_of_n} would decide, {n} were scored"
    return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, reason, needed=needed)


def judge_percentile(spec: BudgetSpec, quantity: Quantity, values_ms: FloatArray, q: float) -> Budget:
    """Judge a percentile of times by the early-stopping bound.

    Args:
        spec: The budget.
        quantity: The percentile that is shown.
        values_ms: The times, in the order they were taken.
        q: Which percentile, 0..1.
    """
    limit = spec.limit.limit
    if quantity.value is None or limit is None:
        return judge_value(spec, quantity)
    test = judge_limit(values_ms, limit, q)
    counted = "samples" if test.margin else "independent samples"
    seen = f"{test.over} of {test.n} {counted} at or over the limit"
    if test.shown_below:
        return verdict_of(spec, quantity, BudgetOutcome.PASS, f"{seen}; confidence {CONFIDENCE}")
    if test.shown_above:
        return verdict_of(spec, quantity, BudgetOutcome.FAIL, f"{seen}; confidence {CONFIDENCE}")
    if test.samples_needed is None:
        reason = f"{seen}: too close to the limit for any number of samples"
    else:
        reason = f"{seen}; about {test.samples_needed} samples would decide, {len(values_ms)} were taken"
    return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, reason, needed=test.samples_needed)


def undecided(spec: BudgetSpec, quantity: Quantity, reason: str) -> Budget:
    """The verdict on a measurement that does not speak of the budget's subject."""
    if spec.limit.limit is None or quantity.value is None:
        return judge_value(spec, quantity)
    return verdict_of(spec, quantity, BudgetOutcome.UNDECIDED, reason)


def simulation_decides_nothing(budget: Budget) -> Budget:
    """The verdict on a simulated number, which is shown but carries neither PASS nor FAIL."""
    if budget.quantity.kind is not Kind.SIMULATED or budget.verdict not in (
        BudgetOutcome.PASS,
        BudgetOutcome.FAIL,
    ):
        return budget
    reason = f"SIMULATED: it says nothing of a device; taken at its word it would {budget.verdict}"
    if budget.reason is not None:
        reason += f" ({budget.reason})"
    changes = {"verdict": BudgetOutcome.UNDECIDED, "reason": reason, "samples_needed": None}
    return budget.model_copy(update=changes)


def overall(
    budgets: Iterable[Budget],
    invalid: str | None,
    *,
    allow_unmeasured: bool,
    undelivered: str | None = None,
) -> Verdict:
    """Judge a whole run.

    Args:
        budgets: All budgets of the run.
        invalid: Why the run is invalid, or None.
        allow_unmeasured: Whether missing measurements are excused.
        undelivered: Why an instrument that was asked for gave nothing, or None; nothing excuses it.
    """
    required = [b for b in budgets if b.required]
    failed = [b for b in required if b.verdict is BudgetOutcome.FAIL]
    missing = [b for b in required if b.verdict is BudgetOutcome.UNMEASURED]
    open_ = [b for b in required if b.verdict is BudgetOutcome.UNDECIDED]
    reasons = [f"{b.name}: {b.quantity.value:g} {b.quantity.unit}, not {b.side} {b.limit:g}" for b in failed]
    reasons += [] if invalid is None else [invalid]
    reasons += [] if undelivered is None else [undelivered]
    reasons += [f"{b.name}: {b.reason}" for b in open_]
    excused = " (allowed)" if allow_unmeasured else ""
    reasons += [f"{b.name} was not measured: {b.reason}{excused}" for b in missing]
    if failed:
        verdict, code = Overall.FAIL, GateError.exit_code
    elif invalid is not None:
        verdict, code = Overall.INVALID, DeviceError.exit_code
    elif open_ or undelivered is not None or (missing and not allow_unmeasured):
        verdict, code = Overall.UNDECIDED, UndecidedError.exit_code
    else:
        verdict, code = Overall.PASS, EXIT_OK
    return Verdict(
        verdict=verdict,
        exit_code=cast(ExitCode, code),
        reasons=reasons,
        allow_unmeasured=allow_unmeasured,
        invalid=invalid,
    )
