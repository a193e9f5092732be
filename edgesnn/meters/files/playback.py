"""What meters made of files share: the pace at which samples come, and what a file cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgesnn.errors import MeterEndedError, MeterTimeoutError, MeterUnpluggedError, UsageError
from edgesnn.meters.base import Block, ClockPair, Found, Loss, Meter
from edgesnn.meters.clock import Clock
from edgesnn.names import unknown

#: At real pace a read gives at most this much, as an instrument would.
PACE_S = 0.05


def real_pace(options: dict[str, str]) -> bool:
    """Whether samples are to come at the pace of the recording (``?speed=real``, the default).

    Raises:
        UsageError: It is neither ``real`` nor ``max``.
    """
    speed = options.get("speed", "real")
    if speed not in ("real", "max"):
        raise unknown("speed", speed, ["real", "max"])
    return speed == "real"


class Playback:
    """A stream of blocks out of a file, cut to the pace that was asked for.

    Args:
        blocks: The samples.
        real: Whether they come when they were taken, or as fast as they are read.
        clock: The host's clock.
        what: Names the source in errors.
        final: The account once all has been played; None where only gaps tell.
    """

    def __init__(
        self, blocks: Iterator[Block], real: bool, clock: Clock, what: str, final: Loss | None
    ) -> None:
        self._blocks = blocks
        self._real = real
        self._clock = clock
        self._what = what
        self._final = final
        self._rest: Block | None = None
        self._began_ns = clock.now_ns()
        self._origin_s: float | None = None
        self._received = self._missing = 0
        self.ended = False

    @property
    def loss(self) -> Loss:
        """What was played so far, and what the file says is missing of it."""
        if self.ended and self._final is not None:
            return self._final
        return Loss(self._received, self._missing)

    def read(self, timeout_s: float) -> Block:
        """The next samples.

        Raises:
            MeterEndedError: There are no more.
            MeterTimeoutError: The next one is not due before the deadline.
        """
        block = self._rest
        while block is None or not len(block):
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                raise MeterEndedError(f"{self._what} has come to its end")
        self._rest = block
        count = len(block)
        if self._real:
            count = self._due(block, timeout_s)
        rest = replace(part(block, count, len(block)), lost=0)  # what was lost was lost before the first part
        self._rest = rest if len(rest) else None
        self._received += count
        self._missing += block.lost
        return replace(part(block, 0, count), host_ns=self._clock.now_ns())

    def _due(self, block: Block, timeout_s: float) -> int:
        """How many samples of the block are due, waiting for at least one."""
        if self._origin_s is None:
            self._origin_s = float(block.time_s[0])
        lengths = block.duration_s
        ends = block.time_s + lengths - self._origin_s
        deadline_s = (self._clock.now_ns() - self._began_ns) / 1e9 + timeout_s
        now_s = (self._clock.now_ns() - self._began_ns) / 1e9
        wanted = min(max(float(ends[0]), now_s + PACE_S), float(ends[-1]))
        if ends[0] > deadline_s:
            self._clock.wait(max(deadline_s - now_s, 0.0))
            raise MeterTimeoutError(
                f"{self._what} has no sample before the deadline", limit=f"{timeout_s:g} s"
            )
        if (wait := min(wanted, deadline_s) - now_s) > 0:
            self._clock.wait(wait)
        now_s = (self._clock.now_ns() - self._began_ns) / 1e9
        return max(int(ends.searchsorted(now_s + 1e-9, side="right")), 1)


class FileMeter(Meter):
    """What every meter made of a file answers alike."""

    _play: Playback | None = None
    _what = "a recording"

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """Nothing: files are named, not found."""
        return ()

    @property
    def loss(self) -> Loss:
        return self._play.loss if self._play is not None else Loss(0)

    def power(self, on: bool) -> None:
        raise UsageError(f"{self._what} cannot switch a supply")

    def sync(self) -> ClockPair:
        raise UsageError(f"{self._what} has no clock that could be read")

    def read(self, timeout_s: float) -> Block:
        if self._play is None:
            raise MeterUnpluggedError(f"{self._what} is not playing", remedy="start it first")
        return self._play.read(timeout_s)

    def stop(self) -> Block | None:
        return None

    def close(self) -> None:
        """Let go of the file."""


def part(block: Block, first: int, last: int) -> Block:
    """Samples ``first`` to ``last`` of a block."""
    lengths = block.duration_s
    return replace(
        block,
        time_s=block.time_s[first:last],
        duration_s=lengths if isinstance(lengths, float) else lengths[first:last],
        current_a=None if block.current_a is None else block.current_a[first:last],
        voltage_v=None if block.voltage_v is None else block.voltage_v[first:last],
        power_w=None if block.power_w is None else block.power_w[first:last],
        markers=block.markers[first:last],
        status=block.status[first:last],
        range_index=None if block.range_index is None else block.range_index[first:last],
    )
