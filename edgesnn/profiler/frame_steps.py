"""A session of a network that reads frames: frames, decisions, their accuracy, always-on power."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.errors import InternalError
from edgesnn.profiler.budgets.profile import FramesProfile
from edgesnn.profiler.frame_quantities import (
    always_on_quantities,
    decision_quantities,
    frame_quantities,
)
from edgesnn.profiler.latency.frames import FrameSession, measure_frames
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.latency.steps import Progress
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.quality.decisions import DecisionAccuracy
from edgesnn.profiler.results import Absent
from edgesnn.profiler.setting import Setting, Subject, decision_frames_of, workload_ids
from edgesnn.profiler.steps import SessionSteps, TimedSession
from edgesnn.profiler.windows import SessionWindows
from edgesnn.record.quantities import Quantities
from edgesnn.record.steps import FRAMES
from edgesnn.record.timing import Generation
from edgesnn.runners.base import Capability


class FrameSteps(SessionSteps):
    """The steps of a network that reads frames (`SessionSteps`).

    Args:
        subject: What is measured.
        profile: What to measure.
        setting: How.
        accuracy: Decisions of golden, or why there are none.
        on_progress: Told what happens.

    Attributes:
        decision_frames: Frames of a decision; None where nobody says.
    """

    words = FRAMES

    def __init__(
        self,
        subject: Subject,
        profile: FramesProfile,
        setting: Setting,
        accuracy: DecisionAccuracy | Absent,
        on_progress: Progress,
    ) -> None:
        self._subject, self._setting, self._progress = subject, setting, on_progress
        self._accuracy, self._cell, self._workload = accuracy, profile.cell, profile.workload
        self.decision_frames = decision_frames_of(subject.bundle, profile.workload)
        self.given, self.text = workload_ids(subject.bundle, self.decision_frames)

    @property
    def generation(self) -> Generation | None:
        return None

    def quality(self) -> Quantities:
        return decision_quantities(self._accuracy)

    def time(self, windows: SessionWindows) -> FrameSession | Absent:
        runner = self._subject.runner
        if Capability.STEP not in runner.capabilities:
            return Absent(f"runner '{runner.name}' cannot run one frame at a time")
        return measure_frames(
            runner,
            self._workload,
            self.given.astype(np.int8, copy=False),
            decision_frames=self.decision_frames,
            outputs=self._subject.bundle.program().outputs,
            on_progress=self._progress,
            around=None if windows.watch is None else windows.watch.window,
            keeper=windows,
            taken=self._setting.taken,
        )

    def times(self, timed: TimedSession | Absent) -> Quantities:
        return frame_quantities(_frames(timed), self._subject.device)

    def beside(
        self, timed: TimedSession | Absent, power: PowerResult | Absent, *, simulated: bool
    ) -> Quantities:
        return always_on_quantities(
            _frames(timed),
            power,
            self._workload.frames_per_second,
            self._cell,
            simulated=simulated or self._subject.device.simulated,
        )

    def invalid(self) -> str | None:
        return None

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {} if isinstance(self._accuracy, Absent) else self._accuracy.arrays()


def _frames(timed: TimedSession | Absent) -> FrameSession | Absent:
    if isinstance(timed, LatencySession):
        raise InternalError("tokens were timed as frames", remedy="this is a bug")
    return timed
