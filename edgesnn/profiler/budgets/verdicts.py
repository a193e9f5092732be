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
from edgesnn.profiler.budgets.profile import FramesProfile, Limit, Profile
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.power.quantities import judge_power
from edgesnn.profiler.results import Absent
from edgesnn.record.budgets import BUDGETS
from edgesnn.record.quantities import MEGABYTE, Quantities, Quantity, missing
from edgesnn.record.verdicts import Budget

#: The times of a session.
Timed = LatencySession | FrameSession | Absent

NO_CASCADE = "no wake network was given (--cascade)"


def judge(
    profile: Profile | FramesProfile,
    quantities: Quantities,
    timed: Timed,
    memory: Sequence[Probe] | Absent,
    power: PowerResult | Absent,
) -> list[Budget]:
    """Judge every budget that a profile can set.

    Args:
        profile: The limits.
        quantities: Every quantity by name.
        timed: The times behind the percentiles.
        memory: The fresh processes.
        power: The metered session.
    """
    peaks = [] if isinstance(memory, Absent) else [p.peak_bytes / MEGABYTE for p in memory]
    found = []
    for known in BUDGETS.values():
        limit: Limit | None = getattr(profile.budgets, known.name, None)
        if limit is None:
            continue
        quantity = quantities.get(known.quantity)
        if quantity is None:  # what a profile does not ask for unless it limits it
            if limit.limit is None:
                continue
            quantity = missing([known.quantity], NO_CASCADE)[known.quantity]
        spec = BudgetSpec(known.name, known.subject.format(**_words(profile)), known.side, limit)
        if known.quantity in ("frame.p95", "decision.p95"):
            budget = _judge_frames(spec, quantity, timed)
        elif known.quantity == "latency.p95":
            budget = _judge_latency(spec, quantity, timed)
        elif known.quantity == "first_token.p95":
            budget = _judge_first_token(spec, quantity, timed)
        elif known.quantity == "power.mean":
            budget = judge_power(spec, quantity, power)
        elif known.quantity in ("duty.power", "cascade.power"):
            windows = 0 if isinstance(power, Absent) else len(power.valid)
            budget = judge_interval(spec, quantity, n=windows, unit_of_n="windows")
        elif known.quantity == "memory.peak":
            budget = judge_all(spec, quantity, peaks)
        elif known.quantity.startswith("accuracy."):
            budget = _judge_accuracy(spec, quantity, profile)
        else:
            budget = judge_value(spec, quantity)
        found.append(simulation_decides_nothing(budget))
    return found


def _words(profile: Profile | FramesProfile) -> dict[str, object]:
    """What stands in the subject of a budget."""
    if isinstance(profile, FramesProfile):
        frames = {"step": "frame", "outputs": "outputs", "timestep": "frame"}
        return {**frames, "prompt_tokens": "", "work": "frames without pause"}
    tokens = {"step": "token", "outputs": "logits", "timestep": "inner timestep"}
    prompt = profile.workload.prompt_tokens
    return {**tokens, "prompt_tokens": prompt, "work": "continuous generation"}


def _judge_frames(spec: BudgetSpec, quantity: Quantity, timed: Timed) -> Budget:
    if not isinstance(timed, FrameSession):
        return judge_value(spec, quantity)
    if timed.invalid is not None:
        return undecided(spec, quantity, timed.invalid)
    times = timed.frame_ms if spec.name == "frame_ms_p95" else timed.decision_ms
    return judge_percentile(spec, quantity, times, 0.95)


def _judge_accuracy(spec: BudgetSpec, quantity: Quantity, profile: Profile | FramesProfile) -> Budget:
    """Quality by its interval; a number that says nothing, as a retention against chance, decides nothing."""
    if quantity.reason is not None:
        return undecided(spec, quantity, quantity.reason)
    unit = "decisions" if isinstance(profile, FramesProfile) else "documents"
    return judge_interval(spec, quantity, n=quantity.n or 0, unit_of_n=unit)


def _judge_latency(spec: BudgetSpec, quantity: Quantity, latency: Timed) -> Budget:
    if not isinstance(latency, LatencySession):
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    if not latency.full_context:
        reason = f"timed with a context of {latency.context} tokens, which is not the program's full one"
        return undecided(spec, quantity, reason)
    return judge_percentile(spec, quantity, latency.per_token_ms, 0.95)


def _judge_first_token(spec: BudgetSpec, quantity: Quantity, latency: Timed) -> Budget:
    if not isinstance(latency, LatencySession) or latency.first_token is None:
        return judge_value(spec, quantity)
    if latency.invalid is not None:
        return undecided(spec, quantity, latency.invalid)
    return judge_percentile(spec, quantity, latency.first_token.total_ms, 0.95)
