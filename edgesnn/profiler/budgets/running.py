"""How the budgets stand while the windows are still running: a look, not the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgesnn.meters.serve import Live
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.profiler.power.evaluation import HostSpan
from edgesnn.record.budgets import BUDGETS
from edgesnn.record.quantities import Kind, known
from edgesnn.record.verdicts import Budget, BudgetOutcome

#: Told of every budget that has a limit, after each window.
OnRunning = Callable[[Sequence[Budget]], None]


@dataclass(frozen=True, slots=True)
class SoFar:
    """What the finished windows say.

    Attributes:
        p95_ms: 95th percentile of the forward pass over all finished windows.
        mean_w: Mean power of the metered windows by the host's clock; None without a meter.
        simulated: Whether the meter or the device is a simulation.
        windows: Finished windows.
    """

    p95_ms: float
    mean_w: float | None
    simulated: bool
    windows: int


def so_far(
    windows: Sequence[MeasuredWindow],
    spans: Sequence[HostSpan],
    lives: Sequence[tuple[int, Live]],
    *,
    simulated: bool,
) -> SoFar:
    """Sum up the finished windows.

    Args:
        windows: At least one.
        spans: Host times around those that this process measured.
        lives: How the power went, with the host's times, ``time.monotonic_ns``.
        simulated: Whether the meter or the device is a simulation.
    """
    watts = [
        live.mean_w
        for when_ns, live in lives
        if live.mean_w is not None and any(span.start_ns < when_ns < span.stop_ns for span in spans)
    ]
    counted = np.concatenate([window.counted_ms for window in windows])
    mean = float(np.mean(watts)) if watts else None
    return SoFar(float(np.percentile(counted, 95)), mean, simulated, len(windows))


def running_verdicts(budgets: Sequence[Budget], now: SoFar) -> tuple[Budget, ...]:
    """The budgets that have a limit, with what the windows say so far in place of what is missing.

    Args:
        budgets: Judged on everything that is known but the windows.
        now: What the windows say; it decides nothing yet.
    """
    found = {"latency.p95": now.p95_ms, "power.mean": None if now.mean_w is None else 1e3 * now.mean_w}
    shown = []
    for budget in budgets:
        if budget.limit is None:
            continue
        name = BUDGETS[budget.name].quantity
        value = found.get(name)
        if value is None:
            shown.append(budget)
            continue
        kind = Kind.SIMULATED if now.simulated else Kind.MEASURED
        quantity = known(name, value, f"{now.windows} windows so far", kind)
        reason = "below the limit so far" if value < budget.limit else "over the limit so far"
        changes = {"quantity": quantity, "verdict": BudgetOutcome.UNDECIDED, "reason": reason}
        shown.append(budget.model_copy(update=changes))
    return tuple(shown)
