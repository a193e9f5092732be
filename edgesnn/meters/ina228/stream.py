"""From frames of the INA228 bridge to blocks: its clock, what is missing, and the level of its sync input.

Pure: frames and host times go in, blocks come out. The bridge's timer has 32 bits of microseconds and wraps
every 71.6 minutes; the host's clock says which turn it is in. A frame that passed its CRC is still
doubted when its times are impossible: one damaged frame in 65,536 passes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import Block, Loss, SampleStatus
from edgesnn.meters.ina228.protocol import (
    BUS_LSB_V,
    COUNT_MAX,
    CURRENT_LSB_A,
    EDGES,
    Channel,
    Mark,
    Records,
)

TURN_US = 1 << 32
#: The bridge may seem this far ahead of the host, microseconds, plus `_DRIFT` of the time since the start.
AHEAD_US = 1_000_000
_DRIFT = 1e-3
#: Sentences and edges that are kept, so that a bad cable fills no memory.
REASONS_MAX, EDGES_KEPT = 100, 65536
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of the sync input, to a microsecond.

    Attributes:
        time_s: When, on the scale of ``Block.time_s``.
        level: The level from then on.
    """

    time_s: float
    level: int


@dataclass(slots=True)
class _Taken:
    """Samples of one frame, not yet handed out."""

    start_us: IntArray
    end_us: IntArray
    records: Records
    lost: int


