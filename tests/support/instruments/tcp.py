"""A twin in real time behind a TCP port of this machine: ``with TcpTwin(device) as twin: twin.port``.

It serves one client after the other on the loopback interface. Like `pty.PtyTwin`, its instrument's buffer
is bounded: a client that does not read loses what does not fit.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from edgesnn.closing import Closing
from edgesnn.meters.twins.device import Truth, TwinDevice
from edgesnn.meters.twins.faults import FaultKind, FaultSchedule
from edgesnn.meters.twins.pty import TICK_S


class TcpTwin(Closing):
    """A twin behind a port of 127.0.0.1; make it in a ``with`` statement.

    Args:
        device: The simulated instrument.
        faults: What goes wrong; to unplug closes the connection and the port.

    Attributes:
        lost_pieces: What the full buffer threw away so far.
    """

    def __init__(self, device: TwinDevice, faults: FaultSchedule | None = None) -> None:
        self._device = device
        self._faults = faults or FaultSchedule()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._server: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self._number = int(self._server.getsockname()[1])
        self._client: socket.socket | None = None
        self._waiting = bytearray()
        self.lost_pieces = 0
        self._thread = threading.Thread(target=self._run, name=f"tcp-{device.name}", daemon=True)
        self._thread.start()

    @property
    def port(self) -> str:
        """``127.0.0.1:NUMBER``."""
        return f"127.0.0.1:{self._number}"

    @property
    def device(self) -> TwinDevice:
        """The simulated instrument."""
        return self._device

    def truth(self) -> Truth:
        """What was really drawn."""
        with self._lock:
            return self._device.truth()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._unplug()

    def _unplug(self) -> None:
        for one in (self._client, self._server):
            if one is not None:
                one.close()
        self._client = self._server = None

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            with self._lock:
                self._tick(time.monotonic() - self._began)

    def _tick(self, now_s: float) -> None:
        for fault in self._faults.due(now_s):
            if fault.kind is FaultKind.UNPLUG:
                self._unplug()
            elif fault.kind is FaultKind.DROP_SAMPLES:
                self._device.drop(int(fault.amount))
        if self._server is None:
            return
        if select.select([self._server], [], [], 0)[0]:
            if self._client is not None:
                self._client.close()
            self._client, _ = self._server.accept()
            self._client.setblocking(False)
            self._waiting.clear()
        answer = b""
        if self._client is not None and select.select([self._client], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                data = self._client.recv(4096)
                if data:
                    answer = self._device.receive(data, now_s)
                else:
                    self._client.close()
                    self._client = None
        for piece in [answer, *self._device.advance(now_s)]:
            if len(self._waiting) + len(piece) > self._device.buffer_bytes:
                self.lost_pieces += 1
            elif piece:
                self._waiting += self._faults.damage(piece)
        if self._client is not None and self._waiting and not self._faults.stalled(now_s):
            with contextlib.suppress(BlockingIOError, OSError):
                del self._waiting[: self._client.send(self._waiting)]
