"""Readings of a SCPI instrument as blocks: one by one (`PollReader`) or from its log (`LogReader`)."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import MeterProtocolError, MeterTimeoutError
from edgesnn.meters.base import Block, ClockPair, Loss, SampleStatus, Settings
from edgesnn.meters.scpi.models import ScpiModel
from edgesnn.meters.scpi.talk import Talk, numbers, overloaded

#: So many answers in a row that are none, and the instrument is given up.
MOST_FAILURES = 3
#: The instrument's time and the host's may differ by this much before a reading's time is doubted.
CLOCK_SLACK_S, CLOCK_SHARE = 0.25, 0.001
#: How long an answer of a log may take.
FETCH_S = 2.0


class Reader(Protocol):
    """Where blocks come from while an instrument measures."""

    @property
    def loss(self) -> Loss:
        """The account so far."""
        ...

    def read(self, timeout_s: float) -> Block:
        """The next readings; see `edgesnn.meters.base.Meter.read`."""
        ...

    def sync(self, ready: deque[Block]) -> ClockPair | None:
        """One reading of the instrument's clock, its block put into ``ready``; None if it has no clock."""
        ...

    def rest(self) -> Block | None:
        """What the instrument still holds."""
        ...


class _Account:
    """The account, and what both readers do with numbers."""

    def __init__(self, talk: Talk, model: ScpiModel, bound_a: float, settings: Settings) -> None:
        self._talk = talk
        self._link = talk.link
        self._fields = model.fields
        self._query = model.read
        self._bound_a = bound_a
        self._set_voltage_v = settings.voltage_v
        self._began_ns = self._link.now_ns()
        self._stray = talk.stray_bytes
        self._received = self._missing = self._discarded = self._failures = 0
        self._undetectable: int | None = None
        self._reasons: list[str] = []

    @property
    def loss(self) -> Loss:
        """The account so far."""
        return Loss(
            received=self._received,
            missing=self._missing,
            discarded_bytes=self._discarded + self._talk.stray_bytes - self._stray,
            undetectable=self._undetectable,
            reasons=tuple(self._reasons),
        )

    def _elapsed_s(self) -> float:
        return (self._link.now_ns() - self._began_ns) / 1e9

    def _records(self, timeout_s: float) -> npt.NDArray[np.float64] | None:
        """Ask once: records ``[n, fields]``; None when the answer is none (it is counted)."""
        stray = self._talk.stray_bytes
        answer = self._talk.ask(self._query, timeout_s)
        values = numbers(answer, len(self._fields))
        self._stray_came = self._talk.stray_bytes > stray
        if values is None:
            self._failures += 1
            self._discarded += len(answer)
            self._note(f"an answer is no reading: {answer[:40]!r}")
            if self._failures >= MOST_FAILURES:
                raise MeterProtocolError(
                    f"the instrument's last {MOST_FAILURES} answers are no readings",
                    actual=answer[:60],
                    limit=", ".join(self._fields),
                    remedy="restart the instrument and check its remote language",
                )
            return None
        self._failures = 0
        return np.array(values, np.float64).reshape(-1, len(self._fields))

    def _block(
        self,
        records: npt.NDArray[np.float64],
        start_s: npt.NDArray[np.float64],
        duration_s: float,
        suspect: bool,
        lost: int,
    ) -> Block:
        column = {name: records[:, index] for index, name in enumerate(self._fields)}
        current = column["current"]
        status = np.where(np.abs(current) >= self._bound_a * 0.999, SampleStatus.SATURATED, 0).astype(
            np.uint8
        )
        if suspect:
            status |= np.uint8(SampleStatus.SUSPECT)
        told, volts = column.get("voltage"), None
        if told is not None:
            wrong = np.array([overloaded(one) for one in told], bool)
            status[wrong] |= np.uint8(SampleStatus.SUSPECT)
            volts = np.where(wrong, self._set_voltage_v or 0.0, told).astype(np.float32)
        self._received += len(records)
        return Block(
            time_s=start_s,
            duration_s=duration_s,
            current_a=np.clip(current, -self._bound_a, self._bound_a).astype(np.float32),
            voltage_v=volts,
            power_w=None,
            markers=np.zeros(len(records), np.uint8),
            status=status,
            range_index=None,
            lost=lost,
            host_ns=self._link.now_ns(),
        )

    def _note(self, reason: str) -> None:
        if not self._reasons or self._reasons[-1] != reason:
            self._reasons.append(reason)


