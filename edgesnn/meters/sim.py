"""The meter ``sim:NAME``: a twin of that instrument in this process, and the real driver on it."""

from __future__ import annotations

import time
from typing import ClassVar

from edgesnn import plugins, system
from edgesnn.closing import Closing
from edgesnn.errors import UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import (
    DriverStatus,
    Found,
    Meter,
    MeterCapability,
    MeterInfo,
)
from edgesnn.meters.delegate import DelegatingMeter
from edgesnn.meters.twins.catalogue import TWINS, TwinEntry, twin_entry
from edgesnn.meters.twins.device import Conditions, Truth
from edgesnn.meters.twins.faults import Fault, FaultSchedule
from edgesnn.meters.twins.live import LiveLoad
from edgesnn.meters.twins.load import LoadSource
from edgesnn.meters.twins.pty import PtyTwin
from edgesnn.meters.twins.shapes import DEFAULT, number, parse_load

#: Options of the address that describe the twin; the others are the driver's.
OWN = ("load", "fault", "gain", "offset", "noise", "ppm", "supply", "seed")


class RunningTwin(Closing):
    """A twin on a pseudo-terminal with its load; make it in a ``with`` statement.

    Args:
        entry: Which instrument.
        options: Some of `OWN`, as text.

    Attributes:
        load: What it draws.

    Raises:
        UsageError: An option is wrong.
        MeterError: This system has no pseudo-terminals, or the port of a live load is taken.
    """

    def __init__(self, entry: TwinEntry, options: dict[str, str]) -> None:
        faults = [Fault.parse(one) for one in options.get("fault", "").split(",") if one]
        numbers = {key: number(options.get(key, "0")) for key in ("gain", "offset", "noise", "ppm", "seed")}
        supply = number(options.get("supply", "3.7"))
        self.load: LoadSource = parse_load(options.get("load", DEFAULT))
        try:
            conditions = Conditions(
                load=self.load,
                voltage_v=supply,
                gain=numbers["gain"],
                offset_a=numbers["offset"],
                noise_a=numbers["noise"],
                clock_ppm=numbers["ppm"],
                seed=int(numbers["seed"]),
            )
            self._twin = PtyTwin(entry.make(conditions), FaultSchedule(faults, conditions.seed))
        except BaseException:
            self._close_load()
            raise
        if isinstance(self.load, LiveLoad):
            self.load.began(time.monotonic() - self._twin.now_s())

    @property
    def port(self) -> str:
        """The port to open."""
        return self._twin.port

    @property
    def lost_pieces(self) -> int:
        """Samples or frames that were thrown away because the host came late."""
        return self._twin.lost_pieces

    def now_s(self) -> float:
        """True time since the twin was made."""
        return self._twin.now_s()

    def truth(self) -> Truth:
        """What was really drawn since the stream was last started."""
        return self._twin.truth()

    def close(self) -> None:
        try:
            self._twin.close()
        finally:
            self._close_load()

    def _close_load(self) -> None:
        if isinstance(self.load, LiveLoad):
            self.load.close()


class SimulatedMeter(DelegatingMeter, Meter):
    """A driver on a twin of its instrument.

    Options of the address: ``load`` (see `parse_load`), ``fault`` (several with commas), ``gain``, ``offset``
    (amperes), ``noise`` (amperes), ``ppm``, ``supply`` (volts), ``seed``; every other option is the driver's.

    Args:
        address: ``sim:ppk2``.
    """

    name: ClassVar[str] = "sim"
    summary: ClassVar[str] = f"a simulated instrument in this process: {', '.join(TWINS)}"
    driver_status: ClassVar[DriverStatus] = DriverStatus.TWIN_ONLY

    def __init__(self, address: MeterAddress) -> None:
        if address.device is None:
            raise UsageError(
                "a simulated meter needs a name", remedy=f"sim:NAME, NAME is one of {', '.join(TWINS)}"
            )
        self._entry = twin_entry(address.device)
        self._twin_options = {key: value for key, value in address.options.items() if key in OWN}
        self._driver_options = {key: value for key, value in address.options.items() if key not in OWN}
        self._driver = plugins.load_meter(address.device)
        self._driver(MeterAddress(self._entry.driver, None, self._driver_options))  # refuses unknown options
        self._twin: RunningTwin | None = None
        self._meter: Meter | None = None

    @classmethod
    def missing(cls) -> str | None:
        return None if system.has_pseudo_terminals() else "this system has no pseudo-terminals"

    @classmethod
    def discover(cls) -> tuple[Found, ...]:
        """Nothing: twins are made when they are named."""
        return ()

    @property
    def meter(self) -> Meter:
        if self._meter is None:
            raise UsageError("the simulated meter is not open")
        return self._meter

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """The driver's, and SIMULATED."""
        return self.meter.capabilities | {MeterCapability.SIMULATED}

    def open(self) -> MeterInfo:
        """Make the twin at the first call, and open the driver on it."""
        if self._meter is not None:
            self._meter.close()
        if self._twin is None:
            self._twin = RunningTwin(self._entry, self._twin_options)
        self._meter = self._driver(MeterAddress(self._entry.driver, self._twin.port, self._driver_options))
        info = self._meter.open()
        assert info.simulated
        return info

    def truth(self) -> Truth:
        """What was really drawn while it streamed."""
        if self._twin is None:
            raise UsageError("the simulated meter is not open")
        return self._twin.truth()

    def close(self) -> None:
        try:
            if self._meter is not None:
                self._meter.close()
        finally:
            if self._twin is not None:
                self._twin.close()
                self._twin = None
