"""The program ``snn_remote`` for a device's processor: a static binary, built when it is first used.

It is compiled from ``engine/`` and ``engine/remote/`` by Debian's cross gcc or by zig from PyPI and kept in
the user's cache under a name that holds a hash of sources, flags and compiler. It is built in a folder of its
own and renamed into place: an interrupted build leaves nothing that could be taken for a program.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError
from edgesnn.runners.native.build import SOURCES, cache_folder

#: Names a ready binary in place of one that is built here.
BINARY_VARIABLE = "EDGESNN_REMOTE_BINARY"
REMOTE_SOURCES = ("main.c", "frames.c", "sha256.c", "device.c", "folder.c")
FLAGS = ("-std=gnu99", "-O3", "-static", "-fno-strict-aliasing", "-Wall", "-Wextra")
_BUILD_SECONDS = 600
_ELF_MACHINE_AT = 18  # e_machine of an ELF header, u16 (System V ABI, both classes)


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of processor.

    Attributes:
        gcc: Debian's compiler.
        package: Debian's package of it.
        gcc_flags: What gcc needs besides.
        zig: Name of the target for zig.
        zig_flags: What zig needs besides.
        elf: ``e_machine`` of its ELF files.
        bits: Size of its addresses.
    """

    gcc: str
    package: str
    gcc_flags: tuple[str, ...]
    zig: str
    zig_flags: tuple[str, ...]
    elf: int
    bits: int


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that can be pushed to a device.

    Attributes:
        path: Where it is.
        machine: Name in `MACHINES`.
        compiler: What made it.
        sha256: Its hash, hex.
    """

    path: Path
    machine: str
    compiler: str
    sha256: str


#: Processors by name. ELF numbers: the System V ABI supplements of each.
MACHINES = {
    "aarch64": Machine(
        "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", (), "aarch64-linux-musl", (), 183, 64
    ),
    # zig names the floating-point unit by processor; its default for armhf has NEON's 16 bytes off.
    "armhf": Machine(
        "arm-linux-gnueabihf-gcc",
        "gcc-arm-linux-gnueabihf",
        ("-mfpu=neon",),
        "arm-linux-musleabihf",
        ("-mcpu=cortex_a7",),
        40,
        32,
    ),
    "riscv64": Machine(
        "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu", (), "riscv64-linux-musl", (), 243, 64
    ),
    "x86_64": Machine(
        "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu", (), "x86_64-linux-musl", ("-mcpu=x86_64",), 62, 64
    ),
}
#: Android's names (``ro.product.cpu.abi``) and those of ``uname -m``.
ALIASES = {
    "arm64-v8a": "aarch64",
    "arm64": "aarch64",
    "armeabi-v7a": "armhf",
    "armv7l": "armhf",
    "armv8l": "armhf",
    "amd64": "x86_64",
}


def machine_named(name: str) -> str:
    """The name in `MACHINES` of what a device calls its processor.

    Raises:
        RunnerError: The engine is not built for it.
    """
    machine = ALIASES.get(name, name)
    if machine not in MACHINES:
        raise RunnerError(
            "the engine is not built for this processor", actual=name, limit=", ".join(MACHINES)
        )
    return machine


def missing() -> str | None:
    """Why no program for any device can be had here, or None."""
    if os.environ.get(BINARY_VARIABLE) or any(_compiler(name) is not None for name in MACHINES):
        return None
    return f"no compiler for a device: {_remedy('aarch64')}"


def find_binary(machine: str) -> Binary:
    """The program for a processor: what ``EDGESNN_REMOTE_BINARY`` names, else from the cache, else built now.

    Args:
        machine: A name in `MACHINES`.

    Raises:
        RunnerError: The named file is no program for this processor, there is no compiler, or it failed.
    """
    path = os.environ.get(BINARY_VARIABLE)
    if path:
        return _prebuilt(Path(path), machine)
    found = _compiler(machine)
    if found is None:
        raise RunnerError(f"there is no compiler for {machine}", remedy=_remedy(machine))
    name, command, identity = found
    engine, folder = resources.folder("engine"), cache_folder().parent / "remote"
    target = folder / f"snn_remote-{machine}-{_fingerprint(engine, identity)}"
    if not target.is_file():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _build(engine, command, folder, target, machine)
        except OSError as error:
            raise RunnerError(
                f"the program for the device cannot be kept in '{folder}': {error.strerror or error}",
                remedy="set EDGESNN_CACHE to a folder that can be written",
            ) from None
    return Binary(target, machine, name, hashlib.sha256(target.read_bytes()).hexdigest())


def _remedy(machine: str) -> str:
    package = MACHINES[machine].package
    return f"apt install {package}, or pip install ziglang, or set {BINARY_VARIABLE} to a ready binary"


def _compiler(machine: str) -> tuple[str, tuple[str, ...], str] | None:
    """Name, command and identity of the compiler for a processor, or None."""
    kind = MACHINES[machine]
    names = [kind.gcc]
    if machine == platform.machine():
        names.append("gcc")
    for name in names:
        path = shutil.which(name)
        if path is not None:
            real = Path(path).resolve()
            facts = real.stat()
            return name, (path, *kind.gcc_flags), f"{real} {facts.st_size} {facts.st_mtime_ns}"
    if importlib.util.find_spec("ziglang") is not None:
        version = importlib.metadata.version("ziglang")
        command = (sys.executable, "-m", "ziglang", "cc", "-target", kind.zig, *kind.zig_flags)
        return f"zig {version}", (*command, "-fno-sanitize=undefined"), f"ziglang {version}"
    return None


def _sources(engine: Path) -> list[Path]:
    own = [engine / name for name in SOURCES if name != "snn_host.c"]
    return own + [engine / "remote" / name for name in REMOTE_SOURCES]


def _fingerprint(engine: Path, identity: str) -> str:
    digest = hashlib.sha256(f"{identity} {FLAGS} {MACHINES}".encode())
    for path in sorted((*_sources(engine), *engine.glob("*.h"), *(engine / "remote").glob("*.h"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def _build(engine: Path, command: tuple[str, ...], folder: Path, target: Path, machine: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        made = Path(name) / "snn_remote"
        sources = [str(path) for path in _sources(engine)]
        try:
            done = subprocess.run(
                [*command, *FLAGS, *sources, "-o", str(made)],
                capture_output=True,
                text=True,
                env={"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), **os.environ},
                timeout=_BUILD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunnerError(
                f"the compiler for {machine} did not end", limit=f"{_BUILD_SECONDS} s"
            ) from None
        if done.returncode != 0 or not made.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise RunnerError(
                f"the compiler for {machine} failed: {' | '.join(lines[:3])[:400]}",
                actual=" ".join(command[:4]),
                remedy=f"set {BINARY_VARIABLE} to a ready binary",
            )
        made.replace(target)


def _prebuilt(path: Path, machine: str) -> Binary:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunnerError(
            f"the program for the device cannot be read: '{path.name}'", actual=error.strerror
        ) from None
    found = _elf_machine(data)
    if found != machine:
        raise RunnerError(
            f"'{path.name}' is no program for this device",
            actual=found or "no ELF file of a known processor",
            limit=machine,
            remedy="name the binary of the device's processor, or none to have it built",
        )
    return Binary(path, machine, "given by the user", hashlib.sha256(data).hexdigest())


def _elf_machine(data: bytes) -> str | None:
    if len(data) < _ELF_MACHINE_AT + 2 or data[:4] != b"\x7fELF" or data[5] != 1:
        return None
    (number,) = struct.unpack_from("<H", data, _ELF_MACHINE_AT)
    bits = {1: 32, 2: 64}.get(data[4])
    return next((name for name, kind in MACHINES.items() if (kind.elf, kind.bits) == (number, bits)), None)