class PollReader(_Account, Reader):
    """One query, one reading, which stands for the time since the one before it.

    When the caller stayed away for longer than a reading takes, the reading stands for its own time only:
    the rest is a gap, and the readings that would have fitted into it are missing.
    """

    def __init__(self, talk: Talk, model: ScpiModel, bound_a: float, settings: Settings) -> None:
        super().__init__(talk, model, bound_a, settings)
        self._timed = "time" in model.fields
        self._end_s = 0.0
        self._asked_until_s = 0.0
        self._offset_s: float | None = None
        self._last: ClockPair | None = None

    def read(self, timeout_s: float) -> Block:
        deadline = self._link.now_ns() + int(timeout_s * 1e9)
        while True:
            left_s = (deadline - self._link.now_ns()) / 1e9
            if left_s <= 0:
                raise MeterTimeoutError(
                    f"no reading came from {self._link.port}",
                    actual="answers that are none",
                    limit=f"{timeout_s:g} s",
                )
            before_ns = self._link.now_ns()
            records = self._records(left_s)
            if records is not None and len(records) == 1:
                return self._reading(records, before_ns, self._link.now_ns())
            self._missing += 1

    def sync(self, ready: deque[Block]) -> ClockPair | None:
        if not self._timed:
            return None
        ready.append(self.read(FETCH_S))
        return self._last

    def rest(self) -> Block | None:
        """Nothing: what was not asked for was not measured."""
        return None

    def _reading(self, records: npt.NDArray[np.float64], before_ns: int, after_ns: int) -> Block:
        own_s = (after_ns - before_ns) / 1e9
        asked_s, host_end_s = (before_ns - self._began_ns) / 1e9, (after_ns - self._began_ns) / 1e9
        suspect, end_s = self._stray_came, host_end_s
        if self._timed:
            told_s = float(records[0, self._fields.index("time")])
            if self._offset_s is None:
                self._offset_s = host_end_s - told_s
            end_s = told_s + self._offset_s
            if abs(end_s - host_end_s) > CLOCK_SLACK_S + CLOCK_SHARE * host_end_s or end_s <= self._end_s:
                self._note(f"a reading's time of {told_s:g} s cannot be right")
                suspect, end_s = True, max(host_end_s, self._end_s + 1e-9)
        away_s = asked_s - self._asked_until_s
        start_s, lost = self._end_s, 0
        if away_s > own_s:
            start_s, lost = max(self._end_s, end_s - own_s), max(1, round(away_s / own_s) if own_s else 1)
            self._missing += lost
            self._note(f"nothing was asked for {away_s:.3f} s")
        self._last = ClockPair(end_s, before_ns, after_ns)
        self._end_s, self._asked_until_s = end_s, host_end_s
        return self._block(records, np.array([start_s]), end_s - start_s, suspect, lost)


class LogReader(_Account, Reader):
    """Averages that the instrument took without gaps and keeps for a while."""

    def __init__(self, talk: Talk, model: ScpiModel, bound_a: float, settings: Settings) -> None:
        super().__init__(talk, model, bound_a, settings)
        assert settings.rate_hz is not None and model.kept_s is not None
        self._period_s = 1 / settings.rate_hz
        self._kept_s = model.kept_s
        self._position = 0
        #: A shorter loss looks like a clock that is a little late.
        self._undetectable = math.ceil(CLOCK_SLACK_S / self._period_s)
        self._last: ClockPair | None = None

    def read(self, timeout_s: float) -> Block:
        deadline = self._link.now_ns() + int(timeout_s * 1e9)
        while True:
            left_s = (deadline - self._link.now_ns()) / 1e9
            if left_s <= 0:
                raise MeterTimeoutError(
                    f"the log of {self._link.port} holds nothing new",
                    actual="nothing",
                    limit=f"{timeout_s:g} s",
                )
            block = self._fetch(left_s)
            if block is not None:
                return block
            self._talk.settle(min(self._period_s, max(left_s, 0.001)))

    def sync(self, ready: deque[Block]) -> ClockPair | None:
        """How far the log is; right to one period."""
        self._last = None
        while self._last is None:
            ready.append(self.read(FETCH_S))
        return self._last

    def rest(self) -> Block | None:
        return self._fetch(FETCH_S)

    def _fetch(self, timeout_s: float) -> Block | None:
        before_ns = self._link.now_ns()
        late_s = self._elapsed_s() - self._position * self._period_s - self._kept_s
        lost = max(0, int(late_s / self._period_s))
        records = self._records(timeout_s)
        suspect = self._stray_came or lost > 0
        if lost:
            self._note(f"nothing was fetched for longer than the instrument keeps ({self._kept_s:g} s)")
        if records is None:
            self._note("the averages of a damaged answer are lost")
            return None
        after_ns = self._link.now_ns()
        if not len(records):
            return None
        drained = len(records) < 1000
        if drained:
            due_s = (before_ns - self._began_ns) / 1e9
            short_s = due_s - (self._position + lost + len(records)) * self._period_s
            if short_s > CLOCK_SLACK_S + CLOCK_SHARE * due_s:
                short = int(short_s / self._period_s)
                lost, suspect = lost + short, True
                self._note(f"{short} averages are missing before {due_s:.3f} s")
        self._missing += lost
        self._position += lost
        start_s = (self._position + np.arange(len(records), dtype=np.float64)) * self._period_s
        self._position += len(records)
        if drained:
            self._last = ClockPair(self._position * self._period_s, before_ns, after_ns)
        return self._block(records, start_s, self._period_s, suspect, lost)


def joined(blocks: list[Block]) -> Block | None:
    """Blocks one after the other as one block, or None when there are none."""
    if len(blocks) < 2:
        return blocks[0] if blocks else None
    volts = [one.voltage_v for one in blocks if one.voltage_v is not None]
    amps = [one.current_a for one in blocks if one.current_a is not None]
    return Block(
        time_s=np.concatenate([one.time_s for one in blocks]),
        duration_s=np.concatenate([np.broadcast_to(one.duration_s, len(one)) for one in blocks]),
        current_a=np.concatenate(amps),
        voltage_v=np.concatenate(volts) if volts else None,
        power_w=None,
        markers=np.concatenate([one.markers for one in blocks]),
        status=np.concatenate([one.status for one in blocks]),
        range_index=None,
        lost=sum(one.lost for one in blocks),
        host_ns=blocks[-1].host_ns,
    )
