"""A twin in simulated time behind a `Link`: no thread, no waiting, the same bytes every time.

The clock moves only when the host waits (a read with a timeout) or when it is told to
(`VirtualLink.pass_time`).
"""

from __future__ import annotations

from collections import deque

from edgesnn.errors import MeterUnpluggedError
from edgesnn.meters.link import READ_BYTES, MeterLink
from edgesnn.meters.twins.device import TwinDevice
from edgesnn.meters.twins.faults import FaultKind, FaultSchedule

#: Simulated time moves in steps of at most this much while something streams.
STEP_NS = 5_000_000


class VirtualLink(MeterLink):
    """The host's end of a simulated wire.

    Args:
        device: The simulated instrument.
        faults: What goes wrong.
        start_ns: What the host's clock says when the twin is made.
    """

    def __init__(
        self, device: TwinDevice, faults: FaultSchedule | None = None, start_ns: int = 1_000_000_000
    ) -> None:
        self._device = device
        self._faults = faults or FaultSchedule()
        self._start_ns = start_ns
        self._now_ns = start_ns
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ready = bytearray()
        self._plugged = True
        self.lost_pieces = 0

    @property
    def port(self) -> str:
        return f"virtual:{self._device.name}"

    @property
    def simulated(self) -> bool:
        return True

    def now_ns(self) -> int:
        """The simulated clock of the host."""
        return self._now_ns

    def pass_time(self, seconds: float) -> None:
        """Let time pass while the host does something else."""
        end = self._now_ns + round(seconds * 1e9)
        while self._now_ns < end:
            self._now_ns = min(end, self._now_ns + STEP_NS)
            self._tick()

    def write(self, data: bytes) -> None:
        self._check()
        answer = self._device.receive(data, self._true_s())
        self._ready += self._faults.damage(answer)

    def read(self, timeout_s: float) -> bytes:
        """What has come; time passes until something does, or until the timeout."""
        end = self._now_ns + round(timeout_s * 1e9)
        self._check()
        self._flush()
        while not self._ready and self._now_ns < end:
            self._now_ns = min(end, self._now_ns + STEP_NS)
            self._tick()
            self._check()
        data = bytes(self._ready[:READ_BYTES])
        del self._ready[: len(data)]
        return data

    def close(self) -> None:
        """Nothing to let go of."""

    def replug(self) -> None:
        """Plug the instrument in again, as after a loss of the cable."""
        self._device.replugged()
        self._plugged = True

    def _true_s(self) -> float:
        return (self._now_ns - self._start_ns) / 1e9

    def _check(self) -> None:
        if not self._plugged:
            raise MeterUnpluggedError(f"the instrument on {self.port} is gone")

    def _tick(self) -> None:
        now_s = self._true_s()
        for fault in self._faults.due(now_s):
            if fault.kind is FaultKind.DROP_SAMPLES:
                self._device.drop(int(fault.amount))
            elif fault.kind is FaultKind.UNPLUG:
                self._plugged = False
                self._pieces.clear()
                self._held = 0
                self._ready.clear()
        if not self._plugged:
            return
        for piece in self._device.advance(now_s):
            if self._held + len(piece) > self._device.buffer_bytes:
                self.lost_pieces += 1
            else:
                self._pieces.append(piece)
                self._held += len(piece)
        self._flush()

    def _flush(self) -> None:
        """Move what the instrument holds onto the wire, which holds as much as one read takes."""
        if not self._plugged or self._faults.stalled(self._true_s()):
            return
        while self._pieces and len(self._ready) < READ_BYTES:
            batch = [self._pieces.popleft() for _ in range(min(len(self._pieces), 512))]
            self._held -= sum(map(len, batch))
            self._ready += self._faults.damage(b"".join(batch))
