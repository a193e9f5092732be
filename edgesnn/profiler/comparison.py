"""The forward pass of another engine on the same workload: is the integer program faster, or slower?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.latency import Latency, Progress, measure_windows, require_steps
from edgesnn.profiler.profile import Profile
from edgesnn.profiler.results import Absent, Kind, Quantity, absent, present
from edgesnn.profiler.session import workload_ids
from edgesnn.profiler.statistics import Percentile, disjoint_intervals, percentile
from edgesnn.profiler.warmup import warm_up
from edgesnn.runners.base import DeviceInfo, Runner

#: Windows that a comparison takes at most; the run itself takes what its profile says.
COMPARISON_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another engine beside the one that the run is about.

    Attributes:
        target: Its target.
        engine: Its engine and version; None when it did not run.
        p50: Median of its forward pass, or why there is none.
        p95: 95th percentile likewise.
        ratio: Median of the run's forward pass over this one's: above 1 the run is the slower one.
        statement: That in words.
    """

    target: str
    engine: str | None
    p50: Quantity
    p95: Quantity
    ratio: Quantity
    statement: str


def compare_forward(
    runner: Runner,
    bundle: Bundle,
    profile: Profile,
    subject: Latency,
    *,
    target: str,
    subject_target: str,
    device: DeviceInfo,
    on_progress: Progress,
) -> Comparison:
    """Time another engine's forward pass under the run's workload, after the run.

    Args:
        runner: The other runner, open.
        bundle: The bundle it holds.
        profile: The run's profile.
        subject: What the run measured.
        target: The other target.
        subject_target: The run's target.
        device: What opening the other runner returned.
        on_progress: Told of every window.

    Returns:
        The comparison; "slower" and "faster" only where the medians' 95 % intervals are disjoint.

    Raises:
        RunnerError: The other runner cannot step, or failed.
    """
    require_steps(runner)
    ids, _ = workload_ids(bundle)
    workload = profile.workload
    warm = warm_up(runner, ids, workload.warmup_tokens)
    fewer = workload.model_copy(update={"windows": min(workload.windows, COMPARISON_WINDOWS)})
    windows = measure_windows(runner, fewer, ids, context=subject.context, warm=warm, on_progress=on_progress)
    times = np.concatenate([w.counted_ms for w in windows])
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    how = f"forward pass of one step, {len(windows)} windows, context of at least {subject.context} tokens"

    def quantity(p: Percentile) -> Quantity:
        interval = (p.lower_ms, p.upper_ms)
        return present(
            p.value_ms, "ms", how, kind, interval=interval, n=len(times), effective_n=p.effective_n
        )

    own, other = subject.forward.percentile(0.5), percentile(times, 0.5)
    ratio, statement = _ratio(own, other, subject_target, target, kind)
    return Comparison(
        target=target,
        engine=f"{device.engine} {device.engine_version}",
        p50=quantity(other),
        p95=quantity(percentile(times, 0.95)),
        ratio=ratio,
        statement=statement,
    )


def no_comparison(target: str, reason: Absent) -> Comparison:
    """The row of an engine that did not run.

    Args:
        target: Its target.
        reason: Why.
    """
    nothing = absent("ms", reason.reason)
    return Comparison(
        target, None, nothing, nothing, absent("ratio", reason.reason), f"{target}: {reason.reason}"
    )


def _ratio(
    own: Percentile, other: Percentile, own_target: str, other_target: str, kind: Kind
) -> tuple[Quantity, str]:
    ratio = own.value_ms / other.value_ms
    ends = (own.lower_ms, own.upper_ms, other.lower_ms, other.upper_ms)
    low_own, high_own, low, high = ends
    how = "ratio of medians; interval from both medians' 95 % intervals, so at least 90 %"
    if low_own is None or high_own is None or low is None or high is None or low <= 0:
        statement = f"{own_target} against {other_target}: too few samples to compare"
        return present(ratio, "ratio", how, kind), statement
    interval = (low_own / high, high_own / low)
    if not disjoint_intervals((low_own, high_own), (low, high)):
        word = f"no difference from {other_target} shown"
    elif ratio > 1.0:
        word = f"{own_target} is slower than {other_target}: {ratio:.2f} times its time per step"
    else:
        word = f"{own_target} is faster than {other_target}: {ratio:.2f} times its time per step"
    return present(ratio, "ratio", how, kind, interval=interval), word
