"""Runner ``qemu``: a microcontroller emulated on this computer, for its bits and its instructions."""

from __future__ import annotations

from typing import Any, ClassVar

from edgesnn.firmware import EMULATED, find_firmware, missing_compiler
from edgesnn.names import unknown
from edgesnn.runners.board.address import OPTIONS, BoardAddress, parse_board
from edgesnn.runners.board.emulator import (
    INSTRUCTION_NS,
    SHIFT,
    EmulatorLine,
    emulator_version,
    missing_emulator,
)
from edgesnn.runners.board.lines import ByteLine
from edgesnn.runners.board.runner import BoardRunner


class QemuRunner(BoardRunner):
    """Executes ``program.snn`` on an emulated Cortex-M: the same firmware and the same wire as a real board.

    The target's address names the machine: ``qemu:mps2-an500``, and may name a firmware of one's own:
    ``qemu:mps2-an500?firmware=PATH``, which brings its model or takes it over the line. Its clock counts
    instructions, 32 ns each, and tells no time of any hardware.
    """

    name: ClassVar[str] = "qemu"
    summary: ClassVar[str] = (
        "the C engine on a board that QEMU emulates, exact; counts instructions: qemu:mps2-an500"
    )
    simulated: ClassVar[bool] = True
    instruction_ns: ClassVar[float | None] = INSTRUCTION_NS

    @classmethod
    def missing(cls) -> str | None:
        return missing_emulator() or missing_compiler()

    def read_address(self, text: str | None) -> BoardAddress:
        form = "qemu:MACHINE, for example qemu:mps2-an500"
        address = parse_board(text, form=form, options=(*OPTIONS, "firmware"))
        if address.device not in EMULATED:
            raise unknown("emulated board", address.device, sorted(EMULATED))
        return address

    def connect(self, address: BoardAddress, program: bytes) -> ByteLine:
        board = EMULATED[address.device]
        if address.firmware is not None:
            return EmulatorLine(board, address.firmware)
        return EmulatorLine(board, find_firmware(board), program)

    def facts(self) -> dict[str, Any]:
        return {
            "emulated_by": emulator_version(),
            "clock": f"instructions, {INSTRUCTION_NS:g} ns each (-icount shift={SHIFT}): no time of hardware",
        }
