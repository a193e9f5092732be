"""Static binaries of the C export for other processors: Debian's cross gcc, or zig from PyPI."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import ExportError, MissingExtraError, UsageError

_BUILD_SECONDS = 600
_FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O3", "-static")


@dataclass(frozen=True, slots=True)
class CrossTarget:
    """One kind of processor.

    Attributes:
        gcc: Debian's compiler.
        package: Debian's package of it.
        zig: Name of the target for zig.
        flags: What this target needs besides.
        qemu: The user-mode emulator that runs its binaries.
    """

    gcc: str
    package: str
    zig: str
    flags: tuple[str, ...]
    qemu: str


#: Targets by the name on the command line.
TARGETS = {
    "aarch64": CrossTarget(
        "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "aarch64-linux-musl", (), "qemu-aarch64-static"
    ),
    "armhf": CrossTarget(
        "arm-linux-gnueabihf-gcc",
        "gcc-arm-linux-gnueabihf",
        "arm-linux-musleabihf",
        ("-mfpu=neon",),
        "qemu-arm-static",
    ),
    "riscv64": CrossTarget(
        "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu", "riscv64-linux-musl", (), "qemu-riscv64-static"
    ),
}


def parse_targets(text: str) -> tuple[str, ...]:
    """Names of a comma-separated list.

    Raises:
        UsageError: One of them is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in TARGETS:
            raise UsageError("unknown cross target", actual=name, limit=", ".join(TARGETS))
    if not names:
        raise UsageError("no cross target given", limit=", ".join(TARGETS))
    return names


def compiler_for(name: str) -> tuple[str, ...] | None:
    """The command that compiles for a target, without sources; None where there is none."""
    target = TARGETS[name]
    if shutil.which(target.gcc) is not None:
        return (target.gcc, *target.flags)
    if importlib.util.find_spec("ziglang") is not None:
        # zig names the floating-point unit by processor; its default for armhf has NEON's 16 bytes off.
        cpu = ("-mcpu=cortex_a7",) if name == "armhf" else ()
        return (sys.executable, "-m", "ziglang", "cc", "-target", target.zig, *cpu)
    return None


def require_compilers(names: tuple[str, ...]) -> None:
    """Make sure that every target can be built here.

    Raises:
        MissingExtraError: No compiler for a target is installed.
    """
    for name in names:
        if compiler_for(name) is None:
            raise MissingExtraError(
                f"there is no compiler for {name}",
                remedy=f"apt install {TARGETS[name].package}, or pip install ziglang",
            )


def cross_build(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Build the example of a C export as static binaries.

    Args:
        folder: The folder with ``main.c``, ``snn.c`` and ``snn.h``.
        names: Names of `TARGETS`.

    Returns:
        The binary ``snn_example.NAME`` in the same folder, by target.

    Raises:
        MissingExtraError: No compiler for a target is installed.
        ExportError: A compiler failed.
    """
    require_compilers(names)
    binaries: dict[str, Path] = {}
    for name in names:
        command = compiler_for(name) or ()
        binary = folder / f"snn_example.{name}"
        _run([*command, *_FLAGS, "main.c", "snn.c", "-o", binary.name], folder, name)
        binaries[name] = binary
    return binaries


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            env=dict(os.environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"the compiler for {name} failed: {error}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(f"the compiler for {name} failed: {' | '.join(lines[:3])[:400]}")
