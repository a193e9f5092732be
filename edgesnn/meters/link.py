"""The wire to an instrument: bytes with a deadline, and the clock by which deadlines are kept.

A driver takes its time from its link and from nowhere else, so the same driver runs over a serial port in
real time and over a twin in simulated time, as tests run it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from edgesnn import system
from edgesnn.closing import Closing
from edgesnn.errors import MeterBusyError, MeterError, MeterTimeoutError, MeterUnpluggedError

if TYPE_CHECKING:
    import serial

#: One read of a port takes at most this much; at 400 kB/s it is half a second.
READ_BYTES = 1 << 18
#: A terminal hands out at most 4 KiB at once: this much waiting means that the reader is behind.
BACKLOG_BYTES = 4000
#: The clocks of a system that did not sleep agree much better than this.
SLEPT_S = 0.1
#: Longest single wait inside a read, so that an interrupt by the user is seen soon.
SLICE_S = 0.05


class MeterLink(Closing, Protocol):
    """A wire.

    Attributes:
        port: What it is called.
        simulated: Whether an instrument cannot be on its other end.
    """

    @property
    def port(self) -> str:
        """What the wire is called."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether no instrument can be at its other end."""
        ...

    def now_ns(self) -> int:
        """The host's monotonic clock, nanoseconds."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            MeterTimeoutError: The other end does not take it.
            MeterUnpluggedError: The other end is gone.
        """
        ...

    def read(self, timeout_s: float) -> bytes:
        """What has come, waiting for at least one byte; empty when none came in time.

        Raises:
            MeterUnpluggedError: The other end is gone.
        """
        ...


class SerialLink(MeterLink):
    """A serial port, owned by this process alone while it is open.

    Args:
        port: Name of the port, for example ``/dev/ttyACM0`` or ``COM3``.
        baud: Baud rate; USB-CDC devices ignore it.
        gather_s: Wait this long after the first byte of a read for more to come. Without it a fast stream
            is read packet by packet, which costs more than all the rest.

    Raises:
        MeterError: There is no such port, or this user may not open it.
        MeterBusyError: Another process owns it.
    """

    def __init__(self, port: str, baud: int = 115200, *, gather_s: float = 0.0) -> None:
        import serial

        self._port = port
        self._gather_s = gather_s
        self._slept_ns = slept_ns()
        self._serial: serial.Serial | None = None
        try:
            self._serial = serial.Serial(
                port, baud, timeout=0, write_timeout=2.0, exclusive=None if system.is_windows() else True
            )
        except serial.SerialException as error:
            raise _cannot_open(port, error) from error
        except (OSError, ValueError) as error:
            raise MeterError(f"'{port}' cannot be opened as a serial port", actual=str(error)) from error

    @property
    def port(self) -> str:
        return self._port

    @property
    def simulated(self) -> bool:
        """Whether the port is a pseudo-terminal: a program is at its other end, not an instrument."""
        return os.path.realpath(self._port).startswith(("/dev/pts/", "/dev/ttys"))

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def write(self, data: bytes) -> None:
        import serial

        port = self._open()
        try:
            port.write(data)
        except serial.SerialTimeoutException as error:
            raise MeterTimeoutError(
                f"the instrument on {self._port} takes no data",
                limit="2 s",
                remedy="unplug it and plug it in again",
            ) from error
        except (serial.SerialException, OSError) as error:
            raise unplugged(self._port, error) from error

    def read(self, timeout_s: float) -> bytes:
        """What has come.

        Raises:
            MeterUnpluggedError: The port is gone, or the system slept since it was opened: the host's clock
                stood still meanwhile, so that nothing else would show the hole in the stream.
        """
        data = self._read(timeout_s)
        slept_s = (slept_ns() - self._slept_ns) / 1e9
        if slept_s > SLEPT_S:
            raise MeterUnpluggedError(
                f"the system slept while {self._port} was open; what comes now does not continue what came",
                actual=f"{slept_s:.1f} s",
                remedy="measure again, or let the recording begin a new segment (--reconnect)",
            )
        return data

    def _read(self, timeout_s: float) -> bytes:
        import serial

        port = self._open()
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                waiting = min(port.in_waiting, READ_BYTES)
                left = deadline - time.monotonic()
                if waiting and self._gather_s:
                    return self._gathered(port, waiting, left)
                if waiting or left <= 0:
                    return bytes(port.read(waiting)) if waiting else b""
                wait = min(left, SLICE_S)
                if port.timeout != wait:  # setting it costs system calls; nothing else here ever waits
                    port.timeout = wait
                first = bytes(port.read(1))
                if first and self._gather_s:
                    return first + self._gathered(port, 0, deadline - time.monotonic())
                if first:
                    return first + bytes(port.read(min(port.in_waiting, READ_BYTES)))
        except (serial.SerialException, OSError, TypeError) as error:
            # pyserial raises TypeError when another thread closes the port under a read
            raise unplugged(self._port, error) from error

    def _gathered(self, port: serial.Serial, waiting: int, left_s: float) -> bytes:
        """What has come and what comes within a moment, so that few reads carry a fast stream."""
        if waiting < BACKLOG_BYTES:  # behind a backlog there is no need to wait
            time.sleep(max(min(self._gather_s, left_s), 0.0))
        data = b""
        while (waiting := min(port.in_waiting, READ_BYTES - len(data))) > 0:
            data += bytes(port.read(waiting))
        return data

    def close(self) -> None:
        if self._serial is not None:
            with contextlib.suppress(OSError):  # an unplugged device: there is nothing left to close
                self._serial.close()
            self._serial = None

    def _open(self) -> serial.Serial:
        if self._serial is None:
            raise MeterUnpluggedError(f"the port {self._port} is closed")
        return self._serial


