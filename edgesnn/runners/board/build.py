"""The firmware of a board: one ELF file that takes any model, built when it is first used.

It is compiled from ``firmware_bridge/dut`` and the engine, and kept in the user's cache under a name that
holds a hash of sources, flags and compiler.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError
from edgesnn.runners.native.build import SOURCES, engine_files
from edgesnn.toolchain import BARE_METAL, build_once, cross_compiler, fingerprint

FIRMWARE_SOURCES = ("ascii.c", "device.c", "frame.c", "model.c", "run.c")
BOARD_SOURCES = ("startup.c", "cmsdk.c")
FLAGS = (
    "-std=c99",
    "-O2",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-pedantic",
)


@dataclass(frozen=True, slots=True)
class BoardKind:
    """A board that the firmware is built for.

    Attributes:
        name: Its name; that of its header in ``firmware_bridge/dut/boards``.
        processor: A name in `toolchain.BARE_METAL`.
        description: What it is, one line.
    """

    name: str
    processor: str
    description: str

    def model_address(self) -> int:
        """Where the model lies in its memory, as its header says."""
        text = (resources.folder("dut") / "boards" / f"{self.name}.h").read_text(encoding="ascii")
        found = re.search(r"^#define BOARD_MODEL\s+(0x[0-9A-Fa-f]+)$", text, re.MULTILINE)
        assert found is not None  # a header of ours
        return int(found[1], 16)


#: Boards that QEMU emulates, by name of the machine.
BOARDS = {
    board.name: board
    for board in (
        BoardKind("mps2-an386", "cortex-m4", "Cortex-M4, 16 MB of PSRAM for the model"),
        BoardKind("mps2-an500", "cortex-m7", "Cortex-M7, 16 MB of PSRAM for the model"),
        BoardKind("mps3-an547", "cortex-m55", "Cortex-M55 with MVE, DDR for the model"),
    )
}


def missing_compiler() -> str | None:
    """Why no firmware can be built here, or None."""
    target = BARE_METAL["cortex-m7"]
    return None if cross_compiler(target) else f"no compiler for Cortex-M: {_remedy('cortex-m7')}"


def firmware_sources() -> list[Path]:
    """The C files that are the same on every board and on a computer."""
    engine, dut = resources.folder("engine"), resources.folder("dut")
    found = [engine / name for name in SOURCES if name != "snn_host.c"]
    return [*found, engine / "remote" / "sha256.c", *(dut / name for name in FIRMWARE_SOURCES)]


def find_firmware(board: BoardKind) -> Path:
    """The firmware of a board: from the cache, else built now.

    Raises:
        RunnerError: There is no compiler, or it failed.
    """
    compiler = cross_compiler(BARE_METAL[board.processor])
    if compiler is None:
        raise RunnerError(f"there is no compiler for {board.processor}", remedy=_remedy(board.processor))
    engine, dut = resources.folder("engine"), resources.folder("dut")
    boards = dut / "boards"
    sources = [*firmware_sources(), *(boards / name for name in BOARD_SOURCES)]
    read = [*sources, boards / "link.ld.S"]
    read += [*engine_files(), *(engine / "remote").glob("*.h"), *dut.glob("*.h"), *boards.glob("*.h")]
    header = (f'-DBOARD_HEADER="{board.name}.h"', f"-I{boards}")

    def run(*arguments: str) -> None:
        compiler.run(
            arguments,
            label=f"the compiler for {board.processor}",
            error=RunnerError,
            remedy="apt install gcc-arm-none-eabi libnewlib-arm-none-eabi",
        )

    def make(work: Path) -> Path:
        script, made = work / "board.ld", work / "firmware.elf"
        run("-E", "-P", "-x", "c", *header, str(boards / "link.ld.S"), "-o", str(script))
        link = ("-nostartfiles", "-Wl,--gc-sections", f"-Wl,-T,{script}")
        run(*FLAGS, *header, *map(str, sources), *link, "-o", str(made))
        return made

    key = fingerprint(compiler, (board, FLAGS), read)
    path = resources.cache_folder("firmware") / f"edgesnn-{board.name}-{key}.elf"
    return build_once(path, make, label="the firmware", error=RunnerError)


def _remedy(processor: str) -> str:
    return f"{BARE_METAL[processor].remedy()} libnewlib-arm-none-eabi"
