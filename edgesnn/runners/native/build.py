"""The C engine as a shared library: the wheel's own, or compiled when it is first used and kept in the cache.

The library's file name holds a hash of what it was made from (sources, flags, and in the cache the compiler),
so an old one is never taken for a new one.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources, system
from edgesnn.errors import InternalError, RunnerError
from edgesnn.firmware import ENGINE_SOURCES, engine_files
from edgesnn.toolchain import (
    Compiler,
    build_once,
    fingerprint,
    host_compiler,
    missing_host_compiler,
    named_compiler,
)

#: Sources of the engine in the order of compilation; ``snn_host.c`` is the part that knows a computer.
SOURCES = (*ENGINE_SOURCES, "snn_host.c")
#: Flags of every compilation, and of those for an instruction set.
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Wextra")
AVX2 = ("-mavx2", "-mpopcnt", "-mbmi", "-mbmi2")
AVX512 = (
    *AVX2,
    "-mavx512f",
    "-mavx512bw",
    "-mavx512vl",
    "-mavx512dq",
    "-mavx512vbmi",
    "-mavx512vbmi2",
    "-mavx512vnni",
    "-mavx512bitalg",
    "-mavx512vpopcntdq",
)
#: Compilers that build it, the best first.
COMPILERS = ("zig", "clang", "gcc", "cc")
_REMEDY = (
    "apt install gcc, or pip install ziglang, or name a compiler with EDGESNN_CC; "
    "or use another target, such as onnxruntime"
)


@dataclass(frozen=True, slots=True)
class _Unit:
    source: str
    flags: tuple[str, ...]
    object: str


def missing() -> str | None:
    """Why the engine cannot be built here, or None."""
    if system.is_windows():
        return "the native engine needs Linux or macOS"
    reason = None if prebuilt() is not None else missing_host_compiler(COMPILERS)
    return None if reason is None else f"{reason}: {_REMEDY}"


def prebuilt() -> Path | None:
    """The library that this wheel carries for this kind of processor, or None.

    A compiler that ``EDGESNN_CC`` or ``CC`` names is preferred to it.
    """
    if named_compiler() is not None or not system.is_linux():
        return None
    try:
        path = resources.folder("prebuilt") / prebuilt_name(platform.machine())
    except InternalError:  # a checkout, or a wheel without one
        return None
    return path if path.is_file() else None


def prebuilt_name(machine: str) -> str:
    """File name of the library that is made from these sources for a kind of processor (``uname -m``)."""
    digest = hashlib.sha256(repr((FLAGS, units(machine))).encode())
    for path in sorted(engine_files()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"snn-{machine}-{digest.hexdigest()[:24]}.so"


def library() -> tuple[Path, Compiler]:
    """The shared library of the engine, built if it is not there yet.

    Returns:
        Its path and the compiler that made it.

    Raises:
        RunnerError: There is no compiler, it failed, or the cache cannot be written.
    """
    if (carried := prebuilt()) is not None:
        return carried, Compiler("the wheel's", (), carried.stem)
    reason, compiler = missing(), host_compiler(COMPILERS)
    if reason is not None or compiler is None:
        raise RunnerError(f"the native engine cannot be built: {reason}", remedy=_REMEDY)
    sources = resources.folder("engine")
    made_of = units(platform.machine())
    key = fingerprint(compiler, (FLAGS, made_of), engine_files())
    path = resources.cache_folder("engine") / f"snn-{key}.so"
    build_once(
        path,
        lambda work: build(sources, made_of, compiler, work),
        label="the native engine",
        error=RunnerError,
    )
    return path, compiler


def units(machine: str) -> tuple[_Unit, ...]:
    """What is compiled for a kind of processor: the kernels once for every instruction set it may have."""
    made = [_Unit(source, (), Path(source).stem + ".o") for source in SOURCES]
    if machine in ("x86_64", "AMD64"):
        host = _Unit("snn_host.c", ("-DSNN_HAVE_AVX2", "-DSNN_HAVE_AVX512"), "snn_host.o")
        made = [
            *made[:-1],
            host,
            _Unit("snn_rough.c", AVX2, "snn_rough.o"),
            _Unit("snn_avx2.c", AVX2, "snn_avx2.o"),
            _Unit("snn_avx512.c", AVX512, "snn_avx512.o"),
        ]
    return tuple(made)


def build(sources: Path, made_of: Sequence[_Unit], compiler: Compiler, work: Path) -> Path:
    """Compile and link the library.

    Args:
        sources: Folder of the engine.
        made_of: What is compiled.
        compiler: By what.
        work: Folder for what is made.

    Returns:
        The library, in that folder.

    Raises:
        RunnerError: The compiler fails.
    """

    def run(*arguments: str) -> None:
        compiler.run(
            arguments,
            label="the compiler of the native engine",
            error=RunnerError,
            remedy="set EDGESNN_CC to another compiler",
        )

    def compile_one(unit: _Unit) -> None:
        run(*FLAGS, *unit.flags, "-c", str(sources / unit.source), "-o", str(work / unit.object))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, made_of))
    made = work / "engine.so"
    run("-shared", "-pthread", *(str(work / unit.object) for unit in made_of), "-o", str(made))
    return made
