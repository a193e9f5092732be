"""Which serial port of which PPK2: firmware 1.2.0 and newer has two, and only the first one measures."""

from __future__ import annotations

import re
from typing import Any

from edgesnn import system
from edgesnn.errors import MeterError
from edgesnn.meters.base import Found
from edgesnn.meters.ppk2.protocol import USB_PRODUCT, USB_VENDOR


def found(name: str) -> tuple[Found, ...]:
    """The PPK2s on USB, each by its measuring port.

    Args:
        name: Name of the driver.
    """
    return tuple(
        Found(
            name,
            f"{name}:{ports[0].serial_number or ports[0].device}",
            ports[0].device,
            f"{ports[0].product or 'PPK2'}, USB {USB_VENDOR:04X}:{USB_PRODUCT:04X}",
            system.port_trouble(ports[0].device),
        )
        for ports in _units().values()
    )


def ports_of(wanted: str | None) -> tuple[list[str], str | None]:
    """Ports on which the wanted instrument may measure.

    Args:
        wanted: A serial number or a port; None for the only one attached.

    Returns:
        Ports, the likeliest first: one where the system tells the USB interfaces, else all of the
        instrument, to be asked in turn. And its serial number, or None where it is not known.

    Raises:
        MeterError: There is no such instrument, or more than one.
    """
    if wanted is not None and ("/" in wanted or re.fullmatch(r"COM\d+", wanted, re.IGNORECASE)):
        return [wanted], next((one.serial_number for one in _attached() if one.device == wanted), None)
    units = _units()
    if wanted is not None and wanted not in units:
        raise MeterError(
            f"there is no PPK2 with the serial number '{wanted}'",
            actual=", ".join(units) or "no PPK2 is attached",
            remedy="see: edgesnn list meters",
        )
    if len(units) != 1 and wanted is None:
        raise MeterError(
            "more than one PPK2 is attached" if units else "no PPK2 is attached",
            actual=", ".join(units) or None,
            remedy="name one: ppk2:SERIAL" if units else "plug it in, or name its port: ppk2:PORT",
        )
    ports = units[wanted] if wanted is not None else next(iter(units.values()))
    known = [one for one in ports if _interface(one) is not None]
    return [one.device for one in (known[:1] or ports)], ports[0].serial_number


def _attached() -> list[Any]:
    """Every port of a PPK2."""
    from serial.tools import list_ports

    return [one for one in list_ports.comports() if (one.vid, one.pid) == (USB_VENDOR, USB_PRODUCT)]


def _units() -> dict[str, list[Any]]:
    """The PPK2s on USB: their ports, the measuring one first, by serial number."""
    units: dict[str, list[Any]] = {}
    for port in _attached():
        units.setdefault(port.serial_number or port.device, []).append(port)
    return {
        key: sorted(ports, key=lambda one: (_interface(one) is None, _interface(one) or 0, one.device))
        for key, ports in sorted(units.items())
    }


def _interface(port: Any) -> int | None:
    """Number of the USB interface of a port (``1-4:1.2`` is 2), where the system tells it."""
    told = re.search(r":[^.:]+\.(\d+)$", port.location or "")
    return int(told[1]) if told else None
