"""What a target says after its colon: the device, then options: ``adb:SERIAL?cpus=big&throttled=refuse``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from edgesnn.errors import UsageError
from edgesnn.names import unknown

#: Options of every device, and the values that are words. A path of this computer is no option: the target
#: stands in the run record, which holds none.
OPTIONS = ("cpus", "kernels", "folder", "throttled")
CLUSTERS = ("all", "big", "middle", "little")
THROTTLED = ("mark", "refuse")
#: Processors of an affinity mask (``CPU_SETSIZE``).
CPUS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Address:
    """The device and how it is used.

    Attributes:
        device: Serial number or host; None where none was named.
        cpus: ``all``, ``big``, ``middle``, ``little``, or processor numbers such as ``4-6,7``.
        kernels: Name of a kernel set, or None for the best of the processor.
        folder: Folder on the device in which sessions make theirs, or None for the usual one.
        throttled: ``mark`` or ``refuse`` a run on a device that holds its clock down.
        extra: Options that only one kind of link knows.
    """

    device: str | None
    cpus: str = "all"
    kernels: str | None = None
    folder: str | None = None
    throttled: str = "mark"
    extra: tuple[tuple[str, str], ...] = ()

    def option(self, name: str) -> str | None:
        """One of `extra`, or None."""
        return dict(self.extra).get(name)


def parse_address(text: str | None, extra: tuple[str, ...] = ()) -> Address:
    """Read an address.

    Args:
        text: What followed the colon of the target, or None.
        extra: Options that this kind of link knows besides.

    Raises:
        UsageError: An option is unknown, given twice, or has a value that it cannot have.
    """
    device, _, rest = (text or "").partition("?")
    known = (*OPTIONS, *extra)
    found: dict[str, str] = {}
    for name, value in parse_qsl(rest, keep_blank_values=True):
        if name not in known:
            raise unknown("option of a device", name, known)
        if name in found or not value:
            raise UsageError(f"option '{name}' of the device needs one value", actual=value or "nothing")
        found[name] = value
    if found.get("throttled", "mark") not in THROTTLED:
        raise UsageError(
            "unknown value of 'throttled'", actual=found["throttled"], limit=", ".join(THROTTLED)
        )
    cpus = found.get("cpus", "all")
    if cpus not in CLUSTERS:
        parse_cpus(cpus)
    folder = found.get("folder")
    if folder is not None and not (folder.startswith("/") and folder.isprintable()):
        raise UsageError("'folder' must be a whole path on the device", actual=folder)
    return Address(
        device=device or None,
        cpus=cpus,
        kernels=found.get("kernels"),
        folder=None if folder is None else folder.rstrip("/"),
        throttled=found.get("throttled", "mark"),
        extra=tuple((name, found[name]) for name in extra if name in found),
    )


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processor numbers of a list like the kernel's, ``0-3,7``.

    Raises:
        UsageError: It is no such list.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(
                "'cpus' is neither a cluster nor a list of processors",
                actual=text,
                limit=f"{', '.join(CLUSTERS)}, or a list such as 0-3,7",
            )
        if int(last if dash else first) >= CPUS_MAX or int(last if dash else first) < int(first):
            raise UsageError("'cpus' names no processor", actual=text, limit=f"0..{CPUS_MAX - 1}")
        numbers.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(numbers))
