"""What a simulated instrument sees drawn: power over time, and the levels of its marker inputs.

A load gives its *cumulative energy*, not its power: the energy of any interval is then a difference, exact
whatever the sample rate, and the mean power of a sample is that difference over the sample's length, as in
an integrating converter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import UsageError

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]


class LoadSource(Protocol):
    """Power over time."""

    def energy_j(self, time_s: FloatArray) -> FloatArray:
        """Energy drawn since time 0.

        Args:
            time_s: True times, seconds, not falling, float64 ``[n]``.

        Returns:
            Joules, float64 ``[n]``.
        """
        ...

    def markers(self, time_s: FloatArray) -> ByteArray:
        """Levels of the marker inputs at those times, bit i is input i, uint8 ``[n]``."""
        ...


@dataclass(frozen=True, slots=True)
class LoadStep:
    """A piece of constant power.

    Attributes:
        seconds: Its length.
        watts: Its power.
        markers: Levels of the marker inputs during it.
    """

    seconds: float
    watts: float
    markers: int = 0


class Shape(LoadSource):
    """Steps of constant power, played once or for ever, with a ripple on top.

    Args:
        steps: At least one, each longer than 0 seconds.
        repeat: Whether they begin again; else the last one lasts for ever.
        ripple_w: Amplitude of a sine that is added, watts.
        ripple_hz: Its frequency.
        drift_w_per_s: Slope that is added, watts a second.

    Raises:
        UsageError: There is no step, or one has no length.
    """

    def __init__(
        self,
        steps: tuple[LoadStep, ...],
        *,
        repeat: bool = True,
        ripple_w: float = 0.0,
        ripple_hz: float = 100.0,
        drift_w_per_s: float = 0.0,
    ) -> None:
        if not steps or any(step.seconds <= 0 for step in steps):
            raise UsageError("a load needs at least one step, each longer than 0 seconds")
        seconds = np.array([step.seconds for step in steps], np.float64)
        watts = np.array([step.watts for step in steps], np.float64)
        self._edges_s = np.concatenate([[0.0], np.cumsum(seconds)])
        self._energy_j = np.concatenate([[0.0], np.cumsum(seconds * watts)])
        self._watts = watts
        self._markers = np.array([step.markers for step in steps], np.uint8)
        self._repeat = repeat
        self._ripple_w, self._ripple_rad = ripple_w, 2 * np.pi * ripple_hz
        self._drift = drift_w_per_s

    def energy_j(self, time_s: FloatArray) -> FloatArray:
        period, total = self._edges_s[-1], self._energy_j[-1]
        if self._repeat:
            rounds = np.floor(time_s / period)
            energy = rounds * total + np.interp(time_s - rounds * period, self._edges_s, self._energy_j)
        else:
            beyond = np.maximum(time_s - period, 0.0) * self._watts[-1]
            energy = np.interp(time_s, self._edges_s, self._energy_j) + beyond
        if self._ripple_w:
            energy = energy + self._ripple_w / self._ripple_rad * (1 - np.cos(self._ripple_rad * time_s))
        if self._drift:
            energy = energy + 0.5 * self._drift * time_s**2
        return np.asarray(energy, np.float64)

    def markers(self, time_s: FloatArray) -> ByteArray:
        """Levels of the step that lasts at each time."""
        within = np.mod(time_s, self._edges_s[-1]) if self._repeat else time_s
        index = np.searchsorted(self._edges_s, within, side="right") - 1
        return self._markers[np.clip(index, 0, len(self._markers) - 1)]


def constant(watts: float) -> Shape:
    """A load that never changes."""
    return Shape((LoadStep(1.0, watts),))


def square(low_w: float, high_w: float, period_s: float, duty: float = 0.5, marker: int = 1) -> Shape:
    """Idle, then busy with the marker raised, over and over.

    Args:
        low_w: Idle power, watts.
        high_w: Busy power, watts.
        period_s: Length of both together, seconds.
        duty: Share of the period that is busy, between 0 and 1.
        marker: Levels of the marker inputs while busy.
    """
    return Shape((LoadStep(period_s * (1 - duty), low_w), LoadStep(period_s * duty, high_w, marker)))


class Recorded(LoadSource):
    """A load that repeats what was recorded; it stays at its last power after the end.

    Args:
        time_s: Edges of the samples, seconds, rising from 0, float64 ``[n + 1]``.
        power_w: Power between them, float64 ``[n]``.
        markers: Levels between them, uint8 ``[n]``; None for none.

    Raises:
        UsageError: Lengths do not agree or times do not rise.
    """

    def __init__(self, time_s: FloatArray, power_w: FloatArray, markers: ByteArray | None = None) -> None:
        if power_w.size == 0 or time_s.size != power_w.size + 1 or not bool(np.all(np.diff(time_s) > 0)):
            raise UsageError(
                "a recorded load needs rising times, one more than powers",
                actual=f"{time_s.size} times, {power_w.size} powers",
            )
        self._time_s = time_s - time_s[0]
        self._power_w = power_w
        self._energy_j = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * power_w)])
        self._markers = np.zeros(power_w.size, np.uint8) if markers is None else markers

    def energy_j(self, time_s: FloatArray) -> FloatArray:
        beyond = np.maximum(time_s - self._time_s[-1], 0.0) * self._power_w[-1]
        return np.asarray(np.interp(time_s, self._time_s, self._energy_j) + beyond, np.float64)

    def markers(self, time_s: FloatArray) -> ByteArray:
        """Levels of the sample that lasts at each time."""
        index = np.searchsorted(self._time_s, time_s, side="right") - 1
        return self._markers[np.clip(index, 0, self._markers.size - 1)]