class Ina228Stream:
    """One stream, from START to STOP.

    Args:
        channel: How the bridge converts.
        range_index: Index of its range in the accuracy model.

    Attributes:
        marked: Whether the mark that sets the clock's zero has come.
    """

    def __init__(self, channel: Channel, range_index: int) -> None:
        self._channel, self._range_index = channel, range_index
        self.marked = False
        self._nominal_us = float(channel.period_us)
        self._period_us = self._nominal_us
        self._zero_us: int | None = None
        self._ahead_us = 0
        self._end_us = 0
        self._sequence: int | None = None
        self._taken: list[_Taken] = []
        self._doubtful: tuple[int, Records, IntArray] | None = None
        self._received = self._missing = self._suspected = self._thrown = 0
        self._reasons: list[str] = []
        self._unsaid = 0
        # levels: times and levels of the edges that samples may still need, oldest first
        self._levels: list[tuple[int, int]] = []
        self._edges: int | None = None
        # stretches in which an edge was lost: samples that come later can lie in them
        self._unsure: list[tuple[int, int]] = []
        self._sure_us = 0
        self._kept: deque[Edge] = deque(maxlen=EDGES_KEPT)

    @property
    def loss(self) -> Loss:
        """The account, without the bytes that the frame reader threw away."""
        reasons = [*self._reasons]
        if self._unsaid:
            reasons.append(f"and {self._unsaid} more events of these kinds")
        return Loss(self._received, self._missing, self._suspected, self._thrown, reasons=tuple(reasons))

    @property
    def end_s(self) -> float:
        """End of the last sample so far."""
        return self._end_us / 1e6

    @property
    def period_s(self) -> float:
        """Time from sample to sample, as measured so far."""
        return self._period_us / 1e6

    def take_edges(self) -> list[Edge]:
        """Edges of the sync input that came since the last call, sub-sample times."""
        edges = list(self._kept)
        self._kept.clear()
        return edges

    def meter_us(self, t_us: int, host_s: float) -> int:
        """The bridge's timer as microseconds since the start.

        Args:
            t_us: The timer.
            host_s: The host's clock since the start, seconds.
        """
        since = (t_us - (self._zero_us or 0)) % TURN_US
        expected = int(host_s * 1e6) + self._ahead_us
        return int(since + round((expected - since) / TURN_US) * TURN_US)

    def mark(self, mark: Mark, host_s: float) -> None:
        """Take a level of the sync input."""
        if self._zero_us is None:
            self._zero_us, self.marked = mark.t_us, not mark.state
        at_us = self.meter_us(mark.t_us, self.end_s if mark.state else host_s)
        if self._edges is None:
            self._change(at_us, mark.level, mark.edges)
        known = self._edges or 0
        if mark.state:
            if mark.edges != known:
                self._edges_lost((mark.edges - known) % EDGES, at_us)
                self._change(at_us, mark.level, mark.edges)
            self._sure_us = at_us
        elif mark.edges != known:  # the same number again is the start, or a frame that came twice
            if (mark.edges - known) % EDGES != 1:
                self._edges_lost((mark.edges - known - 1) % EDGES, at_us)
            self._change(at_us, mark.level, mark.edges)

    def data(self, sequence: int, records: Records, host_s: float) -> None:
        """Take a frame of samples.

        Args:
            sequence: Its number.
            records: Its samples, `ina228_protocol.RECORD` ``[n]``.
            host_s: The host's clock since the start, seconds.
        """
        ours = records[records["channel"] == 0]
        if ours.size == 0:
            return
        if self._zero_us is None:
            self._zero_us = int(ours["t_us"][0]) - round(self._nominal_us)
        first_us = self.meter_us(int(ours["t_us"][0]), host_s)
        if self._sequence is not None and self._gap(sequence) == 0:
            # the next frame: the turn that follows, however long it waited in a buffer on the way
            first_us = self._end_us + (first_us - self._end_us) % TURN_US
        steps = np.mod(np.diff(ours["t_us"].astype(np.int64)), TURN_US)
        end_us = first_us + np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
        limit_us = host_s * 1e6 * (1 + _DRIFT) + AHEAD_US + self._ahead_us
        if first_us <= self._end_us or not _possible(ours):
            again = sequence == self._sequence
            what = "a frame came twice" if again else "a frame with impossible contents was thrown away"
            self._throw(ours, what)
            return
        if end_us[-1] > limit_us:
            self._doubt(sequence, ours, end_us)
            return
        if self._doubtful is not None:
            self._throw(self._doubtful[1], "a frame from the future was thrown away")
            self._doubtful = None
        self._accept(sequence, ours, end_us)

    def take(self, host_ns: int, all_of_them: bool = False) -> Block | None:
        """The samples that came, or None when there are none.

        Args:
            host_ns: Host time of receipt.
            all_of_them: Also those whose level of the sync input is not sure yet, as suspect.
        """
        if self.marked and not all_of_them:
            count = sum(int(one.end_us[-1]) <= self._sure_us for one in self._taken)
        else:
            count = len(self._taken)
        taken, self._taken = self._taken[:count], self._taken[count:]
        if not taken:
            return None
        if self.marked and int(taken[-1].end_us[-1]) > self._sure_us:
            self._unsure.append((self._sure_us, int(taken[-1].end_us[-1])))
            self._say(f"the level of the sync input after {self._sure_us / 1e6:.6f} s was not told")
        start_us = np.concatenate([one.start_us for one in taken])
        end_us = np.concatenate([one.end_us for one in taken])
        current = np.concatenate([one.records["current"] for one in taken]).astype(np.int64)
        bus = np.concatenate([one.records["bus"] for one in taken])
        suspect = self._suspects(start_us, end_us)
        limit = self._channel.limit
        saturated = (np.abs(current) >= limit) | (np.abs(bus) >= COUNT_MAX)
        status = saturated * np.uint8(SampleStatus.SATURATED) | suspect * np.uint8(SampleStatus.SUSPECT)
        return Block(
            time_s=start_us / 1e6,
            duration_s=(end_us - start_us) / 1e6,
            current_a=(np.clip(current, -limit, limit) * CURRENT_LSB_A[self._channel.range]).astype(
                np.float32
            ),
            voltage_v=(bus * BUS_LSB_V).astype(np.float32),
            power_w=None,
            markers=self._levels_at((start_us + end_us) // 2),
            status=status.astype(np.uint8),
            range_index=np.full(current.size, self._range_index, np.uint8),
            lost=sum(one.lost for one in taken),
            host_ns=host_ns,
        )

    def finish(self, host_s: float, dropped: int) -> None:
        """Close the account.

        Args:
            host_s: The host's clock when STOP was sent, seconds since the start.
            dropped: Samples that the bridge itself says it threw away.
        """
        if self._doubtful is not None:
            self._throw(self._doubtful[1], "a frame from the future was thrown away")
        slack_s = 0.02 + 2 * self.period_s + _DRIFT * host_s
        tail_s = host_s + self._ahead_us / 1e6 - self.end_s - slack_s
        if tail_s > 0:
            self._suspected += int((tail_s + slack_s) / self.period_s)
            self._say(f"nothing came for the last {tail_s + slack_s:.3f} s before the stop")
        if dropped:
            self._say(f"the bridge says that it threw away {dropped} samples: its ring was full")

    def _accept(self, sequence: int, records: Records, end_us: IntArray) -> None:
        before = np.concatenate([[self._end_us], end_us[:-1]])
        steps = end_us - before
        good = steps <= 1.5 * self._period_us
        missing = int(np.rint(steps[~good] / self._period_us - 1).sum())
        if good.any():
            measured = min(max(float(steps[good].mean()), 0.98 * self._nominal_us), 1.02 * self._nominal_us)
            self._period_us += 0.05 * (measured - self._period_us)
        length_us = np.where(good, steps, round(self._period_us))
        gap = self._gap(sequence)
        self._sequence = sequence
        if missing:
            where = f"{gap} frames before it did not come" if gap else "the bridge did not send them"
            self._say(f"{missing} samples are missing before {end_us[~good][0] / 1e6:.6f} s: {where}")
        self._received += records.size
        self._missing += missing
        self._end_us = int(end_us[-1])
        self._taken.append(_Taken(end_us - length_us, end_us, records, missing))

    def _gap(self, sequence: int) -> int:
        """Frames that did not come before this one."""
        return 0 if self._sequence is None else (sequence - self._sequence - 1) & 0xFFFF

    def _doubt(self, sequence: int, records: Records, end_us: IntArray) -> None:
        """A frame ahead of the host's clock: damage, unless the next one says the same (the host slept)."""
        held, self._doubtful = self._doubtful, (sequence, records, end_us)
        if held is None:
            return
        step_us = int(end_us[0] - held[2][-1])
        if not 0 < step_us < AHEAD_US:
            self._throw(held[1], "a frame from the future was thrown away")
            return
        self._doubtful = None
        jump_us = int(held[2][0]) - self._end_us
        self._ahead_us += jump_us
        self._say(f"the host's clock stood still for {jump_us / 1e6:.1f} s")
        self._accept(*held)
        self._accept(sequence, records, end_us)

    def _throw(self, records: Records, reason: str) -> None:
        self._thrown += records.nbytes
        self._say(reason)

    def _say(self, reason: str) -> None:
        if len(self._reasons) < REASONS_MAX:
            self._reasons.append(reason)
        else:
            self._unsaid += 1

    def _change(self, at_us: int, level: int, edges: int) -> None:
        self._edges = edges
        self._levels.append((at_us, level))
        self._kept.append(Edge(at_us / 1e6, level))

    def _edges_lost(self, count: int, at_us: int) -> None:
        """Levels between the last known edge and this moment are unknown."""
        self._unsure.append((self._levels[-1][0] if self._levels else 0, at_us))
        self._say(f"{count} edges of the sync input are missing before {at_us / 1e6:.6f} s")

    def _suspects(self, start_us: IntArray, end_us: IntArray) -> npt.NDArray[np.bool_]:
        """Which samples lie where the level is not sure; stretches that are over are forgotten."""
        suspect = np.zeros(start_us.size, np.bool_)
        for since_us, until_us in self._unsure:
            suspect |= (end_us > since_us) & (start_us < until_us)
        self._unsure = [span for span in self._unsure if span[1] > end_us[-1]]
        return suspect

    def _levels_at(self, middle_us: IntArray) -> npt.NDArray[np.uint8]:
        """Levels at those times, rising; what no later sample needs is forgotten."""
        if not self._levels:
            return np.zeros(middle_us.size, np.uint8)
        moments = np.array([moment for moment, _ in self._levels], np.int64)
        levels = np.array([level for _, level in self._levels], np.uint8)
        index = np.searchsorted(moments, middle_us, side="right") - 1
        self._levels = self._levels[max(int(index[-1]), 0) :]
        return levels[np.maximum(index, 0)]


def _possible(records: Records) -> bool:
    """Whether registers fit 20 bits and times rise by less than an hour in all."""
    steps = np.mod(np.diff(records["t_us"].astype(np.int64)), TURN_US)
    if not (bool(np.all(steps > 0)) and int(steps.sum()) < 3_600_000_000):
        return False
    return bool(
        np.all(np.abs(records["bus"].astype(np.int64)) <= COUNT_MAX + 1)
        and np.all(np.abs(records["current"].astype(np.int64)) <= COUNT_MAX + 1)
    )
