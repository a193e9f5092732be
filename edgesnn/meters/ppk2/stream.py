"""Samples in their place on the time axis, converted, filtered, and checked against the host's clock.

The counter of the stream does not show the loss of 64 samples or a multiple of them. The host's clock does,
when the loss is long enough: `ClockWatch` keeps the least delay that was ever seen between a sample and
its receipt; a delay that stays longer than that means that samples are missing. While that is open (0.5 s)
the samples are held, so that the jump of the time axis lands before them and all of them are marked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block, ByteArray, Loss
from edgesnn.meters.ppk2.framing import Framer, WordRun
from edgesnn.meters.ppk2.protocol import (
    RANGE_SWITCH,
    RANGES,
    SAMPLE_NS,
    SAMPLE_S,
    SUSPECT,
    TABLE_MASK,
    SpikeFilter,
    Table,
)

#: A delay of this much more than the least one is in doubt: 8 ms of samples, of which 1 or 2 may be the
#: host's own scheduling at the best of many reads.
TOLERANCE_NS = 8_000_000
#: So long must the delay stay up before it is taken for a loss.
CONFIRM_NS = 500_000_000
#: Error of the two clocks against each other that is not taken for a loss: twice what either may have.
CLOCKS_PPM = 200
#: Losses in multiples of 64 below this are not seen (`TOLERANCE_NS` plus 2 ms of scheduling).
UNDETECTABLE_SAMPLES = 1024
COUNTER_PERIOD = 64
#: Sentences that are kept; a storm of faults must not fill the memory.
MOST_REASONS = 100


class ClockWatch:
    """The delay between a sample and its receipt, against the least that was seen."""

    def __init__(self) -> None:
        self._floor_ns: float | None = None
        self._last_ns = 0

    def observe(self, newest: int, host_ns: int) -> float:
        """Compare one receipt.

        Args:
            newest: Samples since the start that should have come by now, as the time axis has it.
            host_ns: When they came.

        Returns:
            Nanoseconds by which the delay exceeds the least one; negative when it is less than any before.
        """
        delay = float(host_ns - newest * SAMPLE_NS)
        if self._floor_ns is None:
            self._floor_ns, self._last_ns = delay, host_ns
        # a slow sample clock raises the delay a little all the time; over a silence nothing is known of it
        floor = self._floor_ns + min(host_ns - self._last_ns, CONFIRM_NS) * CLOCKS_PPM * 1e-6
        self._floor_ns, self._last_ns = min(floor, delay), host_ns
        return delay - floor


@dataclass(slots=True, eq=False)
class _Chunk:
    """Converted samples with consecutive places on the time axis."""

    first: int
    lost: int
    current_a: npt.NDArray[np.float32]
    markers: ByteArray
    status: ByteArray
    ranges: ByteArray
    host_ns: int


class SampleStream:
    """One stream, from ``start()`` to ``stop()``.

    Args:
        table: Conversion of the instrument at its present voltage.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._framer = Framer()
        self._filter = SpikeFilter()
        self._watch = ClockWatch()
        self._next = 0
        self._ready: list[_Chunk] = []
        self._held: list[_Chunk] = []
        self._doubt_ns: int | None = None
        self._doubt_seen_ns = 0
        self._doubt_least_ns = 0.0
        self._delay_ns = 0.0
        self._lost_before_next = 0
        self._current_a = 0.0
        self._range = 0
        self._received = self._missing = self._suspected = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._reasons: list[str] = []
        self._more_reasons = 0

    @property
    def loss(self) -> Loss:
        """The account up to now."""
        reasons = tuple(self._reasons)
        if self._more_reasons:
            reasons += (f"and {self._more_reasons} more",)
        return Loss(
            self._received,
            self._missing,
            self._suspected,
            self._framer.discarded,
            UNDETECTABLE_SAMPLES,
            reasons,
        )

    @property
    def unreadable_bytes(self) -> int:
        """Bytes in a row, up to now, in which no samples could be found."""
        return self._framer.lost_bytes

    @property
    def in_doubt(self) -> bool:
        """Whether the newest samples are late. Reads in quick succession tell a backlog from a loss."""
        return self._doubt_ns is not None

    @property
    def newest(self) -> int:
        """Samples since the start up to the newest that came, with those that are missing."""
        return self._next + self._framer.waiting_samples

    @property
    def received_ns(self) -> int:
        """Host time of the latest receipt."""
        return self._last_ns

    @property
    def delay_ns(self) -> float:
        """How much later than at best the newest sample was received."""
        return self._delay_ns

    def feed(self, data: bytes, host_ns: int, *, ending: bool = False, final: bool = False) -> None:
        """Take what came.

        Args:
            data: Bytes; none only with ``final``.
            host_ns: When they came.
            ending: Whether the instrument was told to stop: the age of what still comes says nothing.
            final: Whether nothing more will come.
        """
        earlier_ns = self._last_ns
        if data:
            if self._first_ns is None:
                self._first_ns = earlier_ns = host_ns
            self._last_ns = host_ns
        for run in self._framer.feed(data, final=final):
            self._held.append(self._convert(run, host_ns))
        for reason in self._framer.drain_reasons():
            self._note(reason)
        if data and not ending:
            self._check(host_ns, earlier_ns)
        if final and self._doubt_ns is not None:
            self._correct()
        if self._doubt_ns is None:
            self._ready += self._held
            self._held.clear()

    def take(self, *, anyway: bool = False) -> Block | None:
        """The samples that are ready.

        Args:
            anyway: Whether those in doubt are wanted too; they come marked as suspect.

        Returns:
            A block, or None when nothing is ready.
        """
        if anyway and self._held:
            for chunk in self._held:
                chunk.status |= SUSPECT
            self._ready += self._held
            self._held.clear()
        if not self._ready:
            return None
        chunks, self._ready = self._ready, []
        places = [np.arange(one.first, one.first + one.current_a.size) for one in chunks]
        return Block(
            time_s=np.asarray(np.concatenate(places) * SAMPLE_S, np.float64),
            duration_s=SAMPLE_S,
            current_a=np.concatenate([one.current_a for one in chunks]),
            voltage_v=None,
            power_w=None,
            markers=np.concatenate([one.markers for one in chunks]),
            status=np.concatenate([one.status for one in chunks]),
            range_index=np.concatenate([one.ranges for one in chunks]),
            lost=sum(one.lost for one in chunks),
            host_ns=chunks[-1].host_ns,
        )

    def _convert(self, run: WordRun, host_ns: int) -> _Chunk:
        """Currents, markers and status of a run."""
        words = run.words
        code = words & TABLE_MASK
        current = self._table.current_a[code]
        status = self._table.status[code]
        ranges = (code >> 14).astype(np.uint8)
        if run.missing:
            self._filter.reset()
            self._missing += run.missing
            self._next += run.missing
        bad = ranges >= RANGES
        if bad.any():
            # what the converter says in a range that does not exist means nothing: hold the value before
            before = np.maximum.accumulate(np.where(bad, 0, np.arange(1, bad.size + 1)))
            current = np.concatenate([[self._current_a], current])[before]
            ranges = np.concatenate([[self._range], ranges])[before].astype(np.uint8)
        self._current_a, self._range = float(current[-1]), int(ranges[-1])
        filtered, replaced = self._filter.apply(current, ranges)
        status[replaced] |= RANGE_SWITCH
        status[run.suspect] |= SUSPECT
        chunk = _Chunk(
            self._next,
            run.missing + self._lost_before_next,
            filtered.astype(np.float32),
            (words >> 24).astype(np.uint8),
            status,
            ranges,
            host_ns,
        )
        self._lost_before_next = 0
        self._next += words.size
        self._received += words.size
        return chunk

    def _check(self, host_ns: int, earlier_ns: int) -> None:
        """Hold this receipt against the host's clock."""
        excess = self._watch.observe(self.newest, host_ns)
        self._delay_ns = max(excess, 0.0)
        if excess < -TOLERANCE_NS and host_ns - (self._first_ns or 0) > CONFIRM_NS:
            extra = -excess / SAMPLE_NS
            self._note(f"{extra:.0f} samples more than time allows: bytes came twice or a clock is wrong")
            for chunk in self._held:
                chunk.status |= SUSPECT
        if excess <= TOLERANCE_NS:
            self._doubt_ns = None
        elif self._doubt_ns is None:
            self._doubt_ns, self._doubt_seen_ns, self._doubt_least_ns = earlier_ns, host_ns, excess
        else:
            self._doubt_least_ns = min(self._doubt_least_ns, excess)
            if host_ns - self._doubt_seen_ns >= CONFIRM_NS:
                self._correct()

    def _correct(self) -> None:
        """Samples are missing by the clock: move the time axis and mark what is held."""
        assert self._doubt_ns is not None
        lost = max(round(self._doubt_least_ns / SAMPLE_NS / COUNTER_PERIOD), 1) * COUNTER_PERIOD
        gap = next((at for at, one in enumerate(self._held) if one.lost), 0)
        for chunk in self._held[gap:]:
            chunk.first += lost
        for chunk in self._held:
            chunk.status |= SUSPECT
        if self._held:
            self._held[gap].lost += lost
        else:
            self._lost_before_next += lost
        self._next += lost
        self._suspected += lost
        start = self._first_ns or 0
        earliest, latest = (self._doubt_ns - start) / 1e9, (self._doubt_seen_ns - start) / 1e9
        self._note(
            f"{lost} samples less than the host's clock wants, lost between {earliest:.3f} s and"
            f" {latest:.3f} s after the first receipt, or the system slept"
        )
        self._doubt_ns = None

    def _note(self, reason: str) -> None:
        if len(self._reasons) < MOST_REASONS:
            self._reasons.append(f"{self._next * SAMPLE_S:.5f} s: {reason}")
        else:
            self._more_reasons += 1
