"""Putting a bundle onto a microcontroller: the firmware with its model, and the board's own tool."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import MissingExtraError, RunnerError, UsageError
from edgesnn.firmware import BOARDS, EMULATED, BoardKind, find_firmware, firmware_size, flash_image
from edgesnn.names import unknown
from edgesnn.runners.board.address import BAUD
from edgesnn.runners.board.lines import SerialLine
from edgesnn.runners.board.session import BoardSession
from edgesnn.toolchain import build_once, run_tool

#: Programs that write a board's flash, the usual one first; ELF, BIN and START stand for the firmware as an
#: ELF file, for its plain bytes, and for the first address of the flash.
_TOOLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pico2": (
        ("picotool", "load", "-v", "-x", "ELF", "-t", "elf"),
        (
            "openocd",
            *("-f", "interface/cmsis-dap.cfg", "-f", "target/rp2350.cfg", "-c", "adapter speed 5000"),
            *("-c", "program {ELF} verify reset exit"),
        ),
    ),
    "nucleo-h743zi": (
        ("st-flash", "--reset", "write", "BIN", "START"),
        ("openocd", "-f", "board/st_nucleo_h743zi.cfg", "-c", "program {ELF} verify reset exit"),
        ("pyocd", "load", "--target", "stm32h743zitx", "ELF"),
    ),
}
_REMEDIES = {
    "pico2": "hold BOOTSEL while you plug the board in, then run it again",
    "nucleo-h743zi": "plug in the USB port of the ST-LINK, end other programs that use it, then run it again",
}


@dataclass(frozen=True, slots=True)
class Flashed:
    """What was written to a board.

    Attributes:
        board: Name of the board.
        firmware: The ELF file.
        command: What wrote it.
        flash_bytes: Flash that it fills, with the model.
        answers: What the board says of itself at its port; None where no port was named.
    """

    board: str
    firmware: Path
    command: tuple[str, ...]
    flash_bytes: int
    answers: str | None


def flash_bundle(
    bundle: Bundle,
    board: str,
    port: str | None = None,
    on_progress: Callable[[str], None] = lambda what: None,
) -> Flashed:
    """Build the firmware of a board with a bundle's model in it, and write it.

    Args:
        bundle: The bundle.
        board: Name of a real board.
        port: Serial port at which it is asked afterwards who it is.
        on_progress: Told what happens.

    Raises:
        UsageError: There is no such board, or it is an emulated one.
        MissingExtraError: No tool for it is installed; the remedy has the command.
        RunnerError: No compiler, no room on the board, the tool failed, or another board answers.
    """
    if board in EMULATED:
        raise UsageError(
            f"'{board}' is emulated: it has no flash to write",
            remedy=f"edgesnn verify BUNDLE --target qemu:{board}",
        )
    if board not in _TOOLS:
        raise unknown("board", board, sorted(_TOOLS))
    kind, program = BOARDS[board], bundle.file(PROGRAM_NAME).read_bytes()
    on_progress(f"building the firmware of {board}")
    firmware = find_firmware(kind, program)
    size = firmware_size(kind, firmware)
    if size.flash_bytes > kind.region("FLASH")[1]:
        raise RunnerError(
            f"firmware and model are too large for {board}",
            actual=f"{size.flash_bytes:,} bytes",
            limit=f"{kind.region('FLASH')[1]:,} bytes",
        )
    command = _command(kind, firmware)
    on_progress(f"writing by {command[0]}")
    run_tool(command, label=command[0], error=RunnerError, remedy=_REMEDIES[board])
    answers = None
    if port is not None:
        on_progress(f"asking at {port}")
        answers = _ask(kind, port)
    return Flashed(board, firmware, command, size.flash_bytes, answers)


def _command(kind: BoardKind, firmware: Path) -> tuple[str, ...]:
    """The command of the first tool that is here."""
    known = _TOOLS[kind.name]
    tool = next((words for words in known if which(words[0])), None)
    plain = firmware.with_suffix(".bin")
    if any("BIN" in words for words in ([tool] if tool else known)):

        def make(work: Path) -> Path:
            made = work / "firmware.bin"
            made.write_bytes(flash_image(kind, firmware))
            return made

        build_once(plain, make, label="the firmware", error=RunnerError)
    places = {"ELF": str(firmware), "BIN": str(plain), "START": f"{kind.region('FLASH')[0]:#010x}"}

    def filled(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(places.get(word, word.replace("{ELF}", f"{{{firmware}}}")) for word in words)

    if tool is None:
        names = [words[0] for words in known]
        raise MissingExtraError(
            f"no tool that writes {kind.name} is installed",
            actual=f"looked for {', '.join(names)}",
            remedy=f"install {names[0]}, then: {shlex.join(filled(known[0]))}",
        )
    return filled(tool)


def _ask(kind: BoardKind, port: str) -> str:
    """What the board at a port says of itself.

    Raises:
        RunnerError: Nobody answers there, or another board.
    """
    with BoardSession(SerialLine(port, BAUD)) as session:
        hello = session.hello
    if hello.name.partition(" ")[0] != kind.name:
        raise RunnerError(
            f"the board at {port} is another than was written", actual=hello.name, limit=kind.name
        )
    return f"{hello.name}, firmware {hello.firmware}, engine {hello.engine}"
