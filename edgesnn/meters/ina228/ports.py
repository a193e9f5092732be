"""Which serial ports hold an INA228 bridge: by USB identity, nothing is opened."""

from __future__ import annotations

import os
from pathlib import Path

from edgesnn import system
from edgesnn.errors import MeterError
from edgesnn.meters.base import Found

#: Raspberry Pi's USB vendor number (RP2040, RP2350), and what the product's name holds.
VENDOR, PRODUCT = 0x2E8A, "picowatt"


def attached() -> tuple[Found, ...]:
    """The bridges on this machine's USB ports."""
    from serial.tools import list_ports

    found = []
    for port in list_ports.comports():
        if port.vid != VENDOR or PRODUCT not in (port.product or "").lower():
            continue
        place = port.serial_number or port.device
        trouble = system.port_trouble(port.device)
        found.append(Found("ina228", f"ina228:{place}", port.device, port.description, trouble))
    return tuple(found)


def choose_port(device: str | None) -> str:
    """The port of the bridge that an address means.

    Args:
        device: A port, a serial number, or None for the only one attached.

    Raises:
        MeterError: There is none, or more than one.
    """
    if device is not None and (os.sep in device or device.upper().startswith("COM") or Path(device).exists()):
        return device
    bridges = attached()
    if device is not None:
        bridges = tuple(one for one in bridges if one.address.partition(":")[2].lower() == device.lower())
    if len(bridges) == 1:
        return bridges[0].port
    if not bridges:
        which = (
            "no INA228 bridge is attached" if device is None else f"no INA228 bridge '{device}' is attached"
        )
        raise MeterError(which, remedy="plug it in, or name its port: ina228:/dev/ttyACM0")
    raise MeterError(
        "more than one INA228 bridge is attached",
        actual=", ".join(one.address for one in bridges),
        remedy="name the one to use",
    )
