"""Latency of one frame, and of all frames of a decision.

Frames are timed in windows (`edgesnn.profiler.latency.steps`). A window is a number of passes over the same
frames, each from a reset: held-out windows one after another, as a network that is always on hears them. A
decision takes the frames of one of them, so its time is the sum of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.profiler.budgets.statistics import FloatArray, TimesSummary, summarise
from edgesnn.profiler.budgets.workload import FramesWorkload
from edgesnn.profiler.latency.session import latency_windows
from edgesnn.profiler.latency.steps import (
    WINDOW_MAX_STEPS,
    Around,
    MeasuredWindow,
    Progress,
    TakenWindows,
    WindowKeeper,
    disagreement,
    measure_windows,
    require_steps,
)
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.record.timing import ClockName, Latency, WarmUp
from edgesnn.runners.base import Capability, Runner, Sighting, Watchful

#: Most outputs of a window, int32 each.
OUTPUTS_KEPT = 2**26


@dataclass(frozen=True, slots=True, eq=False)
class FrameSession:
    """What one latency session of frames found.

    Attributes:
        forward: One frame.
        decision: All frames of a decision; None where nobody says how many they are.
        frame_ms: The times behind `forward`, in order.
        decision_ms: The times behind `decision`, in order.
        decision_frames: Frames of a decision, or None.
        windows: The windows, in order.
        clock: ``device`` or ``host``.
        warm_up: What warming up took.
        invalid: Why the session is invalid, or None.
        marks: What the runner saw of its device meanwhile.
    """

    forward: TimesSummary
    decision: TimesSummary | None
    frame_ms: FloatArray
    decision_ms: FloatArray
    decision_frames: int | None
    windows: tuple[MeasuredWindow, ...]
    clock: ClockName
    warm_up: WarmUp
    invalid: str | None
    marks: tuple[str, ...] = ()

    def record(self, text: str) -> Latency:
        """How the times were taken, as a record keeps it.

        Args:
            text: What the frames are.
        """
        return Latency(
            text=text,
            clock=self.clock,
            context=None,
            full_context=None,
            autocorrelation_time=self.forward.autocorrelation_time,
            p99_note=self.forward.p99_note,
            warm_up=self.warm_up,
            drift=self.forward.drift,
            first_token_form=None,
            windows=latency_windows(self.windows),
        )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The raw times, milliseconds; ``window_NN_latencies_ms`` holds every frame of one window."""
        found: dict[str, npt.NDArray[np.generic]] = {"per_frame_ms": self.frame_ms}
        if self.decision is not None:
            found["per_decision_ms"] = self.decision_ms
        for number, window in enumerate(self.windows):
            found[f"window_{number:02d}_latencies_ms"] = window.latencies_ms
        return found


def warm_frames(runner: Runner, frames: npt.NDArray[np.integer], least: int) -> WarmUp:
    """Run frames until the device is warm; the typical time is that inside of a window.

    A step from here goes through the host's calls, which can take longer than a frame.

    Args:
        runner: An open runner with `Capability.STEP`.
        frames: Frames ``[length, channels]``.
        least: Least number of steps.
    """
    warm = warm_up(runner, frames, least)
    inside = runner.window(frames, 1, 0).latencies_ns / 1e6
    return warm.model_copy(update={"typical_ms": float(np.median(inside))})


def measure_frames(
    runner: Runner,
    workload: FramesWorkload,
    frames: npt.NDArray[np.int8],
    *,
    decision_frames: int | None,
    outputs: int = 1,
    on_progress: Progress,
    around: Around | None = None,
    keeper: WindowKeeper | None = None,
    taken: TakenWindows | None = None,
) -> FrameSession:
    """Run the latency session of a profile of frames.

    Args:
        runner: An open runner with `Capability.STEP` and `Capability.FRAMES`.
        workload: What to run.
        frames: Whole decisions, ``[n, channels]``, repeated as often as needed.
        decision_frames: Frames of a decision, which divides n; None where nobody says.
        outputs: Outputs of a frame: a window keeps them all, and is shorter where they are many.
        on_progress: Told of every window.
        around: Entered around every window of a metered session; None where there is no meter.
        keeper: Keeps the windows as they are finished; None keeps them in memory only.
        taken: Windows measured already under this workload; None measures them now.

    Returns:
        The session's result.

    Raises:
        RunnerError: The device cannot step, or gave times that make no sense.
    """
    require_steps(runner)
    if isinstance(runner, Watchful):
        runner.watch()
    if taken is None:
        warm = warm_frames(runner, frames, workload.warmup_steps)
        windows = measure_windows(
            runner,
            workload,
            frames,
            context=1,
            warm=warm,
            on_progress=on_progress,
            around=around,
            keeper=keeper,
            most=min(WINDOW_MAX_STEPS, OUTPUTS_KEPT // outputs),
        )
    else:
        warm, windows = taken.warm_up, taken.windows
    frame_ms = np.concatenate([window.counted_ms for window in windows])
    decision_ms = frame_ms.reshape(-1, decision_frames or 1).sum(axis=1)
    sighting = runner.seen() if isinstance(runner, Watchful) else Sighting()
    return FrameSession(
        forward=summarise(frame_ms),
        decision=None if decision_frames is None else summarise(decision_ms),
        frame_ms=frame_ms,
        decision_ms=decision_ms,
        decision_frames=decision_frames,
        windows=windows,
        clock="device" if Capability.DEVICE_CLOCK in runner.capabilities else "host",
        warm_up=warm,
        invalid=sighting.invalid or disagreement(windows),
        marks=sighting.marks,
    )
