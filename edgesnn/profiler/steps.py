"""What a session needs to know of the steps that it takes: tokens of a language model, or frames."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.profiler.latency.frames import FrameSession
from edgesnn.profiler.latency.session import LatencySession
from edgesnn.profiler.power.evaluation import PowerResult
from edgesnn.profiler.results import Absent
from edgesnn.profiler.windows import SessionWindows
from edgesnn.record.quantities import Quantities
from edgesnn.record.steps import StepWords
from edgesnn.record.timing import Generation

#: The times of a session.
TimedSession = LatencySession | FrameSession


class SessionSteps(Protocol):
    """One kind of step: how it is timed, and what is said of it.

    Attributes:
        words: What a step is called.
        given: What runs: token ids ``[n]``, or frames ``[n, channels]``.
        text: What these are, for people.
    """

    words: StepWords
    given: npt.NDArray[np.integer]
    text: str

    @property
    def generation(self) -> Generation | None:
        """How whole answers were timed, once `beside` was asked; None where there are none."""
        ...

    def quality(self) -> Quantities:
        """What was measured on golden before the session."""
        ...

    def time(self, windows: SessionWindows) -> TimedSession | Absent:
        """Time the windows.

        Raises:
            RunnerError: The device failed, or gave times that make no sense.
        """
        ...

    def times(self, timed: TimedSession | Absent) -> Quantities:
        """The times as quantities, or why they are missing."""
        ...

    def beside(
        self, timed: TimedSession | Absent, power: PowerResult | Absent, *, simulated: bool
    ) -> Quantities:
        """What follows from times and power, and whole answers where the profile asks for them.

        Args:
            timed: The times.
            power: The metered session.
            simulated: Whether meter or device is a simulation.
        """
        ...

    def invalid(self) -> str | None:
        """Why what `beside` ran contradicts itself, or None."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Raw arrays beside those of the times."""
        ...
