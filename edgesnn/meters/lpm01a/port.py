"""Finds an LPM01A and talks to its command line."""

from __future__ import annotations

import re

from edgesnn.errors import MeterError
from edgesnn.meters.base import Found
from edgesnn.meters.link import MeterLink, read_until
from edgesnn.meters.lpm01a import protocol

ANSWER_S = 2.0


def attached(name: str) -> tuple[Found, ...]:
    """Ports with ST's identity for virtual serial ports; other ST devices share it.

    Args:
        name: Name of the driver.
    """
    from serial.tools import list_ports

    ports = [one for one in list_ports.comports() if (one.vid, one.pid) == protocol.USB_ID]
    return tuple(
        Found(name, f"{name}:{one.serial_number or one.device}", one.device, one.description) for one in ports
    )


def choose(found: tuple[Found, ...], device: str | None) -> str:
    """The port that a user means.

    Args:
        found: What is attached.
        device: Serial number or port, or None for the only one.

    Raises:
        MeterError: There is none, or more than one.
    """
    ports = [one.port for one in found if device in (None, one.port, one.address.partition(":")[2])]
    if len(ports) == 1:
        return ports[0]
    if device is not None and ("/" in device or device.upper().startswith("COM")):
        return device
    raise MeterError(
        "there is no such LPM01A" if device or not ports else "there is more than one LPM01A",
        actual=", ".join(one.address for one in found) or "none attached",
        limit=device or "one with the USB identity 0483:5740",
        remedy="name its port: lpm01a:PORT",
    )


def old_firmware(version: tuple[int, int, int]) -> str | None:
    """What a firmware lacks, with the remedy; None when it lacks nothing."""
    if version >= protocol.EVENT_FIRMWARE:
        return None
    told = ".".join(map(str, version))
    return (
        f"firmware {told} knows neither events on D7 nor 'pwr off'; "
        "update it to 1.0.6 or newer (ST's STM32-LPM01-XN package)"
    )


def tell(link: MeterLink, query: str, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
    """What the instrument tells about itself, on the line of the answer or on one of the next.

    Args:
        link: The wire.
        query: The command that asks for it.
        pattern: What it looks like.

    Returns:
        The match, or None when nothing like it came.
    """
    data = ask(link, query)
    deadline = link.now_ns() + int(0.5e9)
    while (found := pattern.search(data)) is None and link.now_ns() < deadline:
        data += link.read((deadline - link.now_ns()) / 1e9)
    return found


def ask(link: MeterLink, command: str, hint: str | None = None) -> bytes:
    """Send a command and wait for its whole answer.

    Args:
        link: The wire.
        command: Without the end of the line.
        hint: What may explain a refusal.

    Returns:
        All that was read: the answer, and what came before and after it.

    Raises:
        MeterTimeoutError: No answer came.
        MeterError: The instrument refuses the command.
    """
    link.write(command.encode() + b"\r\n")
    # NULs stand around answers and may stand in them
    spaced = rb"\0*".join(re.escape(bytes((one,))) for one in command.encode())
    pattern = re.compile(rb"(ack|err|error)[ \0]+" + spaced + rb"[^\r\n]*\r\n")
    data = read_until(
        link, lambda data: pattern.search(data) is not None, ANSWER_S, f"the answer to '{command}'"
    )
    found = pattern.search(data)
    if found is not None and found[1] != b"ack":
        if b"detail:" not in data:
            data += link.read(0.3)
        detail = data.partition(b"detail:")[2].strip(b"\r\n\0 ").decode("ascii", "replace")
        raise MeterError(
            f"the LPM01A refuses '{command}'",
            actual=f"error {command}" + (f" ({detail})" if detail else ""),
            remedy=hint or "read what its display says",
        )
    return data
