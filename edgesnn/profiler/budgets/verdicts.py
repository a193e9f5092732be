"""Every budget of a profile, judged on what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from edgesnn.profiler.budgets.judging import (
    BudgetSpec,
    judge_all,
    judge_interval,
    judge_percentile,
    judge_value,
    simulation_decides_nothing,
    undecided,
)
from edgesnn.profiler.budgets.profile import Profile
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.quantities import judge_power
from edgesnn.profiler.results import Absent
from edgesnn.record.quantities import BUDGETS, MEGABYTE, Quantities, Quantity
from edgesnn.record.verdicts import Budget


def judge(
    profile: Profile,
    quantities: Quantities,
    latency: LatencySession | Absent,
    memory: Sequence[Probe] | Absent,
    power: PowerResult | Absent,
) -> list[Budget]:
    """Judge every budget of a profile.

    Args:
        profile: The limits.
        quantities: Every quantity by name.
        latency: The times behind the percentiles.
        memory: The fresh processes.
        power: The metered session.
    """
    documents = quantities["accuracy.top1"].n or 0
    peaks = [] if isinstance(memory, Absent) else [p.peak_bytes / MEGABYTE for p in memory]
    found = []
    for known in BUDGETS.values():
        subject = known.subject.format(prompt_tokens=profile.workload.prompt_tokens)
        spec = BudgetSpec(known.name, subject, known.side, getattr(profile.budgets, known.name))
        quantity = quantities[known.quantity]
        if known.quantity == "latency.p95":
            budget = _judge_latency(spec, quantity, latency)
        elif known.quantity == "first_token.p95":
            budget = _judge_first_token(spec, quantity, latency)
        elif known.quantity == "power.mean":
            budget = judge_power(spec, quantity, power)
        elif known.quantity == "memory.peak":
            budget = judge_all(spec, quantity, peaks)
        elif known.quantity.startswith("accuracy."):
            budget = _judge_accuracy(spec, quantity, documents)
        else:
            budget = judge_value(spec, quantity)
        found.append(simulation_decides_nothing(budget))
    return found


def _judge_accuracy(spec: BudgetSpec, quantity: Quantity, documents: int) -> Budget:
    """Quality by its interval; a number that says nothing, as a retention against chance, decides nothing."""
    if quantity.reason is not None:
        return undecided(spec, quantity, quantity.reason)
    return judge_interval(spec, quantity, n=documents, unit_of_n="documents")


def _judge_latency(spec: BudgetSpec, quantity: Quantity, latency: LatencySession | Absent) -> Budget:
    if isinstance(latency, Absent):
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    if not latency.full_context:
        reason = f"timed with a context of {latency.context} tokens, which is not the program's full one"
        return undecided(spec, quantity, reason)
    return judge_percentile(spec, quantity, latency.per_token_ms, 0.95)


def _judge_first_token(spec: BudgetSpec, quantity: Quantity, latency: LatencySession | Absent) -> Budget:
    if isinstance(latency, Absent) or latency.first_token is None:
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    return judge_percentile(spec, quantity, latency.first_token.total_ms, 0.95)
