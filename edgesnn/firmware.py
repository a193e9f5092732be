"""The firmware of microcontrollers: which boards there are, how an ELF file for one is built, what it takes.

It is compiled from ``firmware_bridge/dut`` and the engine, and kept in the user's cache under a name that
holds a hash of sources, flags, compiler and model; so are the objects of the engine, which are the same for
every model and every board of a processor. Without a model it takes any over the line; with one, that
one lies in a section of its own and is read in place.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import DeviceError, EdgesnnError, RunnerError
from edgesnn.toolchain import BARE_METAL, Compiler, build_once, cross_compiler, fingerprint

#: Sources of the engine that any processor compiles.
ENGINE_SOURCES = (
    "snn.c",
    "snn_linear.c",
    "snn_ops.c",
    "snn_plan.c",
    "snn_reader.c",
    "snn_reference.c",
    "snn_run.c",
    "snn_state.c",
    "snn_swar.c",
    "snn_vector.c",
    "cortex_m/snn_dsp.c",
    "cortex_m/snn_dsp_attend.c",
    "frames/snn_frames.c",
    "frames/snn_frames_reader.c",
)
FIRMWARE_SOURCES = ("ascii.c", "device.c", "frame.c", "model.c", "run.c")
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
LINK_FLAGS = ("-nostartfiles", "-Wl,--gc-sections")
#: A RAM of the firmware ends at a multiple of so many bytes, where the engine's begins (``link.ld.S``).
_ALIGNMENT = 64
_LOAD = 1  # of a program header: PT_LOAD of the ELF specification


@dataclass(frozen=True, slots=True)
class BoardKind:
    """A board that the firmware is built for.

    Attributes:
        name: Its name; that of its header in ``firmware_bridge/dut/boards``.
        processor: A name in `toolchain.BARE_METAL`.
        chip: Name of the file beside the header that drives UART, clock and marker.
        description: What it is, one line.
        emulated: Whether QEMU can be it. The others were never run by us.
    """

    name: str
    processor: str
    chip: str
    description: str
    emulated: bool

    @property
    def sources(self) -> tuple[str, ...]:
        """Files of ``firmware_bridge/dut/boards`` that it consists of."""
        return ("startup.c", "board.c", f"{self.chip}.c")

    def number(self, name: str) -> int | None:
        """A number of its header, for example ``BOARD_MODEL``; None where it has none."""
        text = (resources.folder("dut") / "boards" / f"{self.name}.h").read_text(encoding="ascii")
        found = re.search(rf"^#define {name}\s+(0x[0-9A-Fa-f]+|\d+)u?\b", text, re.MULTILINE)
        return None if found is None else int(found[1], 0)

    def region(self, name: str) -> tuple[int, int]:
        """Address and bytes of ``FLASH``, ``RAM``, ``MODEL`` (from the line) or ``IMAGE`` (built in)."""
        start, size = self.number(f"BOARD_{name}"), self.number(f"BOARD_{name}_BYTES")
        if start is None or size is None:
            assert name == "IMAGE", f"{self.name}.h has no {name}"
            return self.region("FLASH")
        return start, size


#: Boards by name.
BOARDS = {
    board.name: board
    for board in (
        BoardKind("mps2-an386", "cortex-m4", "cmsdk", "Cortex-M4, 16 MB of PSRAM for the model", True),
        BoardKind("mps2-an500", "cortex-m7", "cmsdk", "Cortex-M7, 16 MB of PSRAM for the model", True),
        BoardKind("mps3-an547", "cortex-m55", "cmsdk", "Cortex-M55 with MVE, DDR for the model", True),
        BoardKind(
            "nucleo-h743zi", "cortex-m7", "stm32h743", "ST Nucleo-144: Cortex-M7, 2 MB of flash", False
        ),
        BoardKind("pico2", "cortex-m33", "rp2350", "Raspberry Pi Pico 2: Cortex-M33, 4 MB of flash", False),
    )
}
#: Those that QEMU can be, by name of the machine.
EMULATED = {name: board for name, board in BOARDS.items() if board.emulated}


@dataclass(frozen=True, slots=True)
class FirmwareSize:
    """What an ELF file of the firmware takes of a board.

    Attributes:
        flash_bytes: Code and constants, and the model where one is built in.
        static_bytes: RAM of variables and stack.
    """

    flash_bytes: int
    static_bytes: int


def missing_compiler() -> str | None:
    """Why no firmware can be built here, or None."""
    target = BARE_METAL["cortex-m7"]
    return None if cross_compiler(target) else f"no compiler for Cortex-M: {_remedy('cortex-m7')}"


def engine_files() -> list[Path]:
    """Sources and headers of the engine: what a build of it reads."""
    folder = resources.folder("engine")
    return [
        path
        for room in (folder, folder / "cortex_m", folder / "frames")
        for path in sorted(room.glob("snn*.[ch]"))
    ]


def firmware_sources() -> list[Path]:
    """The C files that are the same on every board and on a computer."""
    return [*_engine_sources(), *_device_sources()]


def _engine_sources() -> list[Path]:
    engine = resources.folder("engine")
    return [*(engine / name for name in ENGINE_SOURCES), engine / "remote" / "sha256.c"]


def _device_sources() -> list[Path]:
    return [resources.folder("dut") / name for name in FIRMWARE_SOURCES]


def find_firmware(
    board: BoardKind,
    program: bytes | None = None,
    *,
    error: type[EdgesnnError] = RunnerError,
) -> Path:
    """The firmware of a board: from the cache, else built now.

    Args:
        board: The board.
        program: The bytes of a ``program.snn`` that it brings; None for none.
        error: Class of the errors.

    Raises:
        EdgesnnError: There is no compiler, it failed, or the model is too large for the board; of the class
            ``error``.
    """
    compiler = cross_compiler(BARE_METAL[board.processor])
    if compiler is None:
        raise error(f"there is no compiler for {board.processor}", remedy=_remedy(board.processor))
    if program is not None and len(program) > board.region("IMAGE")[1]:
        raise error(
            f"the model is too large for {board.name}",
            actual=f"{len(program):,} bytes",
            limit=f"{board.region('IMAGE')[1]:,} bytes",
            remedy="a smaller student or a larger board; see docs/microcontroller.md",
        )
    engine, dut = resources.folder("engine"), resources.folder("dut")
    boards = dut / "boards"
    read = [*firmware_sources(), *(boards / name for name in board.sources)]
    read += [boards / "link.ld.S", boards / "image.S"]
    read += [*engine_files(), *(engine / "remote").glob("*.h"), *dut.glob("*.h"), *boards.glob("*.h")]
    model = None if program is None else hashlib.sha256(program).hexdigest()
    key = fingerprint(compiler, (board, FLAGS, LINK_FLAGS, model), read)
    path = resources.cache_folder("firmware") / f"edgesnn-{board.name}-{key}.elf"
    return build_once(
        path,
        lambda work: _build(board, compiler, program, work, error),
        label="the firmware",
        error=error,
    )


def firmware_size(board: BoardKind, firmware: Path) -> FirmwareSize:
    """What the program headers of an ELF file say that it takes.

    Args:
        board: The board that it was built for.
        firmware: The file.

    Raises:
        DeviceError: It is no ELF file of 32 bits.
    """
    flash, ram = (board.region(name) for name in ("FLASH", "RAM"))
    flash_end, ram_end = flash[0], ram[0]
    for part in _loaded(firmware):
        if flash[0] <= part.physical < flash[0] + flash[1]:
            flash_end = max(flash_end, part.physical + len(part.data))
        if ram[0] <= part.virtual < ram[0] + ram[1]:
            ram_end = max(ram_end, part.virtual + part.memory)
    static = (ram_end - ram[0] + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
    return FirmwareSize(flash_end - flash[0], static)


def flash_image(board: BoardKind, firmware: Path) -> bytes:
    """The bytes of a board's flash from its first address, as an ELF file fills them.

    Args:
        board: The board that it was built for.
        firmware: The file.

    Raises:
        DeviceError: It is no ELF file of 32 bits.
    """
    start, size = board.region("FLASH")
    parts = [part for part in _loaded(firmware) if part.data and start <= part.physical < start + size]
    image = bytearray(b"\xff" * (max(part.physical + len(part.data) for part in parts) - start))
    for part in parts:
        image[part.physical - start : part.physical - start + len(part.data)] = part.data
    return bytes(image)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a program header of an ELF file has loaded: where it runs, where it lies, what it takes."""

    virtual: int
    physical: int
    data: bytes
    memory: int


