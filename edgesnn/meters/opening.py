"""From the text of an address to a meter, and which instruments are attached."""

from __future__ import annotations

from dataclasses import dataclass

from edgesnn import plugins
from edgesnn.errors import EdgesnnError, MeterError, MissingExtraError
from edgesnn.meters.address import COMMON, MeterAddress
from edgesnn.meters.base import Found, Meter, Settings
from edgesnn.meters.calibration.calibrated import CalibratedMeter
from edgesnn.names import unknown

#: Files have the calibration of their recording in them.
_FILES = ("replay", "csv")


@dataclass(frozen=True, slots=True)
class MeterDriver:
    """A driver as ``edgesnn list meters`` shows it.

    Attributes:
        name: Its name.
        summary: One line; None where it does not load.
        status: How far it was checked; None where it does not load.
        missing: Why it cannot be used here, or None.
        package: Where it comes from.
        error: Why it does not load, or None.
        built_in: Whether it is of a part of this machine.
    """

    name: str
    summary: str | None
    status: str | None
    missing: str | None
    package: str
    error: str | None
    built_in: bool = False


def open_meter(text: str) -> CalibratedMeter:
    """The meter of an address, not opened yet.

    Args:
        text: ``NAME[:DEVICE][?KEY=VALUE&...]``; ``calibration=no`` leaves its calibration aside.

    Returns:
        The meter; its samples are corrected where it has a calibration.

    Raises:
        UsageError: The address is wrong.
        MissingExtraError: A package is missing.
        MeterError: The driver cannot be used here.
    """
    address, calibrated = _split(MeterAddress.parse(text))
    driver = plugins.load_meter(address.name)
    reason = driver.missing()
    if reason is not None:
        what, _, remedy = reason.partition(": ")
        if remedy.startswith("pip install"):
            raise MissingExtraError(f"the meter '{address.name}' cannot be used: {what}", remedy=remedy)
        raise MeterError(f"the meter '{address.name}' cannot be used here", actual=reason)
    meter: Meter = driver(address)
    return CalibratedMeter(meter, calibrated and address.name not in _FILES)


def settings_of(text: str) -> Settings:
    """What an address says of the measurement: voltage, rate and so on."""
    address, _ = _split(MeterAddress.parse(text))
    common = {key: value for key, value in address.options.items() if key in COMMON}
    return MeterAddress(address.name, address.device, common).settings()


def attached() -> tuple[Found, ...]:
    """Every instrument that some driver finds; nothing is opened."""
    found: list[Found] = []
    for plugin in plugins.available(plugins.METERS):
        if plugin.error is None and (driver := plugins.load_meter(plugin.name)).missing() is None:
            found += driver.discover()
    return tuple(found)


def drivers() -> tuple[MeterDriver, ...]:
    """Every driver, also those that cannot be used here."""
    listed = []
    for plugin in plugins.available(plugins.METERS):
        if plugin.error is not None:
            listed.append(MeterDriver(plugin.name, None, None, None, plugin.distribution, plugin.error))
            continue
        driver = plugins.load_meter(plugin.name)
        try:
            missing = driver.missing()
        except EdgesnnError as error:
            missing = error.sentence()
        listed.append(
            MeterDriver(
                plugin.name,
                driver.summary,
                driver.driver_status.value,
                missing,
                plugin.distribution,
                None,
                is_built_in(driver),
            )
        )
    return tuple(listed)


def is_built_in(driver: type[Meter]) -> bool:
    """Whether a driver is of a part of this machine; one that derives from nothing need not say so."""
    return bool(getattr(driver, "built_in", False))


def _split(address: MeterAddress) -> tuple[MeterAddress, bool]:
    """The address without the option that is not the driver's."""
    options = dict(address.options)
    wish = options.pop("calibration", "yes")
    if wish not in ("yes", "no"):
        raise unknown("value of the option 'calibration'", wish, ["yes", "no"])
    return MeterAddress(address.name, address.device, options), wish == "yes"
