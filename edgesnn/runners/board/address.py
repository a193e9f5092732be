"""What a target says after its colon: the board, then options: ``serial:/dev/ttyACM0?baud=921600``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from edgesnn.errors import UsageError
from edgesnn.names import unknown

#: Options of every board.
OPTIONS = ("kernels",)
#: Names of the firmware's kernel sets.
KERNELS = ("dsp", "swar", "reference", "vector")
#: Whether the marker pin is wired to the meter; the first is the default.
MARKERS = ("wired", "none")
BAUD = 115_200
BAUD_MOST = 12_000_000


@dataclass(frozen=True, slots=True)
class BoardAddress:
    """The board and how it is used.

    Attributes:
        device: Name of a machine, or a port.
        kernels: Name of a kernel set, or None for the default.
        baud: Bits per second of a port.
        firmware: ELF file of an emulated board, or None for the one that is built here.
        marker: Whether the marker pin is wired to the meter.
    """

    device: str
    kernels: str | None = None
    baud: int = BAUD
    firmware: Path | None = None
    marker: bool = True


def parse_board(text: str | None, *, form: str, options: tuple[str, ...] = OPTIONS) -> BoardAddress:
    """Read an address.

    Args:
        text: What followed the colon of the target, or None.
        form: What a whole target looks like, for the error.
        options: Options that this kind of line knows.

    Raises:
        UsageError: No board is named, or an option is unknown or has a value that it cannot have.
    """
    device, _, rest = (text or "").partition("?")
    if not device:
        raise UsageError("the target names no board", limit=form, remedy="see: edgesnn list devices")
    found: dict[str, str] = {}
    for name, value in parse_qsl(rest.replace("+", "%2B"), keep_blank_values=True):
        if name not in options:
            raise unknown("option of a board", name, options)
        if name in found or not value:
            raise UsageError(f"option '{name}' of the board needs one value", actual=value or "nothing")
        found[name] = value
    kernels = found.get("kernels")
    if kernels is not None and kernels not in KERNELS:
        raise unknown("kernel set", kernels, KERNELS)
    baud = found.get("baud", str(BAUD))
    if not baud.isdecimal() or not 300 <= int(baud) <= BAUD_MOST:
        raise UsageError("'baud' is no rate", actual=baud, limit=f"300..{BAUD_MOST}")
    firmware = None if "firmware" not in found else Path(found["firmware"])
    if firmware is not None and not _is_elf(firmware):
        raise UsageError(
            f"'{firmware}' is no firmware",
            actual="not an ELF file" if firmware.exists() else "no such file",
            remedy="build one: edgesnn export ARTIFACT -o BUNDLE --format firmware",
        )
    marker = found.get("marker", MARKERS[0])
    if marker not in MARKERS:
        raise unknown("wiring of the marker", marker, MARKERS)
    return BoardAddress(device, kernels, int(baud), firmware, marker == MARKERS[0])


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
