"""Joins the streams of a Joulescope (current, voltage, inputs) by their sample numbers; pure.

Each signal comes in messages of its own: a number of the first sample, counted at ``sample_rate``, and every
``decimate_factor``-th sample. A gap in the numbers is a loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import MeterProtocolError

Array = npt.NDArray[Any]


class Track:
    """One signal: runs of samples without a gap."""

    def __init__(self) -> None:
        self.runs: deque[tuple[int, Array]] = deque()

    def add(self, first: int, values: Array) -> None:
        """Append a message; ``first`` is the number of its first sample, decimated."""
        if self.runs:
            start, held = self.runs[-1]
            if first == start + held.size:
                self.runs[-1] = (start, np.concatenate([held, values]))
                return
            if first < start + held.size:  # numbers went back: the instrument began again
                self.runs.clear()
        if values.size:
            self.runs.append((first, values))

    def drop_before(self, number: int) -> None:
        """Forget the samples before that one."""
        while self.runs and self.runs[0][0] + self.runs[0][1].size <= number:
            self.runs.popleft()
        if self.runs and self.runs[0][0] < number:
            start, held = self.runs[0]
            self.runs[0] = (number, held[number - start :])


class Join:
    """All signals of one instrument.

    Args:
        signals: Names of the signals that must be there for a sample to be whole.

    Attributes:
        period_s: Seconds from sample to sample; None until the first message.
        received: Whole samples handed out.
        missing: Samples that some signal did not bring.
    """

    def __init__(self, signals: tuple[str, ...]) -> None:
        self._tracks = {name: Track() for name in signals}
        self._next: int | None = None
        self._first: int | None = None
        self._factor: int | None = None
        self.period_s: float | None = None
        self.received = self.missing = 0

    def add(self, signal: str, message: Mapping[str, Any]) -> None:
        """Take a message as ``pyjoulescope_driver`` publishes it on ``.../!data``.

        One-bit signals come packed, the first sample in the lowest bit.

        Raises:
            MeterProtocolError: It tells no rate.
        """
        factor, rate = int(message["decimate_factor"]), float(message["sample_rate"])
        if factor < 1 or rate <= 0:
            raise MeterProtocolError(
                f"the signal '{signal}' comes without a rate",
                actual=f"sample_rate {rate:g}, decimate_factor {factor}",
                remedy="unplug the instrument and plug it in again",
            )
        values = np.asarray(message["data"])
        if values.dtype == np.uint8:
            values = np.unpackbits(values, bitorder="little")
        if self._factor is None or values.dtype.kind == "f":
            self._factor = factor
            self.period_s = factor / rate
        number = int(message["sample_id"])
        if factor < self._factor:  # an input that is faster than the current: its level at each sample
            step = self._factor // factor
            skip = -(number // factor) % step
            values, number = values[skip::step], number + skip * factor
        elif factor > self._factor:
            values = np.repeat(values, factor // self._factor)
        self._tracks[signal].add(number // self._factor, values)

    def take(self) -> tuple[float, dict[str, Array], int] | None:
        """The next whole stretch.

        Returns:
            Time of its first sample, seconds since the first of all; the values of each signal; samples
            missing before it. None when there is none yet.
        """
        while all(track.runs for track in self._tracks.values()):
            start = max(track.runs[0][0] for track in self._tracks.values())
            end = min(track.runs[0][0] + track.runs[0][1].size for track in self._tracks.values())
            if start >= end:
                for track in self._tracks.values():
                    track.drop_before(end)
                continue
            if self._first is None or self._next is None:
                self._first = self._next = start
            lost = max(start - self._next, 0)
            values = {}
            for name, track in self._tracks.items():
                track.drop_before(start)
                values[name] = track.runs[0][1][: end - start]
                track.drop_before(end)
            self._next = end
            self.missing += lost
            self.received += end - start
            assert self.period_s is not None
            return (start - self._first) * self.period_s, values, lost
        return None
