"""Runner ``serial``: a microcontroller at a serial port of this computer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgesnn.bundle.bundle import Bundle
from edgesnn.runners.base import Capability, DeviceInfo, RunnerOptions
from edgesnn.runners.board.address import OPTIONS, BoardAddress, parse_board
from edgesnn.runners.board.lines import ByteLine, SerialLine
from edgesnn.runners.board.runner import BoardRunner


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A port at which a board may be.

    Attributes:
        port: Its device file or name.
        description: What the system calls what is behind it.
    """

    port: str
    description: str


class SerialRunner(BoardRunner):
    """Executes ``program.snn`` on a board that runs the firmware of ``firmware_bridge/dut``.

    The target's address names the port: ``serial:/dev/ttyACM0?baud=921600``. The model is sent when the board
    does not hold it, and goes on where an earlier session was cut. With ``?marker=none`` the marker pin is
    not wired to the meter: windows are found by the clocks, or by a coded load.
    """

    name: ClassVar[str] = "serial"
    summary: ClassVar[str] = (
        "the C engine on a board at a serial port, exact, timed by the board: serial:PORT?baud=N"
    )
    capabilities: ClassVar[frozenset[Capability]] = BoardRunner.capabilities | {
        Capability.MARKER,
        Capability.PATTERN,
    }

    def read_address(self, text: str | None) -> BoardAddress:
        return parse_board(
            text, form="serial:PORT, for example serial:/dev/ttyACM0", options=(*OPTIONS, "baud", "marker")
        )

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        wired = self.read_address(options.address).marker
        less = frozenset() if wired else frozenset({Capability.MARKER})
        self.capabilities = type(self).capabilities - less  # type: ignore[misc] # of this object, not of its class
        return super().open(bundle, options)

    def connect(self, address: BoardAddress, program: bytes) -> ByteLine:
        return SerialLine(address.device, address.baud)


def serial_ports() -> list[SerialPort]:
    """Ports of this computer that belong to a USB device; the others belong to no board."""
    from serial.tools import list_ports

    return [
        SerialPort(port.device, port.description or "a USB device")
        for port in sorted(list_ports.comports(), key=lambda port: port.device)
        if port.vid is not None
    ]
