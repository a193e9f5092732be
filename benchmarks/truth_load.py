"""A load of which everything is known: power on straight lines between nodes, energy exact, marker levels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class Script:
    """What a simulated device does, written down step by step.

    A step is a command to draw another power; the load follows in ``rise_s``, in a straight line.

    Attributes:
        idle_w: Power before the first step.
        rise_s: How long the load takes from one power to the next.
        steps: Time of each command and the power from then on.
        levels: Time of each change of the marker input and its level from then on.
    """

    idle_w: float
    rise_s: float
    steps: list[tuple[float, float]] = field(default_factory=list)
    levels: list[tuple[float, int]] = field(default_factory=list)

    def draw(self, at_s: float, watts: float) -> None:
        """From a time on another power."""
        self.steps.append((at_s, watts))

    def mark(self, at_s: float, level: int) -> None:
        """From a time on another level of the marker input."""
        self.levels.append((at_s, level))


class TruthLoad:
    """A script as a load; see `edgesnn.meters.twins.load.LoadSource`.

    The times of the script count from `origin_s`, which is set when the meter streams. What a twin integrates
    is power at its own supply voltage: ``share`` is that voltage over the one that is really there, so that
    the current is right although the instrument is wrong about the voltage.

    Args:
        script: What is done, in order of time.
        drift_w_per_s: Slope that is added while the script runs.
        share: See above.
    """

    def __init__(self, script: Script, *, drift_w_per_s: float = 0.0, share: float = 1.0) -> None:
        times, watts = [0.0], [script.idle_w]
        for at_s, power in script.steps:
            start = max(at_s, times[-1])
            # a command that comes while the load still moves takes it from where it is
            times += [start, start + max(script.rise_s, 1e-9)]
            watts += [watts[-1], power]
        self._time_s = np.array(times, np.float64)
        self._watts = np.array(watts, np.float64) + drift_w_per_s * self._time_s
        pieces = np.diff(self._time_s) * (self._watts[:-1] + self._watts[1:]) / 2
        self._energy_j = np.concatenate([[0.0], np.cumsum(pieces)])
        slopes = np.diff(self._watts) / np.where(np.diff(self._time_s) > 0, np.diff(self._time_s), 1.0)
        self._slopes = np.append(slopes, 0.0)
        self._level_s = np.array([at for at, _ in script.levels], np.float64)
        self._levels = np.array([0, *(level for _, level in script.levels)], np.uint8)
        self._share = share
        self.origin_s = np.inf

    def true_j(self, time_s: FloatArray) -> FloatArray:
        """Energy that was really drawn since the origin, joules, float64 ``[n]``.

        Args:
            time_s: Times of the script, float64 ``[n]``.
        """
        index = np.clip(np.searchsorted(self._time_s, time_s, side="right") - 1, 0, None)
        since = time_s - self._time_s[index]
        return np.asarray(
            self._energy_j[index] + since * (self._watts[index] + since * self._slopes[index] / 2), np.float64
        )

    def true_w(self, start_s: float, stop_s: float) -> float:
        """Mean power that was really drawn between two times of the script."""
        first, last = self.true_j(np.array([start_s, stop_s], np.float64))
        return float(last - first) / (stop_s - start_s)

    def energy_j(self, time_s: FloatArray) -> FloatArray:
        """What the twin integrates; see `LoadSource.energy_j`."""
        if np.isinf(self.origin_s):  # the meter is being opened: idle
            return np.asarray(self._share * self._watts[0] * time_s, np.float64)
        return self._share * self.true_j(time_s - self.origin_s)

    def markers(self, time_s: FloatArray) -> npt.NDArray[np.uint8]:
        """Levels of the marker input; see `LoadSource.markers`."""
        if np.isinf(self.origin_s):
            return np.zeros(time_s.size, np.uint8)
        return self._levels[np.searchsorted(self._level_s, time_s - self.origin_s, side="right")]
