"""The way to a board: bytes in both directions, with deadlines."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from edgesnn.closing import Closing
from edgesnn.errors import RunnerError

if TYPE_CHECKING:
    import serial

_CHUNK = 1 << 14


class ByteLine(Closing, Protocol):
    """A line to one board.

    Attributes:
        who: The board in messages, for example ``the board at /dev/ttyACM0``.
    """

    who: str

    @abstractmethod
    def read(self, seconds: float) -> bytes:
        """What came, waiting at most so long for the first byte; empty when nothing did.

        Raises:
            RunnerError: The line is gone.
        """
        ...

    @abstractmethod
    def write(self, data: bytes, seconds: float) -> None:
        """Send bytes.

        Raises:
            RunnerError: The line is gone, or did not take them in time.
        """
        ...


class SocketLine(ByteLine):
    """A line over a connected socket, as an emulator has it.

    Args:
        end: Our end.
        who: The board in messages.
    """

    def __init__(self, end: socket.socket, who: str) -> None:
        self.who, self._socket = who, end
        end.setblocking(False)

    def read(self, seconds: float) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, seconds))
            data = self._socket.recv(_CHUNK) if ready else None
        except (OSError, ValueError) as error:
            raise self.gone(str(error)) from None
        if data == b"":
            raise self.gone("the other end closed")
        return data or b""

    def write(self, data: bytes, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while data:
            try:
                _, ready, _ = select.select([], [self._socket], [], max(0.0, deadline - time.monotonic()))
                data = data[self._socket.send(data) :] if ready else data
            except (OSError, ValueError) as error:
                raise self.gone(str(error)) from None
            if data and time.monotonic() > deadline:
                raise RunnerError(f"{self.who} takes no bytes", limit=f"{seconds:g} s")

    def gone(self, why: str) -> RunnerError:
        """The error when the other end is no longer there."""
        return unplugged(self.who, why)

    def close(self) -> None:
        self._socket.close()


class SerialLine(ByteLine):
    """A serial port, or a pseudo-terminal.

    Args:
        port: Its device file or name.
        baud: Bits per second.

    Raises:
        RunnerError: It is not there, not permitted, or in use.
    """

    def __init__(self, port: str, baud: int) -> None:
        import serial

        self.who = f"the board at {port}"
        try:
            self._port: serial.Serial = serial.Serial(port, baud, timeout=0, write_timeout=5, exclusive=True)
        except (serial.SerialException, ValueError, OSError) as error:
            raise _cannot_open(port, error) from None
        self._failures = (serial.SerialException, OSError, TypeError, ValueError)
        self._late = serial.SerialTimeoutException

    def read(self, seconds: float) -> bytes:
        try:
            self._port.timeout = max(0.0, seconds)
            first = self._port.read(1)
            if not first:
                return b""
            return bytes(first + self._port.read(min(self._port.in_waiting, _CHUNK)))
        except self._failures as error:
            raise unplugged(self.who, str(error)) from None

    def write(self, data: bytes, seconds: float) -> None:
        try:
            self._port.write_timeout = max(0.01, seconds)
            self._port.write(data)
        except self._late:
            raise RunnerError(f"{self.who} takes no bytes", limit=f"{seconds:g} s") from None
        except self._failures as error:
            raise unplugged(self.who, str(error)) from None

    def close(self) -> None:
        with contextlib.suppress(*self._failures):
            self._port.close()


def unplugged(who: str, why: str) -> RunnerError:
    """The error of a line that is gone."""
    return RunnerError(
        f"{who} is gone", actual=why, remedy="look at its cable and its power, then run it again"
    )


def _cannot_open(port: str, error: Exception) -> RunnerError:
    said = str(error)
    number = getattr(error, "errno", None)
    if "exclusively lock" in said or "Resource temporarily unavailable" in said or number == 16:
        return RunnerError(
            f"port '{port}' is in use by another program", remedy="end the other program; one host a board"
        )
    if number == 13 or "Permission denied" in said:
        return RunnerError(
            f"port '{port}' may not be opened by this user",
            actual="permission denied",
            remedy="join the group that owns it, on Debian: adduser USER dialout",
        )
    if number == 2 or "No such file" in said or "could not open port" in said:
        return RunnerError(
            f"there is no port '{port}'", actual=said[:120], remedy="see: edgesnn list devices"
        )
    return RunnerError(f"port '{port}' cannot be opened", actual=said[:120])
