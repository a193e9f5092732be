"""What a student takes of a board's flash and RAM, and which boards it fits."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgesnn import resources
from edgesnn.errors import ExportError
from edgesnn.firmware import (
    BOARDS,
    ENGINE_SOURCES,
    BoardKind,
    engine_files,
    find_firmware,
    firmware_size,
    missing_compiler,
)
from edgesnn.toolchain import build_once, fingerprint, host_compiler, missing_host_compiler

#: RAM that a run's results should have: some tens of tokens with all their readout codes.
RESULTS_BYTES = 4096
_FLAGS = ("-std=gnu99", "-O0", "-fPIC", "-shared")
_COMPILERS = ("gcc", "clang", "cc", "zig")


@dataclass(frozen=True, slots=True)
class EngineRam:
    """RAM that the engine takes of a model on a processor of 32 bits.

    Attributes:
        index_bytes: Its index of the model.
        context_bytes: One sequence.
    """

    index_bytes: int
    context_bytes: int


@dataclass(frozen=True, slots=True)
class BoardFit:
    """A student on a board; what could not be found out here is None.

    Attributes:
        board: Name of the board.
        description: What it is.
        firmware_bytes: Flash of the firmware without the model.
        model_bytes: Flash of the model, where it is built in.
        flash_bytes: Memory of the board for both.
        static_bytes: RAM of variables and stack.
        index_bytes: RAM of the engine's index.
        context_bytes: RAM of one sequence.
        ram_bytes: RAM of the board, without the part that is kept for models from the line.
        fits: Whether all of it fits, with `RESULTS_BYTES` for the results of runs.
        why: Why not, or what is missing to tell.
        run_by_us: False where nobody of this project ever had the board.
    """

    board: str
    description: str
    firmware_bytes: int | None
    model_bytes: int
    flash_bytes: int
    static_bytes: int | None
    index_bytes: int | None
    context_bytes: int | None
    ram_bytes: int
    fits: bool | None
    why: str | None
    run_by_us: bool


def engine_ram(program: bytes) -> EngineRam:
    """Ask the engine itself, compiled for this computer (``firmware_bridge/dut/host/sizes.c``).

    Args:
        program: The bytes of a ``program.snn``.

    Raises:
        ExportError: There is no compiler, it failed, or the engine refuses the program.
    """
    compiler = host_compiler(_COMPILERS)
    if compiler is None:
        raise ExportError(f"the engine cannot be asked: {missing_host_compiler(_COMPILERS)}")
    engine, source = resources.folder("engine"), resources.folder("dut") / "host" / "sizes.c"
    sources = [source, *(engine / name for name in ENGINE_SOURCES)]
    key = fingerprint(compiler, _FLAGS, [source, *engine_files()])

    def make(work: Path) -> Path:
        made = work / "sizes.so"
        compiler.run([*_FLAGS, *map(str, sources), "-o", str(made)], label="the compiler", error=ExportError)
        return made

    path = resources.cache_folder("engine") / f"sizes-{key}.so"
    library = ctypes.CDLL(str(build_once(path, make, label="the engine's sizes", error=ExportError)))
    sizes = (ctypes.c_uint64 * 2)()
    library.board_sizes.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint64))
    status = library.board_sizes(_aligned(program), len(program), sizes)
    if status != 0:
        raise ExportError("the engine refuses this program", actual=f"snn_status {status}")
    return EngineRam(int(sizes[0]), int(sizes[1]))


def board_fits(program: bytes) -> tuple[BoardFit, ...]:
    """A student on every board.

    The firmware of a board is built once on this computer and kept.

    Args:
        program: The bytes of a ``program.snn``.

    Raises:
        ExportError: A compiler failed.
    """
    missing = missing_compiler() or missing_host_compiler(_COMPILERS)
    ram = None if missing_host_compiler(_COMPILERS) else engine_ram(program)
    return tuple(_fit(board, len(program), ram, missing) for board in BOARDS.values())


def _fit(board: BoardKind, model: int, ram: EngineRam | None, missing: str | None) -> BoardFit:
    size = None
    if missing_compiler() is None:
        size = firmware_size(board, find_firmware(board, error=ExportError))
    room, there = board.region("RAM")[1], board.region("FLASH")[1]
    together = board.region("IMAGE") == board.region("FLASH")
    fits, why = None, missing
    if size is not None and ram is not None:
        flash = size.flash_bytes + (model if together else 0)
        needed = size.static_bytes + ram.index_bytes + ram.context_bytes + RESULTS_BYTES
        if flash > there:
            why = f"flash: {flash:,} bytes of {there:,}"
        elif model > board.region("IMAGE")[1]:
            why = f"memory for the model: {model:,} bytes of {board.region('IMAGE')[1]:,}"
        elif needed > room:
            why = f"RAM: {needed:,} bytes of {room:,}, with {RESULTS_BYTES:,} for results"
        fits = why is None
    return BoardFit(
        board=board.name,
        description=board.description,
        firmware_bytes=None if size is None else size.flash_bytes,
        model_bytes=model,
        flash_bytes=there if together else there + board.region("IMAGE")[1],
        static_bytes=None if size is None else size.static_bytes,
        index_bytes=None if ram is None else ram.index_bytes,
        context_bytes=None if ram is None else ram.context_bytes,
        ram_bytes=room,
        fits=fits,
        why=why,
        run_by_us=board.emulated,
    )


def report_document(fits: tuple[BoardFit, ...]) -> dict[str, Any]:
    """The report as plain data."""
    return {"schema": "edgesnn.firmware/1", "boards": [asdict(fit) for fit in fits]}


def report_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Board, flash, RAM and verdict of a report, each as text.

    Args:
        document: What `report_document` gave.
    """
    rows = []
    for fit in document["boards"]:
        ram = [fit[name] for name in ("static_bytes", "index_bytes", "context_bytes")]
        known = None not in ram and fit["firmware_bytes"] is not None
        flash = f"{fit['firmware_bytes'] + fit['model_bytes']:,}" if known else f"? + {fit['model_bytes']:,}"
        verdict = {True: "fits", False: "too large", None: "not known"}[fit["fits"]]
        rows.append(
            (
                fit["board"] + ("" if fit["run_by_us"] else " (never run by us)"),
                f"{flash} of {fit['flash_bytes']:,}",
                f"{f'{sum(ram):,}' if known else '?'} of {fit['ram_bytes']:,}",
                verdict if fit["why"] is None else f"{verdict}: {fit['why']}",
            )
        )
    return rows


def report_text(document: Mapping[str, Any]) -> str:
    """The report as a page of text."""
    rows = [("board", "flash with the model", "RAM without the model", ""), *report_rows(document)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        + "\n"
        for row in rows
    )


def _aligned(program: bytes) -> ctypes.c_char_p:
    """The bytes at an address that is a multiple of 64, as the engine wants them."""
    room = ctypes.create_string_buffer(len(program) + 64)
    start = -ctypes.addressof(room) % 64
    ctypes.memmove(ctypes.addressof(room) + start, program, len(program))
    pointer = ctypes.c_char_p(ctypes.addressof(room) + start)
    pointer.room = room  # type: ignore[attr-defined]  # it lives as long as the pointer
    return pointer
