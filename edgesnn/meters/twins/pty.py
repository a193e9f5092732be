"""A twin in real time behind a pseudo-terminal: ``with PtyTwin(device) as twin: twin.port``.

The instrument's buffer is bounded and drains into the pseudo-terminal only as fast as the host reads: a
host that comes late really loses samples. The port has a stable name (a symbolic link) that survives
unplugging, like the names under ``/dev/serial/by-id``.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

from edgesnn.closing import Closing
from edgesnn.errors import MeterError
from edgesnn.meters.twins.device import Truth, TwinDevice
from edgesnn.meters.twins.faults import FaultKind, FaultSchedule
from edgesnn.scratch import ScratchFolder

#: How often the twin wakes up to send, as an instrument's USB frames would.
TICK_S = 0.004


class PtyTwin(Closing):
    """A twin behind a pseudo-terminal; make it in a ``with`` statement.

    Args:
        device: The simulated instrument.
        faults: What goes wrong.

    Attributes:
        lost_pieces: Samples or frames that the full buffer threw away so far.

    Raises:
        MeterError: This system has no pseudo-terminals.
    """

    def __init__(self, device: TwinDevice, faults: FaultSchedule | None = None) -> None:
        self._device = device
        self._faults = faults or FaultSchedule()
        self._scratch = ScratchFolder("twin")
        self._link = self._scratch.path / device.name
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._rest = b""
        self._master: int | None = None
        self._slave: int | None = None
        self._replug_at: float | None = None
        self.lost_pieces = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"twin-{device.name}", daemon=True)
        try:
            self._plug()
        except OSError as error:
            self._scratch.close()
            raise MeterError("this system gives no pseudo-terminal", actual=str(error)) from error
        self._thread.start()

    @property
    def port(self) -> str:
        """Name of the port to open."""
        return str(self._link)

    @property
    def device(self) -> TwinDevice:
        """The simulated instrument."""
        return self._device

    def now_s(self) -> float:
        """True time, seconds since the twin was made."""
        return time.monotonic() - self._began

    def truth(self) -> Truth:
        """What was really drawn."""
        with self._lock:
            return self._device.truth()

    def close(self) -> None:
        """Unplug it for good; safe to call twice.

        Raises:
            BaseException: What made the twin's thread die, if something did.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._unplug()
        self._scratch.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _plug(self) -> None:
        import tty  # Windows, where this driver says that it cannot run, has none

        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self._scratch.path / "fresh"
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self._link)

    def _unplug(self) -> None:
        for descriptor in (self._slave, self._master):
            if descriptor is not None:
                os.close(descriptor)
        self._master = self._slave = None
        self._pieces.clear()
        self._held, self._rest = 0, b""
        self._link.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_S):
                with self._lock:
                    self._tick(self.now_s())
        except BaseException as failure:  # handed to the caller by close()
            self._failure = failure
            self._unplug()

    def _tick(self, now_s: float) -> None:
        for fault in self._faults.due(now_s):
            if fault.kind is FaultKind.DROP_SAMPLES:
                self._device.drop(int(fault.amount))
            elif fault.kind is FaultKind.UNPLUG:
                self._unplug()
                self._replug_at = now_s + fault.amount if fault.amount else None
        if self._master is None:
            if self._replug_at is None or now_s < self._replug_at:
                return
            self._replug_at = None
            self._device.replugged()
            self._plug()
        answer = self._received(now_s)
        for piece in self._device.advance(now_s):
            if self._held + len(piece) > self._device.buffer_bytes:
                self.lost_pieces += 1
            else:
                self._pieces.append(piece)
                self._held += len(piece)
        if answer:  # a control answer does not wait behind samples that nobody reads
            self._rest += self._faults.damage(answer)
        if not self._faults.stalled(now_s):
            self._send()

    def _received(self, now_s: float) -> bytes:
        assert self._master is not None
        answer = b""
        while select.select([self._master], [], [], 0)[0]:
            try:
                data = os.read(self._master, 4096)
            except (BlockingIOError, OSError):
                break
            if not data:
                break
            answer += self._device.receive(data, now_s)
        return answer

    def _send(self) -> None:
        assert self._master is not None
        while True:
            if not self._rest:
                if not self._pieces:
                    return
                batch = [self._pieces.popleft() for _ in range(min(len(self._pieces), 512))]
                self._held -= sum(map(len, batch))
                self._rest = self._faults.damage(b"".join(batch))
            try:
                sent = os.write(self._master, self._rest)
            except (BlockingIOError, OSError):
                return
            self._rest = self._rest[sent:]
            if self._rest:
                return
