"""The forward pass of another engine on the same workload: is the run's engine faster, or slower?

A machine's speed changes from minute to minute by more than engines differ, so windows of both engines
alternate (A B, B A, A B ..), and the claim stands on the ratios within pairs: the 95 % interval of the mean
log ratio, Student t over the pairs.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from edgesnn.profiler.budgets.statistics import CONFIDENCE, FloatArray, percentile
from edgesnn.profiler.budgets.workload import SteppedWorkload
from edgesnn.profiler.latency.frames import warm_frames
from edgesnn.profiler.latency.spread import medians
from edgesnn.profiler.latency.steps import MeasuredWindow, Progress, measure_windows, require_steps
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.profiler.quantities import percentile_quantity
from edgesnn.profiler.results import Absent
from edgesnn.profiler.session import SessionResult
from edgesnn.profiler.setting import Subject, workload_ids
from edgesnn.record.quantities import Kind, Quantity, absent, present
from edgesnn.record.timing import Comparison
from edgesnn.runners.base import Runner

#: Pairs of windows for every window of the profile, and at most.
PAIRS_PER_WINDOW = 2
MOST_PAIRS = 8
#: Longest time of one window's counted steps.
WINDOW_SECONDS = 0.25
#: Most counted steps of one window, unless the profile asks for more. Every step's answer is hashed, which
#: takes longer than a step of the C engine; the claim stands on the pairs, not on the steps of a window.
WINDOW_STEPS = 2048


def compare_forward(
    other: Subject, result: SessionResult, *, on_progress: Progress, subject_runner: Runner | None = None
) -> Comparison:
    """Time another engine's forward pass under the run's workload.

    Args:
        other: The bundle on the other engine, open.
        result: What the run measured; it has a latency.
        on_progress: Told of every pair of windows.
        subject_runner: The run's runner, still open, to alternate with. None where both cannot be open at
            once: then the run's own windows are set against the other's, and nothing is claimed.

    Returns:
        The comparison; "slower" and "faster" only where the interval of the ratio excludes 1.

    Raises:
        RunnerError: A runner cannot step, or failed.
    """
    runner, device, target = other.runner, other.device, other.target
    workload, own_target = result.profile.workload, result.subject.target
    require_steps(runner)
    assert result.latency is not None
    words = result.words
    context = result.latency.context
    ids, _ = workload_ids(other.bundle, result.decision_frames)
    warming = warm_up if context is not None else warm_frames
    other_warm = warming(runner, ids, workload.warmup_steps)
    one = _one_window(workload)

    own_warm = result.latency.warm_up

    def window(of: Runner) -> MeasuredWindow:
        warm = other_warm if of is runner else own_warm  # each fills the time of a window with its own steps
        return measure_windows(
            of, one, ids, context=context or 1, warm=warm, on_progress=_silent, most=WINDOW_STEPS
        )[0]

    pairs = min(MOST_PAIRS, PAIRS_PER_WINDOW * workload.windows)
    own: list[MeasuredWindow] = []
    others: list[MeasuredWindow] = []
    for number in range(pairs):
        on_progress(f"comparing with {target}", number, pairs)
        if subject_runner is None:
            others.append(window(runner))
        elif number % 2:
            others.append(window(runner))
            own.append(window(subject_runner))
        else:
            own.append(window(subject_runner))
            others.append(window(runner))
    on_progress(f"comparing with {target}", pairs, pairs)
    kind = Kind.SIMULATED if device.simulated else Kind.MEASURED
    times = np.concatenate([w.counted_ms for w in others])
    if own:
        ratio, statement = _paired(medians(own), medians(others), own_target, target, kind)
    else:
        value = (result.quantities[f"{words.series}.p50"].value or 0.0) / float(np.median(times))
        ratio = present(value, "ratio", "ratio of medians, windows not alternated", kind)
        statement = (
            f"{own_target} took {value:.2f} times the time of {target} per step; "
            "windows did not alternate, so this claims nothing"
        )
    how = f"forward pass of one step, {pairs} windows"
    if context is not None:
        how += f", context of at least {context} tokens"
    return Comparison(
        target=target,
        engine=f"{device.engine} {device.engine_version}",
        p50=percentile_quantity(percentile(times, 0.5), len(times), how, kind),
        p95=percentile_quantity(percentile(times, 0.95), len(times), how, kind),
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
    statement = f"{target}: {reason.reason}"
    return Comparison(target=target, engine=None, p50=nothing, p95=nothing, ratio=ratio, statement=statement)


def _silent(stage: str, done: int, total: int) -> None:
    """Progress of a single window, which nobody needs."""


def _one_window(workload: SteppedWorkload) -> SteppedWorkload:
    seconds = min(workload.min_window_seconds, WINDOW_SECONDS)
    return workload.model_copy(update={"windows": 1, "min_window_seconds": seconds})


def _paired(
    own_ms: FloatArray, other_ms: FloatArray, own: str, other: str, kind: Kind
) -> tuple[Quantity, str]:
    """The ratio of two engines from the medians of alternating windows, and what it says."""
    logs = np.log(own_ms / other_ms)
    n = len(logs)
    ratio = float(np.exp(logs.mean()))
    half = float(stdtrit(n - 1, (1.0 + CONFIDENCE) / 2.0) * logs.std(ddof=1) / np.sqrt(n))
    low, high = ratio * float(np.exp(-half)), ratio * float(np.exp(half))
    how = f"mean log ratio of the medians of {n} alternating pairs of windows, Student t"
    quantity = present(ratio, "ratio", how, kind, interval=(low, high), n=n)
    interval = f"{ratio:.2f} times its time per step (95 % interval {low:.2f} to {high:.2f})"
    if low > 1.0:
        return quantity, f"{own} is slower than {other}: {interval}"
    if high < 1.0:
        return quantity, f"{own} is faster than {other}: {interval}"
    return quantity, f"no difference between {own} and {other} shown: {interval}"
