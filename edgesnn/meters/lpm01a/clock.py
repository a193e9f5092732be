"""Puts the samples of an LPM01A on its clock, and accounts for those that did not come. Pure, no I/O.

Samples carry no number. The instrument's time stamps (one a second) say how many there should have been, so
samples wait here until the next stamp confirms their count, and are handed out with their times then. A
second whose count is wrong, or in which framing was lost, is `SUSPECT` as a whole: nothing tells where in
it the gap is.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Loss, SampleStatus
from edgesnn.meters.lpm01a.protocol import SATURATION_A, STAMP_S, Stamp

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

#: Samples wait at most this long for a stamp; without one they are handed out as suspect.
LONGEST_WAIT_S = 5.0
#: A send buffer this full is worth a warning.
NEARLY_FULL_PERCENT = 90
#: A stamp may be ahead of the host's clock by this much: clocks differ, and ``start`` takes time.
AHEAD_S, AHEAD_SHARE = 0.5, 0.002
#: The seconds of an ASCII stamp have three digits.
ASCII_WRAP_MS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SettledSamples:
    """Samples whose times are settled.

    Attributes:
        first: Index of the first sample on the instrument's clock.
        current_a: Amperes, clamped to what the instrument measures, float64 ``[n]``.
        markers: Bit 0 of the sample in which an event fell, uint8 ``[n]``.
        status: `SampleStatus` bits, uint8 ``[n]``.
        lost: Samples missing among or right after them.
    """

    first: int
    current_a: FloatArray
    markers: ByteArray
    status: ByteArray
    lost: int


class SampleClock:
    """Samples in, samples with times out.

    Args:
        rate_hz: Sample rate.
        sample_bytes: Length of one sample on the wire.

    Attributes:
        ready: Pieces that can be handed out.
        stamp: The last stamp that was believed, or None.
    """

    def __init__(self, rate_hz: int, sample_bytes: int) -> None:
        self.ready: deque[SettledSamples] = deque()
        self.stamp: Stamp | None = None
        self._rate = rate_hz
        self._sample_bytes = sample_bytes
        #: A stamp is cut to a millisecond: this many samples more or less mean nothing.
        self.tolerance = max(1, math.ceil(rate_hz * STAMP_S))
        self._held: list[FloatArray] = []
        self._held_count = 0
        self._events: list[int] = []
        self._last_event: int | None = None
        self._damaged = False
        self._position = 0
        self._wraps = 0
        self._doubted: tuple[int, float] | None = None
        self._full = False
        self._received = self._missing = self._suspected = self._discarded = 0
        self._reasons: list[str] = []

    @property
    def loss(self) -> Loss:
        """The account so far; samples that still wait are not in it."""
        return Loss(
            received=self._received,
            missing=self._missing,
            suspected=self._suspected,
            discarded_bytes=self._discarded,
            undetectable=self.tolerance,
            reasons=tuple(self._reasons),
        )

    def add(self, current_a: FloatArray) -> None:
        """Take samples, amperes, in their order."""
        if current_a.size:
            self._held.append(current_a)
            self._held_count += current_a.size
            if self._held_count > LONGEST_WAIT_S * self._rate + self.tolerance:
                self.damage(f"no time stamp came for {LONGEST_WAIT_S:g} s")
                self.release()

    def event(self, number: int) -> None:
        """An event of the marker input, during the sample that comes next."""
        if self._last_event is not None and number not in (self._last_event + 1, 0):
            self.damage(f"event {number} came after event {self._last_event}")
        self._last_event = number
        self._events.append(self._held_count)

    def damage(self, reason: str, discarded_bytes: int = 0) -> None:
        """What waits cannot be trusted; a reason is kept once in a row."""
        self._damaged = True
        self._discarded += discarded_bytes
        self._note(reason)

    def discard(self, count: int) -> None:
        """Bytes that belonged to no sample."""
        self._discarded += count

    def stamped(self, stamp: Stamp, elapsed_s: float, wrap_ms: int | None = None) -> bool:
        """A time stamp came: settle what waits.

        Args:
            stamp: What it says.
            elapsed_s: Host seconds since the acquisition began.
            wrap_ms: Where its counter begins again, if it does.

        Returns:
            Whether it was believed.
        """
        time_ms = stamp.time_ms
        last_ms = self.stamp.time_ms if self.stamp else 0
        wraps = self._wraps
        if wrap_ms is not None:
            while time_ms + wraps * wrap_ms < last_ms - wrap_ms // 2:
                wraps += 1
            time_ms += wraps * wrap_ms
        if not self._believable(time_ms, last_ms, elapsed_s):
            self.damage(f"a time stamp of {time_ms} ms cannot be right after {last_ms} ms")
            return False
        self._wraps = wraps
        if stamp.overflow:
            self.damage("the instrument says that its send buffer ran over")
        full = stamp.buffer_percent >= NEARLY_FULL_PERCENT
        if full and not self._full:
            self._note(
                f"the instrument's send buffer is {stamp.buffer_percent} % full: the host reads too late"
            )
        self._full = full
        self.stamp = Stamp(time_ms, stamp.buffer_percent, stamp.overflow)
        self.release(expected_end=round(time_ms * self._rate / 1000))
        return True

    def release(self, expected_end: int | None = None, shortfall: int = 0) -> None:
        """Hand out what waits.

        Args:
            expected_end: How many samples the instrument had taken by now, if a stamp tells.
            shortfall: Samples that should have come by the host's clock.
        """
        current = np.concatenate(self._held) if self._held else np.empty(0)
        lost = 0
        if expected_end is not None:
            deviation = expected_end - (self._position + current.size)
            if deviation > self.tolerance:
                lost = deviation
                self._missing += lost
                self.damage(f"{lost} samples are missing before {expected_end / self._rate:.3f} s")
            elif deviation < -self.tolerance:
                surplus = min(-deviation, current.size)
                current = current[: current.size - surplus]
                self.damage(
                    f"{surplus} samples too many before {expected_end / self._rate:.3f} s",
                    surplus * self._sample_bytes,
                )
        if shortfall:
            self._suspected += shortfall
            self.damage(f"{shortfall} samples are missing at the end by the host's clock")
        if current.size or lost:
            self._hand_out(current, lost)
        self._position += current.size + lost
        self._received += current.size
        # an event after the last sample belongs to the first one of the next piece
        self._events = [0 for at in self._events if at >= self._held_count]
        self._held, self._held_count, self._damaged = [], 0, False

    @property
    def held(self) -> int:
        """How many samples wait for a stamp."""
        return self._held_count

    def _hand_out(self, current_a: FloatArray, lost: int) -> None:
        markers = np.zeros(current_a.size, np.uint8)
        inside = [at for at in self._events if at < current_a.size]
        markers[inside] = 1
        saturated = current_a >= SATURATION_A * (1 - 1e-4)
        status = saturated * np.uint8(SampleStatus.SATURATED)
        if self._damaged:
            status |= np.uint8(SampleStatus.SUSPECT)
        clamped = np.minimum(current_a, SATURATION_A)
        self.ready.append(SettledSamples(self._position, clamped, markers, status, lost))

    def _believable(self, time_ms: int, last_ms: int, elapsed_s: float) -> bool:
        ahead = time_ms / 1000 > elapsed_s * (1 + AHEAD_SHARE) + AHEAD_S
        if time_ms >= last_ms and not ahead:
            self._doubted = None
            return True
        # A host that slept has a clock that stood still: two stamps that agree with each other are right.
        doubted, self._doubted = self._doubted, (time_ms, elapsed_s)
        if doubted is None or time_ms < last_ms:
            return False
        step_s = (time_ms - doubted[0]) / 1000
        return step_s > 0 and abs(step_s - (elapsed_s - doubted[1])) < AHEAD_S

    def _note(self, reason: str) -> None:
        if not self._reasons or self._reasons[-1] != reason:
            self._reasons.append(reason)
