"""Energy counters of this machine's processor (RAPL) through the kernel's powercap files.

They count the processor's package, not a device under test, about once a millisecond. The kernel's file is
``/sys/class/powercap/intel-rapl:N/energy_uj`` (AMD processors too); it wraps at ``max_energy_range_uj``
(Documentation/power/powercap/powercap.rst of the Linux kernel). A counter that begins again, steps back or
leaps looks like a wrap too: a difference counts only where a processor can have drawn it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgesnn.errors import MeterError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, DriverStatus, Found, MeterInfo, SampleStatus
from edgesnn.meters.clock import Clock
from edgesnn.meters.host.counter import HostCounter, unreadable

ROOT = Path("/sys/class/powercap")
#: More than any package draws, watts (ASSUMED: the largest of 2025 are specified for 500 W). A wrap or a leap
#: that takes more is none; a counter of 262 kJ, the usual one, cannot wrap unseen within 131 s.
MOST_W = 2000.0
_REMEDY = (
    "since CVE-2020-8694 the kernel shows it to root only: sudo chmod a+r "
    "/sys/class/powercap/intel-rapl:*/energy_uj (until the next start)"
)


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter.

    Attributes:
        folder: Its folder.
        name: What it counts, for example ``package-0``.
        range_uj: Where it wraps.
    """

    folder: Path
    name: str
    range_uj: int

    def energy_uj(self) -> int:
        """The counter.

        Raises:
            MeterError: It cannot be read.
        """
        path = self.folder / "energy_uj"
        try:
            return int(path.read_text())
        except OSError as error:
            raise unreadable(str(path), error, _REMEDY) from error
        except ValueError as error:
            raise MeterError(f"'{path}' holds no number") from error


def zones(root: Path = ROOT) -> list[Zone]:
    """The counters of this machine, top-level ones (packages, psys) first.

    Args:
        root: Where the kernel shows powercap.
    """
    found = []
    for folder in sorted(root.glob("intel-rapl:*"), key=lambda path: (path.name.count(":"), path.name)):
        try:
            name = (folder / "name").read_text().strip()
            range_uj = int((folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        found.append(Zone(folder, name, range_uj))
    return found


class RaplMeter(HostCounter):
    """RAPL. The device of the address is a zone's name or folder.

    Args:
        address: Which zone; without one, the sum of all packages.
        root: Where the kernel shows powercap.
        clock: Where time comes from.
    """

    name: ClassVar[str] = "rapl"
    summary: ClassVar[str] = "energy counters of this machine's processor (coarse; not a device under test)"
    driver_status: ClassVar[DriverStatus] = DriverStatus.HOST
    usual_hz = 100.0

    def __init__(self, address: MeterAddress, *, root: Path = ROOT, clock: Clock | None = None) -> None:
        super().__init__(address, clock=clock)
        self._root = root
        self._zones: list[Zone] = []
        self._last_uj: list[int] = []

    @classmethod
    def missing(cls) -> str | None:
        return None if zones() else "this machine shows no RAPL counters (/sys/class/powercap/intel-rapl:*)"

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        found = []
        for zone in zones():
            try:
                zone.energy_uj()
                trouble = None
            except MeterError as error:
                trouble = str(error)
            folder = zone.folder.name
            found.append(Found("rapl", f"rapl:{folder}", str(zone.folder), zone.name, trouble))
        return tuple(found)

    def open(self) -> MeterInfo:
        found = zones(self._root)
        wanted = self._address.device
        if wanted is None:
            chosen = [zone for zone in found if zone.name.startswith("package")]
        else:
            chosen = [zone for zone in found if wanted in (zone.name, zone.folder.name)]
        if not chosen:
            raise MeterError(
                "this machine shows no RAPL counter" + (f" '{wanted}'" if wanted else ""),
                actual=", ".join(zone.name for zone in found) or "none",
                remedy="a virtual machine and many ARM machines have none",
            )
        self._zones = chosen
        for zone in chosen:
            zone.energy_uj()
        self._opened = True
        names = [zone.name for zone in chosen]
        details = {"zones": names, "wrap_uj": [zone.range_uj for zone in chosen]}
        return MeterInfo(self.name, "+".join(names), None, None, str(chosen[0].folder), False, details)

    def _begin(self) -> None:
        self._last_uj = [zone.energy_uj() for zone in self._zones]

    def _sample(self, now_ns: int) -> Block | None:
        fresh = [zone.energy_uj() for zone in self._zones]
        if fresh == self._last_uj:
            return None
        seconds = (now_ns - self._last_ns) / 1e9
        most_uj = MOST_W * seconds * 1e6
        drawn_uj = 0
        status = SampleStatus.OK
        for zone, new, old in zip(self._zones, fresh, self._last_uj, strict=True):
            # the wrap: the counter's highest value is range_uj, so it has range_uj + 1 values
            drawn = new - old if new >= old else new - old + zone.range_uj + 1
            if 0 <= drawn <= most_uj <= zone.range_uj:
                drawn_uj += drawn
                continue
            status = SampleStatus.SUSPECT
            if most_uj > zone.range_uj:
                why = f"nobody read it for {seconds:.0f} s: it may have wrapped unseen"
            else:
                why = f"from {old} to {new} uJ in {seconds:.3g} s is no energy: it began again, or leapt"
            self._note(f"the counter of {zone.name} tells nothing near {self._now_s():.6g} s: {why}")
        self._last_uj = fresh
        return self._block(now_ns, status, watts=drawn_uj * 1e-6 / seconds)
