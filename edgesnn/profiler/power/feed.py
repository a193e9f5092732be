"""A simulated device under test for a simulated meter: one power while it works, one while it rests.

Nothing here is measured of a device. It lets anyone try the whole chain without an instrument; every number
that comes out of it says SIMULATED.
"""

from __future__ import annotations

import json
import socket
import time

from edgesnn.closing import Closing
from edgesnn.errors import MeterError

#: A line is sent this much ahead of its time, so that the twin has it before it comes to that time.
AHEAD_NS = 60_000_000
#: Length of a marker's pulse.
PULSE_NS = 5_000_000
#: What is drawn where the user names nothing: the order of a small microcontroller.
ACTIVE_W, IDLE_W = 0.080, 0.012


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatedLoad(Closing):
    """Feeds a twin's live load (`edgesnn.meters.twins.live`) over its socket.

    Args:
        port: Where the twin listens.
        active_w: Power while working.
        idle_w: Power while resting.
        pulses: Whether the marker is pulsed at the start and the end of work instead of held.

    Raises:
        MeterError: Nobody listens there.
    """

    def __init__(
        self, port: int, active_w: float = ACTIVE_W, idle_w: float = IDLE_W, *, pulses: bool = False
    ) -> None:
        self.active_w, self.idle_w = active_w, idle_w
        self._pulses, self._watts = pulses, idle_w
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError as error:
            raise MeterError(
                "the simulated meter does not take a load", actual=str(error), limit=f"port {port}"
            ) from error
        self._send(time.monotonic_ns(), idle_w, 0)

    def busy(self) -> int:
        """Work from a moment on; returns when it has come, with its host time."""
        return self._draw(self.active_w, 1)

    def rest(self) -> int:
        """Rest from a moment on; see `busy`."""
        return self._draw(self.idle_w, 0)

    def close(self) -> None:
        self._socket.close()

    def _draw(self, watts: float, level: int) -> int:
        when = time.monotonic_ns() + AHEAD_NS
        if self._pulses:  # a falling edge at the moment
            self._send(when - PULSE_NS, self._watts, 1)
            self._send(when, watts, 0)
        else:
            self._send(when, watts, level)
        self._watts = watts
        while (left := when - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        return when

    def _send(self, when_ns: int, watts: float, markers: int) -> None:
        line = {"t": when_ns / 1e9, "power_w": watts, "markers": markers}
        try:
            self._socket.sendall((json.dumps(line) + "\n").encode())
        except OSError as error:
            raise MeterError("the simulated meter is gone", actual=str(error)) from error
