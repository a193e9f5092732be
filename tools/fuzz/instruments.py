"""Harnesses of instruments: what a twin said in a whole session of its driver, damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Meter, MeterCapability, Settings
from edgesnn.meters.host.battery import parse_gauge
from edgesnn.meters.ina228.driver import Ina228Meter
from edgesnn.meters.ina228.twin import Ina228Twin
from edgesnn.meters.joulescope.join import Join
from edgesnn.meters.link import MeterLink
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.scpi.driver import ScpiMeter
from edgesnn.meters.scpi.twin import ScpiTwin
from edgesnn.meters.twins.device import Conditions, TwinDevice
from edgesnn.meters.twins.load import square
from tests.support.instruments.virtual import VirtualLink
from tools.fuzz.harness import Harness, Subject

# Instruments: a whole session of a driver, with what a twin said in one, damaged --------------------------

_PIECE = struct.Struct("<HH")


class _Recorded(VirtualLink):
    """A twin's wire that keeps what every read gave and how long it took."""

    def __init__(self, device: TwinDevice) -> None:
        super().__init__(device)
        self.kept = b""

    def read(self, timeout_s: float) -> bytes:
        before = self.now_ns()
        data = super().read(timeout_s)
        self.kept += _PIECE.pack(len(data), (self.now_ns() - before) // 1_000_000) + data
        return data


class _Played(MeterLink):
    """A wire on which every read gives the next piece, whatever was written."""

    port = "virtual:played"
    simulated = True

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._now_ns = data, 0, 1_000_000_000

    def now_ns(self) -> int:
        return self._now_ns

    def write(self, data: bytes) -> None:
        """What is said to it changes nothing."""

    def read(self, timeout_s: float) -> bytes:
        if self._at + _PIECE.size > len(self._data):
            self._now_ns += max(round(timeout_s * 1e9), 1_000_000)
            return b""
        size, ms = _PIECE.unpack_from(self._data, self._at)
        self._at += _PIECE.size
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        self._now_ns += max(1000, ms * 1_000_000)
        return piece

    def close(self) -> None:
        """Nothing to let go of."""


def _session(meter: Meter, settings: Settings, reads: int) -> None:
    with meter:
        meter.open()
        meter.configure(settings)
        if MeterCapability.SUPPLIES_POWER in meter.capabilities:
            meter.power(True)
        meter.start()
        for _ in range(reads):
            meter.read(1.0)
        meter.stop()
        _ = meter.loss, meter.accuracy


def _meter(
    kind: Callable[..., Any], twins: Callable[[], list[TwinDevice]], settings: Settings, reads: int
) -> Harness:
    name = kind.name

    def opened(folder: Path) -> Subject:
        seeds = []
        for twin in twins():
            link = _Recorded(twin)
            _session(kind(MeterAddress(name), link=link), settings, reads)
            seeds.append(link.kept)
        return Subject(
            seeds, lambda data: _session(kind(MeterAddress(name), link=_Played(data)), settings, reads)
        )

    return Harness(opened)


_LOAD = Conditions(square(0.002, 0.090, 0.1))


def _joulescope(folder: Path) -> Subject:
    """Messages as the maker's driver publishes them; their numbers come from C structures and may be any."""
    message = struct.Struct("<BQII")
    seed = b"".join(
        message.pack(signal, 1000 + 2000 * 8 * turn, 2_000_000, 2000) for turn in (0, 1) for signal in (0, 1)
    )

    def run(data: bytes) -> None:
        join = Join(("current", "voltage"))
        for at in range(0, len(data) - message.size + 1, message.size):
            signal, sample, rate, factor = message.unpack_from(data, at)
            fields = {"sample_id": sample, "sample_rate": rate, "decimate_factor": factor}
            join.add(("current", "voltage")[signal % 2], {**fields, "data": np.ones(8, np.float32)})
            join.take()

    return Subject([seed], run)


def _gauge(folder: Path) -> Subject:
    seed = (
        b"POWER_SUPPLY_NAME=BAT0\nPOWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_STATUS=Discharging\n"
        b"POWER_SUPPLY_CURRENT_NOW=1200000\nPOWER_SUPPLY_VOLTAGE_NOW=11400000\n"
    )

    def run(data: bytes) -> None:
        gauge = parse_gauge(data.decode("utf-8", "replace"))
        assert gauge is None or gauge.tells in (True, False)

    return Subject([seed], run)


HARNESSES = {
    "ppk2": _meter(Ppk2Meter, lambda: [Ppk2Twin(_LOAD)], Settings(voltage_v=3.7), 3),
    "ina228": _meter(Ina228Meter, lambda: [Ina228Twin(_LOAD)], Settings(), 6),
    "lpm01a-ascii": _meter(
        Lpm01aMeter, lambda: [Lpm01aTwin(_LOAD)], Settings(voltage_v=3.3, rate_hz=1000), 4
    ),
    "lpm01a": _meter(Lpm01aMeter, lambda: [Lpm01aTwin(_LOAD)], Settings(voltage_v=3.3, rate_hz=20_000), 2),
    "scpi": _meter(
        ScpiMeter,
        lambda: [ScpiTwin(_LOAD, m) for m in ("keithley-2450", "keysight-n6705")],
        Settings(voltage_v=3.3),
        6,
    ),
    "joulescope": Harness(_joulescope),
    "battery-gauge": Harness(_gauge),
}
