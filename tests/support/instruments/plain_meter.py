"""A twin with the simplest wire protocol there is, and its driver: for tests of what stands around drivers.

The host sends ``S`` to start, ``X`` to stop, ``I`` to ask who it is. Samples are 6 bytes: counter u8, marker
u8, current float32, little-endian, 1000 a second.
"""

from __future__ import annotations

import struct

import numpy as np

from edgesnn.errors import MeterTimeoutError
from edgesnn.meters.base import Block, DriverStatus, Loss, MeterCapability, MeterInfo, Settings
from edgesnn.meters.link import SerialLink, read_until
from edgesnn.meters.samples.accuracy import MeterAccuracy
from edgesnn.meters.twins.device import Truth

RATE_HZ = 1000.0
SAMPLE = struct.Struct("<BBf")


def accuracy(**changes):
    """An accuracy model with round figures."""
    return MeterAccuracy.model_validate(
        {
            "name": "plain",
            "model": "plain",
            "kind": "bound",
            "source": "of a test",
            "ranges": [{"name": "all", "max_a": 1.0, "gain": 0.01}],
            "voltage": {"measured": False, "gain": 0.0},
            "clock_ppm": 0.0,
            "clock_source": "of a test",
            **changes,
        },
        strict=False,
    )


class PlainTwin:
    """The simulated instrument."""

    name = "plain"
    buffer_bytes = 1 << 16

    def __init__(self, conditions):
        self._conditions = conditions
        self._streaming = False
        self._start_s = 0.0
        self._made = 0
        self._drop = 0

    def receive(self, data, now_s):
        answer = b""
        for letter in data:
            if letter == ord("I"):
                answer += b"PLAIN 1\n"
            elif letter == ord("S"):
                self._streaming, self._start_s, self._made = True, now_s, 0
            elif letter == ord("X"):
                self._streaming = False
        return answer

    def advance(self, now_s):
        if not self._streaming:
            return []
        until = int((now_s - self._start_s) * RATE_HZ)
        index = np.arange(self._made, max(until, self._made))
        self._made = max(until, self._made)
        if not index.size:
            return []
        edges = self._start_s + np.append(index, self._made) / RATE_HZ
        watts = np.diff(self._conditions.load.energy_j(edges)) * RATE_HZ
        amps = watts / self._conditions.voltage_v * (1 + self._conditions.gain) + self._conditions.offset_a
        marks = self._conditions.load.markers(edges[:-1])
        pieces = [SAMPLE.pack(k % 256, m, a) for k, m, a in zip(index.tolist(), marks, amps, strict=True)]
        dropped, self._drop = min(self._drop, len(pieces)), 0
        return pieces[dropped:]

    def drop(self, samples):
        self._drop += samples

    def replugged(self):
        self._streaming = False

    def truth(self):
        stop_s = self._start_s + self._made / RATE_HZ
        joules = np.diff(self._conditions.load.energy_j(np.array([self._start_s, stop_s])))[0]
        return Truth(self._start_s, stop_s, joules, joules / self._conditions.voltage_v, self._made)


class PlainMeter:
    """The driver."""

    name = "plain"
    summary = "a meter of a test"
    driver_status = DriverStatus.TWIN_ONLY

    def __init__(self, address, *, link=None):
        self._address = address
        self._link = link
        self._rest = b""
        self._count = 0
        self._missing = 0

    @classmethod
    def missing(cls):
        return None

    @classmethod
    def discover(cls):
        return ()

    capabilities = frozenset(
        {MeterCapability.MARKER_INPUT, MeterCapability.SAMPLE_CLOCK, MeterCapability.SIMULATED}
    )

    @property
    def accuracy(self):
        return accuracy()

    @property
    def loss(self):
        return Loss(self._count - self._missing, self._missing)

    def open(self):
        if self._link is None or isinstance(self._link, SerialLink):
            self._link = SerialLink(self._address.device)
        self._link.write(b"I")
        read_until(self._link, lambda data: b"PLAIN" in data and data.endswith(b"\n"), 1.0, "its name")
        return MeterInfo("plain", "PLAIN", "P1", "1", self._link.port, self._link.simulated)

    def configure(self, settings):
        return Settings(voltage_v=settings.voltage_v or 3.7, rate_hz=RATE_HZ)

    def start(self):
        self._rest, self._count, self._missing = b"", 0, 0
        self._link.write(b"S")

    def read(self, timeout_s):
        deadline = self._link.now_ns() + int(timeout_s * 1e9)
        while len(self._rest) < SAMPLE.size:
            left = (deadline - self._link.now_ns()) / 1e9
            if left <= 0:
                raise MeterTimeoutError("no sample")
            self._rest += self._link.read(left)
        whole = len(self._rest) // SAMPLE.size * SAMPLE.size
        data, self._rest = self._rest[:whole], self._rest[whole:]
        raw = np.frombuffer(data, dtype=[("k", "u1"), ("m", "u1"), ("a", "<f4")])
        steps = (np.diff(raw["k"].astype(int), prepend=(self._count - 1) % 256) - 1) % 256
        index = self._count + np.arange(raw.size) + np.cumsum(steps)
        lost = int(steps.sum())
        self._count, self._missing = int(index[-1]) + 1, self._missing + lost
        return Block(
            index / RATE_HZ, 1 / RATE_HZ, raw["a"].astype(np.float32), None, None, raw["m"].copy(),
            np.zeros(raw.size, np.uint8), None, lost, self._link.now_ns(),
        )  # fmt: skip

    def stop(self):
        self._link.write(b"X")
        return self.read(0.2) if (self._link_read()) else None

    def _link_read(self):
        self._rest += self._link.read(0.05)
        return len(self._rest) >= SAMPLE.size

    def close(self):
        if self._link is not None:
            self._link.close()
