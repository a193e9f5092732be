"""Which instruments have a twin, and how a driver is told to use it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from edgesnn.meters.twins.device import Conditions, TwinDevice
from edgesnn.names import unknown


@dataclass(frozen=True, slots=True)
class TwinEntry:
    """One instrument that can be simulated.

    Attributes:
        driver: Name of the driver that it answers to.
        summary: One line for users.
        place: ``module:class`` below ``edgesnn.meters``.
        volts: A voltage that it can supply, for examples; None where it only measures.
    """

    driver: str
    summary: str
    place: str
    volts: float | None

    def make(self, conditions: Conditions) -> TwinDevice:
        """The simulated instrument."""
        module, _, name = self.place.partition(":")
        device: TwinDevice = getattr(import_module(f"edgesnn.meters.{module}"), name)(conditions)
        return device

    def address(self, port: str) -> str:
        """What a user types to measure with it."""
        volts = "" if self.volts is None else f"?voltage={self.volts:g}"
        return f"{self.driver}:{port}{volts}"


#: By name of the driver.
TWINS: dict[str, TwinEntry] = {
    entry.driver: entry
    for entry in (
        TwinEntry("ppk2", "Nordic Power Profiler Kit II", "ppk2.twin:Ppk2Twin", 3.7),
        TwinEntry("lpm01a", "ST X-NUCLEO-LPM01A", "lpm01a.twin:Lpm01aTwin", 3.3),
        TwinEntry("ina228", "INA228 serial bridge", "ina228.twin:Ina228Twin", None),
        TwinEntry("scpi", "Keithley 2450 source meter", "scpi.twin:ScpiTwin", 3.7),
    )
}


def twin_entry(name: str) -> TwinEntry:
    """The entry of that name.

    Raises:
        UsageError: This instrument has no twin.
    """
    if name not in TWINS:
        raise unknown("twin", name, TWINS)
    return TWINS[name]