def _loaded(firmware: Path) -> list[_Loaded]:
    data = firmware.read_bytes()
    if data[:5] != b"\x7fELF\x01":
        raise DeviceError(f"'{firmware.name}' is no ELF file of 32 bits", actual=data[:5].hex())
    table, entry, count = *struct.unpack_from("<I", data, 28), *struct.unpack_from("<HH", data, 42)
    headers = (struct.unpack_from("<6I", data, table + entry * i) for i in range(count))
    return [
        _Loaded(virtual, physical, data[at : at + size], memory)
        for kind, at, virtual, physical, size, memory in headers
        if kind == _LOAD
    ]


def _build(
    board: BoardKind, compiler: Compiler, program: bytes | None, work: Path, error: type[EdgesnnError]
) -> Path:
    boards = resources.folder("dut") / "boards"
    header = (f'-DBOARD_HEADER="{board.name}.h"', f"-I{boards}")

    def run(*arguments: str) -> None:
        _compile(board.processor, compiler, arguments, work, error)

    script, made = work / "board.ld", work / "firmware.elf"
    run("-E", "-P", "-x", "c", *header, str(boards / "link.ld.S"), "-o", str(script))
    sources = [str(path) for path in _engine_objects(board.processor, compiler, error)]
    sources += [str(path) for path in _device_sources()] + [str(boards / name) for name in board.sources]
    if program is not None:
        (work / "program.snn").write_bytes(program)
        sources += ['-DBOARD_IMAGE_FILE="program.snn"', str(boards / "image.S")]
    run(*FLAGS, *header, *sources, *LINK_FLAGS, f"-Wl,-T,{script}", "-o", str(made))
    return made


def _engine_objects(processor: str, compiler: Compiler, error: type[EdgesnnError]) -> list[Path]:
    """The engine compiled for a processor, one object a source, in their order."""
    headers = (resources.folder("engine") / "remote").glob("*.h")
    key = fingerprint(compiler, FLAGS, [*_engine_sources(), *engine_files(), *headers])
    folder = resources.cache_folder("firmware") / f"engine-{processor}-{key}"

    def make(source: Path, work: Path) -> Path:
        made = work / "object.o"
        _compile(processor, compiler, [*FLAGS, "-c", str(source), "-o", str(made)], work, error)
        return made

    return [
        build_once(folder / f"{source.stem}.o", partial(make, source), label="the engine", error=error)
        for source in _engine_sources()
    ]


def _compile(
    processor: str, compiler: Compiler, arguments: Sequence[str], work: Path, error: type[EdgesnnError]
) -> None:
    compiler.run(
        arguments,
        label=f"the compiler for {processor}",
        error=error,
        remedy=_remedy(processor),
        folder=work,
    )


def _remedy(processor: str) -> str:
    return f"{BARE_METAL[processor].remedy()} libnewlib-arm-none-eabi"
