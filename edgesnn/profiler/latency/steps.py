"""Measurement windows: forward passes of single steps, all over the same ids or frames.

A step is a token with full context, or a frame of a network that reads frames.

Steps are timed inside `Runner.window`: the device runs alone, from an empty context, and only the steps whose
context is full are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError
from edgesnn.profiler.budgets.statistics import FloatArray
from edgesnn.profiler.budgets.workload import SteppedWorkload
from edgesnn.record.timing import WarmUp
from edgesnn.runners.base import Capability, Runner, Window

#: Called with a stage, what is done of it and what there is to do.
Progress = Callable[[str, int, int], None]

#: Entered around every window, for example to idle before and after it while a meter streams.
Around = Callable[[], AbstractContextManager[None]]

#: Steps before each window that are not timed, to fill the caches that the pause emptied.
WINDOW_WARMUP = 4
#: Most counted steps of one window.
WINDOW_MAX_STEPS = 1_000_000
#: No step is planned to be shorter.
LEAST_STEP_MS = 1e-4
#: A window is planned longer by this factor: steps within it may be faster than those of the warm-up.
PLAN_MARGIN = 1.05
_NS_PER_MS = 1e6


class WindowKeeper(Protocol):
    """Keeps the windows of a session as they are finished, and those of an earlier part of it."""

    def plan(self, steps: int) -> int:
        """Steps of every window, given what is wanted now."""
        ...

    def finished(self) -> Sequence[MeasuredWindow]:
        """The windows of earlier parts."""
        ...

    def keep(self, window: MeasuredWindow) -> None:
        """Take a window that was just finished."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredWindow:
    """One measurement window.

    Attributes:
        latencies_ms: Every step, in order, those with a context not yet full included, ``[n]``.
        counted_ms: The steps with full context.
        started_ns: Host time at the start, ``time.perf_counter_ns``.
        ended_ns: Host time at the end.
        seconds: Host time of the whole window.
        outside_ms_per_token: Time of the window that no step accounts for, per step: transport and host loop.
        output_sha256: Hash of all logits.
    """

    latencies_ms: FloatArray
    counted_ms: FloatArray
    started_ns: int
    ended_ns: int
    seconds: float
    outside_ms_per_token: float
    output_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class TakenWindows:
    """Windows that were measured before the session, for example in turns with another program's.

    Attributes:
        warm_up: What warming up took.
        windows: The windows, in order, all over the same ids.
    """

    warm_up: WarmUp
    windows: tuple[MeasuredWindow, ...]


def require_steps(runner: Runner) -> None:
    """Refuse a runner that cannot run one step at a time.

    Raises:
        RunnerError: It cannot.
    """
    if Capability.STEP not in runner.capabilities:
        raise RunnerError(
            f"runner '{runner.name}' cannot run one step at a time, so a step has no latency",
            actual=", ".join(sorted(runner.capabilities)),
            limit=Capability.STEP,
        )


def measure_windows(
    runner: Runner,
    workload: SteppedWorkload,
    ids: npt.NDArray[np.integer],
    *,
    context: int,
    warm: WarmUp,
    on_progress: Progress,
    around: Around | None = None,
    keeper: WindowKeeper | None = None,
    most: int = WINDOW_MAX_STEPS,
) -> tuple[MeasuredWindow, ...]:
    """Run the measurement windows, all over the same ids.

    Args:
        runner: An open, warm runner.
        workload: What to run.
        ids: Text as token ids ``[n]``, repeated as often as needed; or frames ``[n, channels]``, run in
            whole passes that each begin at a reset.
        context: The first step that counts is number ``context``.
        warm: Tells how many steps fill a window.
        on_progress: Told of every window.
        around: Entered around every window. Beside a meter windows are longer, and nothing runs untimed in
            them: what runs draws power.
        keeper: See `measure_latency`; the windows that it has are not measured again.
        most: Most counted steps of a window, unless the workload asks for more.

    Raises:
        RunnerError: A window has another number of times than steps, or a time that is not positive.
    """
    seconds = workload.min_window_seconds if around is None else workload.metered_window_seconds
    untimed = WINDOW_WARMUP if around is None else 0
    wanted = math.ceil(PLAN_MARGIN * seconds * 1000.0 / max(warm.typical_ms, LEAST_STEP_MS))
    counted = min(max(wanted, workload.least_steps), max(most, workload.least_steps))
    lead, whole = context - 1, ids.ndim > 1
    steps = math.ceil(counted / len(ids)) * len(ids) if whole else lead + counted
    windows: list[MeasuredWindow] = []
    if keeper is not None:  # windows over other tokens would give other answers
        steps = keeper.plan(steps)
        windows += keeper.finished()
    given, passes = (ids, steps // len(ids)) if whole else (np.resize(ids, steps), 1)
    for number in range(len(windows), workload.windows):
        on_progress("latency windows", number, workload.windows)
        with around() if around is not None else nullcontext():
            window = runner.window(given, passes, untimed)
        windows.append(_measured(runner.name, window, lead, steps))
        if keeper is not None:
            keeper.keep(windows[-1])
    on_progress("latency windows", workload.windows, workload.windows)
    return tuple(windows)


def disagreement(windows: Sequence[MeasuredWindow]) -> str | None:
    """Why windows over the same ids contradict each other, or None.

    An integer program has one answer; a device that gives two has no latency worth reporting.
    """
    hashes = [w.output_sha256 for w in windows]
    different = [i for i, value in enumerate(hashes) if value != hashes[0]]
    if not different:
        return None
    return (
        f"the device answered differently in {len(different)} of {len(hashes)} windows over the same input "
        f"(window {different[0] + 1}: {hashes[different[0]][:12]}, window 1: {hashes[0][:12]})"
    )


def _measured(name: str, window: Window, lead: int, steps: int) -> MeasuredWindow:
    times = window.latencies_ns.astype(np.float64) / _NS_PER_MS
    if len(times) != steps or not (times > 0).all():
        raise RunnerError(
            f"runner '{name}' gave times that make no sense",
            actual=f"{len(times)} times, the smallest {times.min(initial=0.0)} ms",
            limit=f"{steps} positive times",
        )
    total_ms = (window.ended_ns - window.started_ns) / _NS_PER_MS
    return MeasuredWindow(
        latencies_ms=times,
        counted_ms=times[lead:],
        started_ns=window.started_ns,
        ended_ns=window.ended_ns,
        seconds=total_ms / 1000.0,
        outside_ms_per_token=(total_ms - float(times.sum())) / steps,
        output_sha256=window.output_sha256,
    )