def slept_ns() -> int:
    """How long this system has slept since it was started; 0 where it does not tell (only Linux does)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime_ns(boot) - time.monotonic_ns() if boot is not None else 0


def read_until(link: MeterLink, done: Callable[[bytes], bool], timeout_s: float, purpose: str) -> bytes:
    """Read until enough has come.

    Args:
        link: The wire.
        done: Whether all bytes so far are enough.
        timeout_s: Deadline, seconds from now.
        purpose: What is waited for, as the object of a sentence.

    Returns:
        All bytes that were read; there may be more than ``done`` asked for.

    Raises:
        MeterTimeoutError: The deadline passed; the error shows the end of what had come.
        MeterUnpluggedError: The instrument is gone.
    """
    deadline = link.now_ns() + int(timeout_s * 1e9)
    data = b""
    while not done(data):
        left = (deadline - link.now_ns()) / 1e9
        if left <= 0:
            raise MeterTimeoutError(
                f"{link.port} did not send {purpose} in time",
                actual=f"{len(data)} bytes, ending in {data[-40:]!r}" if data else "nothing",
                limit=f"{timeout_s:g} s",
                remedy="check that this is the right port and that no other program talks to it",
            )
        data += link.read(left)
    return data


def drain(link: MeterLink, quiet_s: float = 0.05, limit_s: float = 2.0) -> int:
    """Throw away what is stale, until the line is quiet.

    Args:
        link: The wire.
        quiet_s: This long without a byte is quiet.
        limit_s: Give up after this long; a device that cannot be silenced is found out by what comes next.

    Returns:
        How many bytes were thrown away.
    """
    deadline = link.now_ns() + int(limit_s * 1e9)
    thrown = 0
    while link.now_ns() < deadline:
        data = link.read(quiet_s)
        if not data:
            break
        thrown += len(data)
    return thrown


def unplugged(port: str, error: Exception) -> MeterUnpluggedError:
    """The error for a port that went away."""
    return MeterUnpluggedError(
        f"the instrument on {port} is gone",
        actual=str(error),
        remedy="check the cable and the supply of the USB hub",
    )


def _cannot_open(port: str, error: Exception) -> MeterError:
    """What a failed open means."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or "FileNotFound" in text or "No such file" in text:
        return MeterError(f"there is no port '{port}'", remedy="see: edgesnn list meters")
    if number == errno.EACCES or "Permission" in text:
        return MeterError(
            f"this user may not open '{port}'",
            actual=text,
            remedy="add the user to the group 'dialout' (sudo usermod -aG dialout $USER) and log in again",
        )
    if number in (errno.EBUSY, errno.EWOULDBLOCK) or "lock" in text.lower() or "busy" in text.lower():
        return MeterBusyError(
            f"another program owns '{port}'", actual=text, remedy="close it; fuser -v names the process"
        )
    return MeterError(f"'{port}' cannot be opened as a serial port", actual=text)
