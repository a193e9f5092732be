"""The program ``snn_remote`` for a device's processor: a static binary, built when it is first used.

It is compiled from ``engine/`` and ``engine/remote/`` and kept in the user's cache under a name that holds a
hash of sources, flags and compiler.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError
from edgesnn.firmware import engine_files
from edgesnn.runners.native.build import SOURCES
from edgesnn.toolchain import TARGETS, build_once, cross_compiler, fingerprint

#: Names a ready binary in place of one that is built here.
BINARY_VARIABLE = "EDGESNN_REMOTE_BINARY"
#: Processors the engine is built for, by name.
MACHINES = ("aarch64", "armhf", "riscv64", "x86_64")
REMOTE_SOURCES = ("main.c", "frames.c", "sha256.c", "device.c", "folder.c")
FLAGS = ("-std=gnu99", "-O3", "-static", "-fno-strict-aliasing", "-Wall", "-Wextra")
_ELF_MACHINE_AT = 18  # e_machine of an ELF header, u16 (System V ABI, both classes)


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
    if os.environ.get(BINARY_VARIABLE) or any(cross_compiler(TARGETS[name]) for name in MACHINES):
        return None
    return f"no compiler for a device: {_remedy('aarch64')}"


def find_binary(machine: str) -> Binary:
    """The program for a processor: what ``EDGESNN_REMOTE_BINARY`` names, else from the cache, else built now.

    Args:
        machine: A name in `MACHINES`.

    Raises:
        RunnerError: The named file is no program for this processor, there is no compiler, or it failed.
    """
    given = os.environ.get(BINARY_VARIABLE)
    if given:
        return _prebuilt(Path(given), machine)
    compiler = cross_compiler(TARGETS[machine])
    if compiler is None:
        raise RunnerError(f"there is no compiler for {machine}", remedy=_remedy(machine))
    engine = resources.folder("engine")
    remote = engine / "remote"
    sources = [engine / name for name in SOURCES if name != "snn_host.c"]
    sources += [remote / name for name in REMOTE_SOURCES]
    key = fingerprint(compiler, FLAGS, [*sources, *engine_files(), *remote.glob("*.h")])

    def make(work: Path) -> Path:
        made = work / "snn_remote"
        compiler.run(
            [*FLAGS, *map(str, sources), "-o", str(made)],
            label=f"the compiler for {machine}",
            error=RunnerError,
            remedy=f"set {BINARY_VARIABLE} to a ready binary",
        )
        return made

    path = resources.cache_folder("remote") / f"snn_remote-{machine}-{key}"
    build_once(path, make, label="the program for the device", error=RunnerError)
    return Binary(path, machine, compiler.name, hashlib.sha256(path.read_bytes()).hexdigest())


def _remedy(machine: str) -> str:
    return f"{TARGETS[machine].remedy()}, or set {BINARY_VARIABLE} to a ready binary"


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
    return next(
        (name for name in MACHINES if (TARGETS[name].elf, TARGETS[name].bits) == (number, bits)), None
    )
