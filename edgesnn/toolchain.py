"""C compilers: which ones are here, what they compile for, and how a file is built once and kept.

For this computer the compiler is the one that ``EDGESNN_CC`` names, else the one that ``CC`` names (both may
hold arguments), else the first that is installed of those the caller would like. A cross build never asks the
two variables: it takes Debian's cross gcc, else zig from PyPI.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesnn import system
from edgesnn.errors import EdgesnnError
from edgesnn.locks import locked_file
from edgesnn.resources import cache_folder
from edgesnn.scratch import ScratchFolder

#: Variables that name the compiler for this computer; the first that is set wins.
VARIABLES = ("EDGESNN_CC", "CC")
BUILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CompileTarget:
    """One kind of processor that programs are built for, with or without an operating system.

    Attributes:
        name: Name of the processor, as ``uname -m`` has it where there is one.
        triplet: Name of the target for gcc and Debian, for example ``arm-linux-gnueabihf``.
        gcc_flags: What gcc needs besides.
        zig: Name of the target for zig, or None where zig does not serve it.
        zig_flags: What zig needs besides.
        elf: ``e_machine`` of its ELF files (the System V ABI supplement of the processor).
        bits: Size of its addresses.
    """

    name: str
    triplet: str
    gcc_flags: tuple[str, ...]
    zig: str | None
    zig_flags: tuple[str, ...]
    elf: int
    bits: int

    def remedy(self) -> str:
        """What brings a compiler for it."""
        package = f"gcc-{self.triplet.replace('_', '-')}"
        return f"apt install {package}" + (", or pip install ziglang" if self.zig else "")


#: Targets with Linux by name.
TARGETS = {
    target.name: target
    for target in (
        CompileTarget("aarch64", "aarch64-linux-gnu", (), "aarch64-linux-musl", (), 183, 64),
        # zig names the floating-point unit by processor; its default for armhf has NEON's 16 bytes off.
        CompileTarget(
            "armhf",
            "arm-linux-gnueabihf",
            ("-mfpu=neon",),
            "arm-linux-musleabihf",
            ("-mcpu=cortex_a7",),
            40,
            32,
        ),
        CompileTarget("riscv64", "riscv64-linux-gnu", (), "riscv64-linux-musl", (), 243, 64),
        CompileTarget("x86_64", "x86_64-linux-gnu", (), "x86_64-linux-musl", ("-mcpu=x86_64",), 62, 64),
    )
}

#: Targets without an operating system, for microcontrollers, by name of the processor. Only the M55 of these
#: has vectors, and its code passes them in registers.
BARE_METAL = {
    name: CompileTarget(
        name, "arm-none-eabi", (f"-mcpu={name}", "-mthumb", f"-mfloat-abi={abi}"), None, (), 40, 32
    )
    for name, abi in (
        ("cortex-m4", "soft"),
        ("cortex-m7", "soft"),
        ("cortex-m33", "soft"),
        ("cortex-m55", "hard"),
    )
}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler.

    Attributes:
        name: What it is, for records.
        command: How it is started, with the flags of its target.
        identity: Changes when the compiler or those flags do.
    """

    name: str
    command: tuple[str, ...]
    identity: str

    def run(
        self,
        arguments: Sequence[str],
        *,
        label: str,
        error: type[EdgesnnError],
        remedy: str | None = None,
        folder: Path | None = None,
    ) -> None:
        """Compile or link.

        Args:
            arguments: What follows the command.
            label: How to call the compiler in an error, for example ``the compiler for armhf``.
            error: Class of the errors.
            remedy: What the user can do when it fails, if there is anything.
            folder: Where it runs; by default where this process does.

        Raises:
            EdgesnnError: It does not start, it fails or it does not end; of the class ``error``.
        """
        run_tool([*self.command, *arguments], label=label, error=error, remedy=remedy, folder=folder)


