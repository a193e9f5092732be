"""The INA228 bridge's C core on this computer: built strictly, with sanitizers, driven through a pipe."""

import struct
import subprocess

from tests.support.sources import ROOT

FOLDER = ROOT / "firmware_bridge" / "meter"
SOURCES = ("frame.c", "bridge.c", "host/bridge_host.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-O1", "-g")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(compiler, program, flags=SANITIZED):
    """Compile the host build; the compiler's complaints are the exception."""
    command = [compiler, *STRICT, *flags, *(str(FOLDER / name) for name in SOURCES), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


class CoreInC:
    """The core behind a pipe; the same calls as `edgesnn.meters.ina228.bridge_twin.Bridge`.

    Every call gives the frames that the core sent. `told` is what its last hook was told.
    """

    def __init__(self, program, **how):
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.told = 0
        self.restart(**how)

    def restart(self, present=1, shunt_cal=4096, level=0):
        head = struct.pack("<BHBI", present, shunt_cal, level, 0)
        self._event(b"I" + head + b"SIMULATE" + bytes([1, 0, 0]))

    def receive(self, data, now_us):
        self._event(b"T" + struct.pack("<I", now_us))  # the host build has no clock of its own
        return self._event(b"R" + struct.pack("<H", len(data)) + data)

    def sample(self, channel, t_us, bus, current):
        return self._event(b"S" + struct.pack("<BIii", channel, t_us, bus, current))

    def mark(self, t_us, level):
        return self._event(b"M" + struct.pack("<IB", t_us, level))

    def dropped(self, samples):
        self._event(b"D" + struct.pack("<I", samples))

    def edges_lost(self, edges):
        self._event(b"E" + struct.pack("<I", edges))

    def poll(self, now_us):
        return self._event(b"P" + struct.pack("<I", now_us))

    def close(self):
        """End the process; a sanitizer's complaint shows as its exit code."""
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait() == 0

    def _event(self, event):
        self._process.stdin.write(event + b"F")
        self._process.stdin.flush()
        (count,) = struct.unpack("<I", self._process.stdout.read(4))
        sent = self._process.stdout.read(count)
        self.told = self._process.stdout.read(1)[0]
        return [frame + b"\0" for frame in sent.split(b"\0")[:-1]]
