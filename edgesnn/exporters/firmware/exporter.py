"""The firmware exporter: engine, firmware, boards and model as one project for a cross compiler."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

from edgesnn import resources
from edgesnn.errors import OutputError
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.exporters.c.sources import amalgam
from edgesnn.exporters.firmware.report import board_fits, report_document, report_text
from edgesnn.firmware import BOARDS
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.toolchain import BARE_METAL

#: Folder of the export inside a bundle.
FOLDER = "firmware"
#: File by role; the C files beside them have none.
FILES = {
    "program": "program.snn",
    "makefile": "Makefile",
    "cmake": "CMakeLists.txt",
    "toolchain": "arm-none-eabi.cmake",
    "boards_make": "boards.mk",
    "boards_cmake": "boards.cmake",
    "readme": "README.md",
    "sizes": "sizes.json",
    "sizes_text": "sizes.txt",
}
_SHIPPED = ("Makefile", "CMakeLists.txt", "arm-none-eabi.cmake", "README.md")
_SOURCES = ("*.c", "*.h", "*.S")


class FirmwareExporter(Exporter):
    """A folder ``firmware`` that builds with ``make BOARD=NAME`` and with CMake."""

    name: ClassVar[str] = "firmware"
    summary: ClassVar[str] = "a project for microcontrollers: firmware with the student in its flash; exact"
    on_request: ClassVar[bool] = True
    frames: ClassVar[bool] = True

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the files, and what they take of every board.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role, and the report of flash and RAM under ``fit``.

        Raises:
            ExportError: A compiler that is here failed.
            OutputError: A file cannot be written.
        """
        engine, dut, made = resources.folder("engine"), resources.folder("dut"), folder / FOLDER
        program = to_bytes(source.program)
        report = report_document(board_fits(program))
        try:
            for below in ("engine/remote", "dut/boards"):
                (made / below).mkdir(parents=True, exist_ok=True)
            (made / FILES["program"]).write_bytes(program)
            (made / "engine" / "snn.c").write_text(amalgam(engine), encoding="utf-8")
            shutil.copyfile(engine / "snn.h", made / "engine" / "snn.h")
            for name in ("sha256.c", "sha256.h"):
                shutil.copyfile(engine / "remote" / name, made / "engine" / "remote" / name)
            for below in ("", "boards"):
                for path in (path for kind in _SOURCES for path in (dut / below).glob(kind)):
                    shutil.copyfile(path, made / "dut" / below / path.name)
            for name in _SHIPPED:
                shutil.copyfile(dut / "project" / name, made / name)
            (made / FILES["boards_make"]).write_text(_boards_make(), encoding="utf-8")
            (made / FILES["boards_cmake"]).write_text(_boards_cmake(), encoding="utf-8")
            (made / FILES["sizes"]).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            (made / FILES["sizes_text"]).write_text(report_text(report), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write the firmware export: {error.strerror or error}") from None
        return ExportResult(
            {role: f"{FOLDER}/{name}" for role, name in FILES.items()},
            {"fit": report, **_widths(source.program), "program_hash": source.program_hash},
        )


def _widths(program: Program) -> dict[str, int]:
    if program.frames is not None:
        return {"inputs": program.frames.channels, "outputs": program.outputs}
    return {"vocab": program.vocab_size}


def _boards_make() -> str:
    lines = ["BOARDS = " + " ".join(BOARDS)]
    for board in BOARDS.values():
        flags = " ".join(BARE_METAL[board.processor].gcc_flags)
        lines += [f"CHIP_{board.name} = {board.chip}", f"CPU_{board.name} = {flags}"]
    return "\n".join(lines) + "\n"


def _boards_cmake() -> str:
    lines = [f"set(BOARDS {' '.join(BOARDS)})"]
    for board in BOARDS.values():
        flags = " ".join(BARE_METAL[board.processor].gcc_flags)
        lines += [f"set(CHIP_{board.name} {board.chip})", f"set(CPU_{board.name} {flags})"]
    return "\n".join(lines) + "\n"