def run_tool(
    command: Sequence[str],
    *,
    label: str,
    error: type[EdgesnnError],
    remedy: str | None = None,
    folder: Path | None = None,
) -> None:
    """Run a compiler, or a program that puts what it made on a board.

    Args:
        command: The program and its arguments.
        label: How to call it in an error.
        error: Class of the errors.
        remedy: What the user can do when it fails, if there is anything.
        folder: Where it runs; by default where this process does.

    Raises:
        EdgesnnError: It does not start, it fails or it does not end; of the class ``error``.
    """
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")), **os.environ}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise error(f"{label} did not end", limit=f"{BUILD_SECONDS} s", remedy=remedy) from None
    except OSError as problem:
        raise error(f"{label} failed: {problem}", actual=" ".join(command[:4]), remedy=remedy) from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = " | ".join(lines[:3])[:400] or f"exit code {done.returncode}"
        raise error(f"{label} failed: {said}", actual=" ".join(command[:4]), remedy=remedy)


def host_compiler(names: Sequence[str]) -> Compiler | None:
    """The compiler for this computer, or None.

    Args:
        names: Those to look for where no variable names one, the best first; ``zig`` is zig from PyPI.
    """
    named = named_compiler()
    if named is not None:
        return _installed([named[1]]) or _installed(named[1].split())  # a path may hold spaces
    candidates = (zig() if name == "zig" else _installed([name]) for name in names)
    return next((found for found in candidates if found is not None), None)


def named_compiler() -> tuple[str, str] | None:
    """The variable that names the compiler for this computer, and what it says; None where none does."""
    return next(((name, said) for name in VARIABLES if (said := os.environ.get(name, "").strip())), None)


def missing_host_compiler(names: Sequence[str]) -> str | None:
    """Why there is no compiler for this computer, or None; arguments as in `host_compiler`."""
    if host_compiler(names) is not None:
        return None
    named = named_compiler()
    return "no C compiler" if named is None else f"compiler '{named[1]}' of {named[0]} is not installed"


def cross_compiler(target: CompileTarget) -> Compiler | None:
    """The compiler for a target, or None; this computer's own gcc serves its own kind of processor."""
    own = ["gcc"] if target.name == platform.machine() else []
    for name in (f"{target.triplet}-gcc", *own):
        found = _installed([name, *target.gcc_flags])
        if found is not None:
            return found
    return None if target.zig is None else zig("-target", target.zig, *target.zig_flags)


def zig(*flags: str) -> Compiler | None:
    """The compiler zig from PyPI with some flags, or None where it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    name = f"zig {importlib.metadata.version('ziglang')}"
    # zig instruments C for undefined behaviour unless it is told not to, and that needs a library of its own
    flags = ("-fno-sanitize=undefined", *flags)
    return Compiler(name, (sys.executable, "-m", "ziglang", "cc", *flags), f"{name} {list(flags)}")


def fingerprint(compiler: Compiler, recipe: object, sources: Iterable[Path]) -> str:
    """Hex digits that change when the result of a compilation may.

    Args:
        compiler: What compiles.
        recipe: Everything else that decides, such as flags: its ``repr`` counts.
        sources: All files that are read.
    """
    processor = _processor() if "-march=native" in repr(recipe) else ""
    facts = (compiler.identity, platform.machine(), processor, recipe)
    digest = hashlib.sha256(repr(facts).encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def build_once(path: Path, make: Callable[[Path], Path], *, label: str, error: type[EdgesnnError]) -> Path:
    """Make a file of the cache if it is not there yet.

    It is made in a folder of its own and renamed into place under a lock: processes that start together make
    it once, and one that is interrupted leaves nothing that could be taken for the file.

    Args:
        path: The file; its name holds a `fingerprint`.
        make: Makes it inside the folder that it is given, and says where.
        label: How to call the file in an error.
        error: Class of the error.

    Returns:
        The same path.

    Raises:
        EdgesnnError: The folder cannot be written; of the class ``error``.
    """
    folder = path.parent
    try:
        if path.is_file():
            return path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked_file(folder / "lock"), ScratchFolder("build", folder) as scratch:
            if not path.is_file():
                make(scratch.path).replace(path)
    except OSError as problem:
        raise error(
            f"{label} cannot be kept in '{folder}': {problem.strerror or problem}",
            remedy="set EDGESNN_CACHE to a folder that can be written",
        ) from None
    return path


def _installed(command: Sequence[str]) -> Compiler | None:
    path = shutil.which(command[0])
    if path is None:
        return None
    real = Path(path).resolve()
    facts = real.stat()
    identity = f"{Path(path).name} {real} {facts.st_size} {facts.st_mtime_ns} {list(command[1:])}"
    return Compiler(Path(path).name, (path, *command[1:]), identity)


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = (system.PROC / "cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
