"""The forward pass of another engine on the same workload: is the run's engine faster, or slower?

A machine's speed changes from minute to minute by more than engines differ, so windows of both engines
alternate (A B, B A, A B ..), and the claim stands on the ratios within pairs: the 95 % interval of the mean
log ratio, Student t over the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.budgets.profile import Profile, Workload
from edgesnn.profiler.budgets.statistics import CONFIDENCE, FloatArray, percentile
from edgesnn.profiler.latency.steps import Latency, MeasuredWindow, Progress, measure_windows, require_steps
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import workload_ids
from edgesnn.record.quantities import Kind, Quantity, absent, present
from edgesnn.runners.base import DeviceInfo, Runner

#: Pairs of windows for every window of the profile, and at most.
PAIRS_PER_WINDOW = 2
MOST_PAIRS = 8
#: Longest time of one window's counted steps.
WINDOW_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another engine beside the one that the run is about.

    Attributes:
        target: Its target.
        engine: Its engine and version; None when it did not run.
        p50: Median of its forward pass, or why there is none.
        p95: 95th percentile likewise.
        ratio: The run's forward pass over this one's: above 1 the run is the slower one.
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
    subject_runner: Runner | None = None,
) -> Comparison:
    """Time another engine's forward pass under the run's workload.

    Args:
        runner: The other runner, open.
        bundle: The bundle it holds.
        profile: The run's profile.
        subject: What the run measured.
        target: The other target.
        subject_target: The run's target.
        device: What opening the other runner returned.
        on_progress: Told of every pair of windows.
        subject_runner: The run's runner, still open, to alternate with. None where both cannot be open at
            once: then the run's own windows are set against the other's, and nothing is claimed.

    Returns:
        The comparison; "slower" and "faster" only where the interval of the ratio excludes 1.

    Raises:
        RunnerError: A runner cannot step, or failed.
    """
    require_steps(runner)
    ids, _ = workload_ids(bundle)
    warm = warm_up(runner, ids, profile.workload.warmup_tokens)
    one = _one_window(profile.workload)

    def window(of: Runner) -> MeasuredWindow:
        return measure_windows(of, one, ids, context=subject.context, warm=warm, on_progress=_silent)[0]

    pairs = min(MOST_PAIRS, PAIRS_PER_WINDOW * profile.workload.windows)
    own: list[MeasuredWindow] = []
    other: list[MeasuredWindow] = []
    for number in range(pairs):
        on_progress(f"comparing with {target}", number, pairs)
        if subject_runner is None:
            other.append(window(runner))
        elif number % 2:
            other.append(window(runner))
            own.append(window(subject_runner))
        else:
            own.append(window(subject_runner))
            other.append(window(runner))
    on_progress(f"comparing with {target}", pairs, pairs)
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    times = np.concatenate([w.counted_ms for w in other])
    if own:
        ratio, statement = _paired(_medians(own), _medians(other), subject_target, target, kind)
    else:
        value = subject.forward.percentile(0.5).value_ms / float(np.median(times))
        ratio = present(value, "ratio", "ratio of medians, windows not alternated", kind)
        statement = (
            f"{subject_target} took {value:.2f} times the time of {target} per step; "
            "windows did not alternate, so this claims nothing"
        )
    how = f"forward pass of one step, {pairs} windows, context of at least {subject.context} tokens"
    return Comparison(
        target=target,
        engine=f"{device.engine} {device.engine_version}",
        p50=_percentile(times, 0.5, how, kind),
        p95=_percentile(times, 0.95, how, kind),
        ratio=ratio,
        statement=statement,
    )


def no_comparison(target: str, reason: Absent) -> Comparison:
    """The row of an engine that did not run.

    Args:
        target: Its target.
        reason: Why.
    """
    nothing, ratio = absent("ms", reason.reason), absent("ratio", reason.reason)
    return Comparison(target, None, nothing, nothing, ratio, f"{target}: {reason.reason}")


def _silent(stage: str, done: int, total: int) -> None:
    """Progress of a single window, which nobody needs."""


def _one_window(workload: Workload) -> Workload:
    seconds = min(workload.min_window_seconds, WINDOW_SECONDS)
    return workload.model_copy(update={"windows": 1, "min_window_seconds": seconds})


def _medians(windows: list[MeasuredWindow]) -> FloatArray:
    return np.array([float(np.median(w.counted_ms)) for w in windows])


def _percentile(times: FloatArray, q: float, how: str, kind: Kind) -> Quantity:
    found = percentile(times, q)
    return present(
        found.value_ms,
        "ms",
        how,
        kind,
        interval=(found.lower_ms, found.upper_ms),
        n=len(times),
        effective_n=found.effective_n,
    )


def _paired(
    own_ms: FloatArray, other_ms: FloatArray, own: str, other: str, kind: Kind
) -> tuple[Quantity, str]:
    """The ratio of two engines from the medians of alternating windows, and what it says."""
    logs = np.log(own_ms / other_ms)
    n = len(logs)
    ratio = float(np.exp(logs.mean()))
    half = float(student_t.ppf((1.0 + CONFIDENCE) / 2.0, n - 1) * logs.std(ddof=1) / np.sqrt(n))
    low, high = ratio * float(np.exp(-half)), ratio * float(np.exp(half))
    how = f"mean log ratio of the medians of {n} alternating pairs of windows, Student t"
    quantity = present(ratio, "ratio", how, kind, interval=(low, high), n=n)
    interval = f"{ratio:.2f} times its time per step (95 % interval {low:.2f} to {high:.2f})"
    if low > 1.0:
        return quantity, f"{own} is slower than {other}: {interval}"
    if high < 1.0:
        return quantity, f"{own} is faster than {other}: {interval}"
    return quantity, f"no difference between {own} and {other} shown: {interval}"
