"""A load that another program of this machine feeds while it works: one JSON object per line over a socket.

``{"t": 12.5, "power_w": 0.08, "markers": 1}``: from ``t`` on (seconds of this machine's monotonic clock,
``time.monotonic()``; left out it means now) that is drawn, until the next line says otherwise. The twin says
hello with a line of its own: ``{"schema": "edgesnn.live-load/1", "monotonic_s": ...}``. The socket listens on
127.0.0.1 only.

What was drawn is never changed afterwards: a line whose time the twin has already passed counts from the
time that it has reached, and is counted in `LiveLoad.late`.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.closing import Closing
from edgesnn.errors import MeterError
from edgesnn.meters.twins.load import LoadSource

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

SCHEMA = "edgesnn.live-load/1"
_HOST = "127.0.0.1"
_POLL_S = 0.1
#: A line that is longer is no line of a feed.
_LONGEST_LINE = 4096


class LiveLoad(LoadSource, Closing):
    """A load fed over a socket; nothing is drawn before the first line.

    Args:
        port: Port to listen on; 0 for any that is free.

    Attributes:
        port: The port.
        lines: Lines taken so far.
        late: Lines whose time had passed already.
        refused: Lines that were no lines of a feed.

    Raises:
        MeterError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._times = np.zeros(1024)
        self._watts = np.zeros(1024)
        self._joules = np.zeros(1024)
        self._levels = np.zeros(1024, np.uint8)
        self._count = 1
        self._reached_s = 0.0
        self._epoch_s = time.monotonic()
        self.lines = self.late = self.refused = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        try:
            self._server = socket.create_server((_HOST, port))
        except OSError as error:
            raise MeterError(
                f"port {port} for the live load cannot be opened",
                actual=error.strerror or str(error),
                remedy="name another one, or 0 for any",
            ) from None
        self._server.settimeout(_POLL_S)
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name="live-load", daemon=True)
        self._thread.start()

    def began(self, monotonic_s: float) -> None:
        """Say when the twin's time 0 was on this machine's monotonic clock."""
        with self._lock:
            self._epoch_s = monotonic_s

    def feed(self, power_w: float, markers: int = 0, time_s: float | None = None) -> None:
        """Draw that from a time on.

        Args:
            power_w: Watts.
            markers: Levels of the marker inputs.
            time_s: The twin's time; None means now.
        """
        with self._lock:
            at = time.monotonic() - self._epoch_s if time_s is None else time_s
            last = float(self._times[self._count - 1])
            if at < max(self._reached_s, last):
                self.late += time_s is not None
                at = max(self._reached_s, last)
            if self._count == self._times.size:
                self._grow()
            index = self._count
            self._joules[index] = self._joules[index - 1] + (at - last) * self._watts[index - 1]
            self._times[index], self._watts[index], self._levels[index] = at, power_w, markers
            self._count += 1
            self.lines += 1

    def energy_j(self, time_s: FloatArray) -> FloatArray:
        with self._lock:
            if time_s.size:
                self._reached_s = max(self._reached_s, float(time_s[-1]))
            place = self._places(time_s)
            return np.asarray(
                self._joules[place] + (time_s - self._times[place]) * self._watts[place], np.float64
            )

    def markers(self, time_s: FloatArray) -> ByteArray:
        with self._lock:
            return np.asarray(self._levels[self._places(time_s)], np.uint8)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()

    def _places(self, time_s: FloatArray) -> npt.NDArray[np.intp]:
        places = np.searchsorted(self._times[: self._count], time_s, side="right") - 1
        return np.maximum(places, 0)

    def _grow(self) -> None:
        for name in ("_times", "_watts", "_joules", "_levels"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client:
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        client.settimeout(_POLL_S)
        hello = {"schema": SCHEMA, "monotonic_s": time.monotonic()}
        rest = b""
        try:
            client.sendall(json.dumps(hello).encode() + b"\n")
            while not self._stop.is_set():
                try:
                    data = client.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
                if len(rest) > _LONGEST_LINE:
                    self.refused += 1
                    return
        except OSError:
            return  # the feeder is gone; what it said last is still drawn

    def _take(self, line: bytes) -> None:
        try:
            said: Any = json.loads(line)
            watts, markers = float(said["power_w"]), int(said.get("markers", 0))
            at = None if said.get("t") is None else float(said["t"]) - self._epoch_s
        except (ValueError, TypeError, KeyError, AttributeError):
            self.refused += 1
            return
        if not (math.isfinite(watts) and watts >= 0 and 0 <= markers <= 255 and math.isfinite(at or 0.0)):
            self.refused += 1
            return
        self.feed(watts, markers, at)
