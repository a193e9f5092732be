"""An emulated board at a port, whose marker pin draws power from a simulated meter: one feed for both.

QEMU runs without ``-icount``, so the board's microseconds are this computer's. It tells every write to the
register behind the marker pin with its time (trace event ``mps2_fpgaio_write``), and each becomes a line of
the meter's live load (``edgesnn/meters/twins/live.py``).
"""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time

from edgesnn.firmware import EMULATED, find_firmware
from edgesnn.runners.board.emulator import EMULATOR
from tests.support.patience import patience

#: A line is sent this much ahead of its time, so that the twin has it before it comes to that time.
AHEAD_S = 0.06
LED = re.compile(rb"@(\d+\.\d+):mps2_fpgaio_write .*offset 0x0+ data 0x([0-9a-f]+)")
PORT = re.compile(rb"char device redirected to (\S+)")


class PoweredBoard:
    """A board that is busy while its marker pin is high.

    Args:
        feed: Port of the meter's live load, which may begin to listen later.
        active_w: Power while the pin is high.
        idle_w: Power otherwise.
        machine: The board.
    """

    def __init__(self, feed, active_w, idle_w, machine="mps2-an500"):
        self._feed, self._watts, self._socket = feed, (idle_w, active_w), None
        self._ends = threading.Event()
        self.edges = 0
        command = [EMULATOR, "-M", machine, "-display", "none", "-monitor", "none", "-serial", "pty"]
        command += ["-kernel", str(find_firmware(EMULATED[machine])), "-trace", "mps2_fpgaio_write"]
        command += ["-msg", "timestamp=on"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._named = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._connect)]
        for thread in self._threads:
            thread.start()
        assert self._named.wait(patience()), "QEMU names no port"

    def _watch(self):
        for line in self._process.stdout:
            if found := PORT.search(line):
                self.port = found[1].decode()
                self._named.set()
            elif found := LED.search(line):
                self.edges += 1
                self._draw(int(found[2], 16) & 1, float(found[1]) - time.time() + time.monotonic())

    def _connect(self):
        """The meter is switched on after the board: until then nothing is drawn."""
        while self._socket is None and not self._ends.wait(0.02):
            with contextlib.suppress(OSError):
                self._socket = socket.create_connection(("127.0.0.1", self._feed))
                self._draw(0, time.monotonic())

    def _draw(self, high, moment):
        when = moment + AHEAD_S
        said = {"t": when, "power_w": self._watts[high], "markers": high}
        self._socket.sendall(json.dumps(said).encode() + b"\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._process.kill()
        self._process.wait(patience())
        for thread in self._threads:
            thread.join(patience())
        self._process.stdout.close()
        if self._socket is not None:
            self._socket.close()
