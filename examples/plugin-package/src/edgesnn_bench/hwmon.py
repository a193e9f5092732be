"""Meter ``hwmon``: a power sensor as the Linux kernel shows it, one whole number of microwatts in a file.

By the kernel's page (Documentation/hwmon/sysfs-interface.rst) ``power[1-*]_input`` is instantaneous power in
microwatts.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgesnn.errors import MeterError, MeterUnpluggedError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, DriverStatus, Found, MeterInfo, SampleStatus
from edgesnn.meters.host.counter import HostCounter
from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy, RangeAccuracy, VoltageAccuracy

SENSORS = Path("/sys/class/hwmon")


class HwmonMeter(HostCounter):
    """A power sensor; the device of the address is its file. `HostCounter` polls it and keeps the clock."""

    name: ClassVar[str] = "hwmon"
    summary: ClassVar[str] = "power sensor of the Linux kernel: hwmon:FILE (microwatts)"
    driver_status: ClassVar[DriverStatus] = DriverStatus.HOST

    def __init__(self, address: MeterAddress) -> None:
        super().__init__(address)
        self._file = Path(address.device) if address.device else None

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """Every power sensor that the kernel shows."""
        return tuple(
            Found("hwmon", f"hwmon:{file}", str(file), file.parent.name)
            for file in sorted(SENSORS.glob("hwmon*/power*_input"))
        )

    @property
    def accuracy(self) -> MeterAccuracy:
        """Nobody promises a figure; 10 % is assumed, and says so."""
        return MeterAccuracy(
            name="hwmon",
            model="power sensor of the Linux kernel",
            kind=AccuracyKind.TYPICAL,
            source="ASSUMED 10 %: the kernel's page names no accuracy",
            ranges=[RangeAccuracy(name="sensor", max_a=1000.0, gain=0.1)],
            voltage=VoltageAccuracy(measured=False, gain=0.0),
            clock_ppm=100.0,
            clock_source="ASSUMED: the host's clock, not disciplined",
        )

    def open(self) -> MeterInfo:
        """Read the sensor once.

        Raises:
            MeterError: No file was named, or it holds no number.
        """
        if self._file is None:
            found = self.discover()
            if len(found) != 1:
                raise MeterError(
                    "name the sensor's file",
                    actual=", ".join(one.port for one in found) or "this machine shows none",
                    remedy="--meter hwmon:/sys/class/hwmon/hwmonN/power1_input",
                )
            self._file = Path(found[0].port)
        self._watts()
        self._opened = True
        return MeterInfo(self.name, self._file.name, None, None, str(self._file), simulated=False)

    def _begin(self) -> None:
        self._watts()

    def _sample(self, now_ns: int) -> Block:
        return self._block(now_ns, SampleStatus.OK, watts=self._watts())

    def _watts(self) -> float:
        assert self._file is not None
        try:
            return int(self._file.read_text(encoding="ascii")) * 1e-6
        except OSError as error:
            raise MeterUnpluggedError(f"the sensor '{self._file}' cannot be read: {error.strerror}") from None
        except ValueError:
            raise MeterError(f"'{self._file}' holds no whole number of microwatts") from None
