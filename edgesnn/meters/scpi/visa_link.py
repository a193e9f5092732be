"""A wire through VISA: serial, USB or TCP instruments, with PyVISA and a backend of it.

PyVISA hands out whole messages, which is what SCPI sends; the rest is `edgesnn.meters.link.Link`.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from edgesnn.errors import MeterBusyError, MeterError, UsageError, missing_extra
from edgesnn.meters.link import MeterLink, unplugged

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource


def resource_name(device: str) -> str:
    """The VISA name of what a user typed.

    Args:
        device: A VISA name, a serial port, ``HOST`` or ``HOST:PORT`` (5025 without one).

    Returns:
        For example ``ASRL/dev/ttyUSB0::INSTR`` or ``TCPIP::192.0.2.1::5025::SOCKET``.

    Raises:
        UsageError: The port of a host is no number.
    """
    if "::" in device:
        return device
    if device.startswith("/") or device.upper().startswith("COM"):
        return f"ASRL{device}::INSTR"
    host, _, port = device.partition(":")
    if port and not port.isdigit():
        raise UsageError(
            "the port of the instrument's address is no number", actual=device, limit="HOST:PORT"
        )
    return f"TCPIP::{host}::{port or 5025}::SOCKET"


class VisaLink(MeterLink):
    """An open VISA resource.

    Args:
        resource: Its VISA name.
        backend: What PyVISA drives it with: ``@py``, ``@ivi``, or a file and ``@sim``.
        baud: Baud rate of a serial instrument.

    Raises:
        MissingExtraError: PyVISA is not installed.
        MeterError: It cannot be opened.
        MeterBusyError: Another program owns it.
    """

    def __init__(self, resource: str, backend: str = "@py", baud: int = 9600) -> None:
        try:
            import pyvisa
        except ImportError as error:
            raise missing_extra("pyvisa", "scpi", "SCPI instruments") from error

        self._resource = resource
        self._backend = backend
        self._manager: Any = None
        self._session: MessageBasedResource | None = None
        self._asked = False
        try:
            self._manager = pyvisa.ResourceManager(backend)
            session: Any = self._manager.open_resource(resource, open_timeout=5000)
            session.read_termination = session.write_termination = "\n"
            if resource.upper().startswith("ASRL"):
                session.baud_rate = baud
            with contextlib.suppress(pyvisa.errors.Error, NotImplementedError):
                session.clear()  # an answer that someone did not fetch
            self._session = session
        except (pyvisa.errors.Error, OSError, ValueError) as error:
            self.close()
            raise _cannot_open(resource, error) from error

    @property
    def port(self) -> str:
        return self._resource

    @property
    def simulated(self) -> bool:
        """Whether a simulating backend or a pseudo-terminal is at the other end."""
        device = self._resource.removeprefix("ASRL").partition("::")[0]
        if self._backend.endswith("@sim"):
            return True
        if not device.startswith("/"):
            return False
        import os

        return os.path.realpath(device).startswith(("/dev/pts/", "/dev/ttys"))

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def write(self, data: bytes) -> None:
        import pyvisa

        self._asked = self._asked or b"?" in data
        try:
            self._open().write_raw(data)
        except ConnectionRefusedError as error:  # pyvisa-py connects late
            raise _cannot_open(self._resource, error) from error
        except (pyvisa.errors.Error, OSError) as error:
            raise unplugged(self._resource, error) from error

    def read(self, timeout_s: float) -> bytes:
        """The next message; empty when none came in time.

        Without a query on its way it only waits: a read that nobody asked for is an error to many
        instruments.
        """
        import pyvisa

        session = self._open()
        if not self._asked:
            time.sleep(timeout_s)
            return b""
        try:
            session.timeout = max(1, round(timeout_s * 1000))
            data = bytes(session.read_raw())
            self._asked = False
            return data
        except pyvisa.errors.VisaIOError as error:
            if error.error_code == pyvisa.constants.StatusCode.error_timeout:
                return b""
            raise unplugged(self._resource, error) from error
        except (pyvisa.errors.Error, OSError) as error:
            raise unplugged(self._resource, error) from error

    def close(self) -> None:
        for one in (self._session, self._manager):
            if one is not None:
                with contextlib.suppress(Exception):  # whatever a backend raises on a dead wire
                    one.close()
        self._session = self._manager = None

    def _open(self) -> MessageBasedResource:
        if self._session is None:
            raise unplugged(self._resource, OSError("it is closed"))
        return self._session


def _cannot_open(resource: str, error: Exception) -> MeterError:
    """What a failed open means."""
    text = str(error)
    if any(word in text.lower() for word in ("busy", "lock", "exclusively")):
        return MeterBusyError(f"another program owns '{resource}'", actual=text, remedy="close it")
    return MeterError(
        f"'{resource}' cannot be opened through VISA",
        actual=text,
        remedy="name it as VISA does (TCPIP::HOST::5025::SOCKET), as HOST:PORT, or by its serial port",
    )
