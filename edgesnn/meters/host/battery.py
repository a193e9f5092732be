"""Fuel gauge of a battery, as the Linux kernel shows it: ``/sys/class/power_supply/NAME/uevent``.

A gauge measures the whole machine, at its own pace (a tenth of a second to a minute), often averaged. By the
kernel's page (Documentation/ABI/testing/sysfs-class-power) ``current_now`` is in microamperes and negative
while discharging; older drivers show it the other way round or without a sign, so the sign is taken from the
status. While a charger is attached the battery does not tell what the machine draws: such samples are
suspect.

`parse_gauge` takes the text of ``uevent`` from anywhere, a phone's shell too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

from edgesnn.errors import MeterError, MeterUnpluggedError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, DriverStatus, Found, MeterCapability, MeterInfo, SampleStatus
from edgesnn.meters.clock import Clock
from edgesnn.meters.host.counter import HostCounter, unreadable

ROOT = Path("/sys/class/power_supply")
#: A value that has not changed for this long is taken for a steady one.
HOLD_S = 10.0
#: More than any battery of a machine that can be carried gives, watts (ASSUMED).
MOST_W = 1000.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """One reading of a fuel gauge.

    Attributes:
        status: As the kernel says: Discharging, Charging, Full, Not charging, Unknown.
        current_a: Amperes out of the battery, never negative while discharging; None if it does not tell.
        voltage_v: Volts; None if it does not tell.
        power_w: Watts out of the battery; None if it does not tell.
        model: Name of the battery.
        serial_number: Its number.
    """

    status: str
    current_a: float | None
    voltage_v: float | None
    power_w: float | None
    model: str
    serial_number: str | None

    @property
    def discharging(self) -> bool:
        """Whether the battery alone feeds the machine."""
        return self.status == "Discharging"

    @property
    def watts(self) -> float:
        """Power out of the battery; it must tell enough for it."""
        if self.current_a is not None and self.voltage_v is not None:
            return self.current_a * self.voltage_v
        return self.power_w or 0.0

    @property
    def tells(self) -> bool:
        """Whether it tells enough for watts."""
        return self.power_w is not None or (self.current_a is not None and self.voltage_v is not None)


def parse_gauge(uevent: str) -> Gauge | None:
    """Read the text of ``uevent``.

    Args:
        uevent: Lines ``POWER_SUPPLY_KEY=VALUE``; micro units.

    Returns:
        The reading; None when this is no battery of the machine (a charger, a mouse).
    """
    values = {}
    for line in uevent.splitlines():
        key, _, value = line.partition("=")
        values[key.strip().removeprefix("POWER_SUPPLY_")] = value.strip()
    if values.get("TYPE", "Battery") != "Battery" or values.get("SCOPE") == "Device":
        return None
    if "STATUS" not in values:
        return None
    status = values["STATUS"]
    return Gauge(
        status=status,
        current_a=_out_of_battery(_micro(values, "CURRENT_NOW"), status),
        voltage_v=_micro(values, "VOLTAGE_NOW"),
        power_w=_out_of_battery(_micro(values, "POWER_NOW"), status),
        model=values.get("MODEL_NAME") or values.get("NAME") or "battery",
        serial_number=values.get("SERIAL_NUMBER") or None,
    )


def _micro(values: dict[str, str], key: str) -> float | None:
    try:
        return int(values[key]) * 1e-6
    except (KeyError, ValueError, OverflowError):
        return None


def _out_of_battery(value: float | None, status: str) -> float | None:
    """The same with its sign from the status: positive out of the battery, negative into it."""
    if value is None:
        return None
    return -abs(value) if status == "Charging" else abs(value)


class BatteryMeter(HostCounter):
    """A fuel gauge. The device of the address is its folder's name.

    A sample stands for the time since the value changed last. The gauge's own pace is measured: `update_s`.

    Args:
        address: Which battery; without one, the only one.
        root: Where the kernel shows supplies.
        clock: Where time comes from.
    """

    name: ClassVar[str] = "battery"
    summary: ClassVar[str] = "fuel gauge of this machine's battery (coarse; the whole machine)"
    driver_status: ClassVar[DriverStatus] = DriverStatus.HOST
    usual_hz = 20.0

    def __init__(self, address: MeterAddress, *, root: Path = ROOT, clock: Clock | None = None) -> None:
        super().__init__(address, clock=clock)
        self._root = root
        self._folder: Path | None = None
        self._before: Gauge | None = None
        self._changed_ns: int | None = None
        self._intervals_s: list[float] = []
        self._charging_said = False

    @classmethod
    def missing(cls) -> str | None:
        return (
            None
            if batteries(ROOT)
            else "this machine has no battery that tells current and voltage, or power"
        )

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        return tuple(
            Found(
                "battery",
                f"battery:{folder.name}",
                str(folder),
                gauge.model,
                None if gauge.discharging else f"it does not feed the machine now: {gauge.status}",
            )
            for folder, gauge in batteries(ROOT)
        )

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """Coarse; voltage where the gauge tells current and voltage."""
        able = {MeterCapability.COARSE}
        if self._before is not None and self._before.current_a is not None:
            able.add(MeterCapability.MEASURES_VOLTAGE)
        return frozenset(able)

    @property
    def update_s(self) -> float | None:
        """How often the gauge brings a new value, as measured; None before three changes."""
        return median(self._intervals_s) if len(self._intervals_s) >= 3 else None

    def open(self) -> MeterInfo:
        found = batteries(self._root)
        wanted = self._address.device
        chosen = [one for one in found if wanted in (None, one[0].name)]
        if len(chosen) != 1:
            what = "no battery" if not chosen else "more than one battery"
            raise MeterError(
                f"{what} of this machine tells current and voltage, or power",
                actual=", ".join(folder.name for folder, _ in found) or "none",
                remedy="name one: battery:BAT0" if chosen else None,
            )
        self._folder, gauge = chosen[0]
        self._before, self._opened = gauge, True
        details = {
            "status": gauge.status,
            "tells": "power" if gauge.current_a is None else "current and voltage",
        }
        return MeterInfo(self.name, gauge.model, gauge.serial_number, None, str(self._folder), False, details)

    def _begin(self) -> None:
        self._before = self._gauge()
        self._changed_ns, self._intervals_s, self._charging_said = None, [], False

    def _sample(self, now_ns: int) -> Block | None:
        gauge = self._gauge()
        before, self._before = self._before, gauge
        changed = gauge != before
        if not changed and (now_ns - self._last_ns) / 1e9 < HOLD_S:
            return None
        if changed:
            if self._changed_ns is not None:
                self._intervals_s = [*self._intervals_s[-99:], (now_ns - self._changed_ns) / 1e9]
            self._changed_ns = now_ns
        # the sample began when the reading before it was new: both must say that the battery feeds
        feeds = gauge.discharging and before is not None and before.discharging
        status = SampleStatus.OK if feeds else SampleStatus.SUSPECT
        if not feeds and not self._charging_said:
            self._charging_said = True
            other = gauge.status if not gauge.discharging or before is None else before.status
            self._note(f"the battery does not feed the machine alone: {other}")
        if feeds and not 0 < gauge.watts <= MOST_W:
            status = SampleStatus.SUSPECT
            self._note(f"the gauge tells {gauge.watts:g} W near {self._now_s():.6g} s, which cannot be")
        if gauge.current_a is not None and gauge.voltage_v is not None:
            return self._block(now_ns, status, amperes=gauge.current_a, volts=gauge.voltage_v)
        return self._block(now_ns, status, watts=gauge.power_w)

    def _gauge(self) -> Gauge:
        assert self._folder is not None
        path = self._folder / "uevent"
        try:
            gauge = parse_gauge(path.read_text())
        except FileNotFoundError as error:
            raise MeterUnpluggedError(f"the battery '{self._folder.name}' is gone") from error
        except OSError as error:
            raise unreadable(str(path), error, "run it as a user who may read it") from error
        if gauge is None or not gauge.tells:
            raise MeterError(f"the battery '{self._folder.name}' no longer tells what it gives")
        return gauge


def batteries(root: Path) -> list[tuple[Path, Gauge]]:
    """The batteries that tell enough for watts.

    Args:
        root: Where the kernel shows supplies.
    """
    found = []
    for folder in sorted(root.glob("*")):
        try:
            gauge = parse_gauge((folder / "uevent").read_text())
        except OSError:
            continue
        if gauge is not None and gauge.tells:
            found.append((folder, gauge))
    return found
