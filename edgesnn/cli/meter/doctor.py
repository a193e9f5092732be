"""What ``edgesnn doctor`` says of power meters: drivers, permissions, firmware."""

from __future__ import annotations

from dataclasses import dataclass

from edgesnn import plugins, system
from edgesnn.errors import EdgesnnError, MeterBusyError

#: Groups that own serial ports: Debian and its kin, Arch and its kin.
_RULES = "docs/meters.md has the udev rule, or: sudo usermod -aG dialout $USER, and log in again"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        area: What it belongs to: ``python``, ``package``, ``data``, ``runner``, ``exporter``, ``meter``,
            ``extra``.
        name: Its name.
        ok: Whether nothing is missing that somebody could want to have.
        found: What is there, for example a version, or what is wrong.
        remedy: What to do about it; None where all is well.
        present: Whether it is there at all: a machine without a battery is as it should be.
    """

    area: str
    name: str
    ok: bool
    found: str
    remedy: str | None = None
    present: bool = True


def meter_checks(ask: bool) -> list[Check]:
    """One line for each driver, one for the right to open ports, one for each instrument that is attached.

    Args:
        ask: Whether to open instruments too that could cut their device's supply by that.
    """
    checks = [_driver(plugin) for plugin in plugins.available(plugins.METERS)]
    checks += [_ports()] if system.is_linux() else []
    for plugin in plugins.available(plugins.METERS):
        if plugin.error is None:
            checks += _attached(plugin.name, ask)
    return checks


def _driver(plugin: plugins.Plugin) -> Check:
    if plugin.error is not None:
        what, _, remedy = plugin.error.partition("; remedy: ")
        return Check("meter", plugin.name, False, what, remedy or f"reinstall '{plugin.distribution}'")
    from edgesnn.meters.opening import is_built_in

    driver = plugins.load_meter(plugin.name)
    reason = driver.missing()
    if reason is not None:
        if is_built_in(driver):
            return Check("meter", plugin.name, True, reason, present=False)
        what, _, remedy = reason.partition(": ")
        return Check("meter", plugin.name, False, what, remedy or what)
    return Check("meter", plugin.name, True, f"ready, {driver.driver_status.value}")


def _ports() -> Check:
    """Whether this user may open serial ports; an udev rule can allow single ones all the same."""
    group = system.serial_group()
    if group == "root":
        return Check("meter", "ports", True, "root may open every port")
    if group is not None:
        return Check("meter", "ports", True, f"this user is in the group '{group}'")
    return Check(
        "meter", "ports", False, f"this user is not in the group '{system.SERIAL_GROUPS[0]}'", _RULES
    )


def _attached(name: str, ask: bool) -> list[Check]:
    """The instruments of one driver, with their firmware where they may be asked."""
    from edgesnn.meters.address import MeterAddress
    from edgesnn.meters.base import MeterCapability
    from edgesnn.meters.opening import is_built_in

    driver = plugins.load_meter(name)
    if driver.missing() is not None:
        return []
    checks = []
    for found in driver.discover():
        if found.trouble is not None:
            checks.append(_troubled(found.address, found.trouble, is_built_in(driver)))
            continue
        try:
            meter = driver(MeterAddress.parse(found.address))
            if not ask and MeterCapability.MAY_INTERRUPT_DUT in meter.capabilities:
                note = f"{found.description} on {found.port}; its firmware: edgesnn doctor --ask-meters"
                checks.append(Check("meter", found.address, True, note))
                continue
            with meter:
                info = meter.open()
        except MeterBusyError as error:
            checks.append(Check("meter", found.address, True, f"in use: {error.what}"))
        except EdgesnnError as error:
            checks.append(
                Check("meter", found.address, False, error.what, error.remedy or "see docs/meters.md")
            )
        else:
            firmware = f"firmware {info.firmware}" if info.firmware else "tells no firmware"
            checks.append(Check("meter", found.address, True, f"{info.model}, {firmware}"))
    return checks


def _troubled(address: str, trouble: str, built_in: bool) -> Check:
    """What was found and cannot be opened: a port has its rule, a counter of this machine its own remedy."""
    if not built_in:
        return Check("meter", address, False, trouble, _RULES)
    what, _, remedy = trouble.partition("; remedy: ")
    return Check("meter", address, not remedy, what, remedy or None, present=bool(remedy))
