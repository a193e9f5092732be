"""Static binaries of the C export for other processors."""

from __future__ import annotations

from pathlib import Path

from edgesnn.errors import ExportError, MissingExtraError, UsageError
from edgesnn.toolchain import TARGETS, Compiler, cross_compiler

#: Targets by the name on the command line.
NAMES = ("aarch64", "armhf", "riscv64")
_FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O3", "-static")


def parse_targets(text: str) -> tuple[str, ...]:
    """Names of a comma-separated list.

    Raises:
        UsageError: One of them is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in NAMES:
            raise UsageError("unknown cross target", actual=name, limit=", ".join(NAMES))
    if not names:
        raise UsageError("no cross target given", limit=", ".join(NAMES))
    return names


def require_compilers(names: tuple[str, ...]) -> dict[str, Compiler]:
    """The compiler for every target.

    Raises:
        MissingExtraError: No compiler for a target is installed.
    """
    found: dict[str, Compiler] = {}
    for name in names:
        compiler = cross_compiler(TARGETS[name])
        if compiler is None:
            raise MissingExtraError(f"there is no compiler for {name}", remedy=TARGETS[name].remedy())
        found[name] = compiler
    return found


def cross_build(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Build the example of a C export as static binaries.

    Args:
        folder: The folder with ``main.c``, ``snn.c`` and ``snn.h``.
        names: Some of `NAMES`.

    Returns:
        The binary ``snn_example.NAME`` in the same folder, by target.

    Raises:
        MissingExtraError: No compiler for a target is installed.
        ExportError: A compiler failed.
    """
    binaries: dict[str, Path] = {}
    for name, compiler in require_compilers(names).items():
        binary = folder / f"snn_example.{name}"
        compiler.run(
            [*_FLAGS, "main.c", "snn.c", "-o", binary.name],
            label=f"the compiler for {name}",
            error=ExportError,
            remedy="leave out --cross, or install another compiler: " + TARGETS[name].remedy(),
            folder=folder,
        )
        binaries[name] = binary
    return binaries
