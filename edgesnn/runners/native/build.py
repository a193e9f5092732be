"""The C engine as a shared library: compiled when it is first used, kept in the user's cache.

The library's file name holds a hash of the sources, the flags and the compiler, so an old one is never taken
for a new one.
"""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError
from edgesnn.toolchain import Compiler, build_once, fingerprint, host_compiler, missing_host_compiler

#: Sources of the engine in the order of compilation; ``snn_host.c`` is the part that knows a computer.
SOURCES = (
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
    "snn_host.c",
)
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
    if sys.platform == "win32":
        return "the native engine needs Linux or macOS"
    reason = missing_host_compiler(COMPILERS)
    return None if reason is None else f"{reason}: {_REMEDY}"


def engine_files() -> list[Path]:
    """Sources and headers of the engine: what a build of it reads."""
    folder = resources.folder("engine")
    rooms = (folder, folder / "cortex_m", folder / "frames")
    return [path for room in rooms for path in sorted(room.glob("snn*.[ch]"))]


def library() -> tuple[Path, Compiler]:
    """The shared library of the engine, built if it is not there yet.

    Returns:
        Its path and the compiler that made it.

    Raises:
        RunnerError: There is no compiler, it failed, or the cache cannot be written.
    """
    reason, compiler = missing(), host_compiler(COMPILERS)
    if reason is not None or compiler is None:
        raise RunnerError(f"the native engine cannot be built: {reason}", remedy=_REMEDY)
    sources = resources.folder("engine")
    key = fingerprint(compiler, (FLAGS, units()), engine_files())
    path = resources.cache_folder("engine") / f"snn-{key}.so"
    build_once(
        path, lambda work: _build(sources, compiler, work), label="the native engine", error=RunnerError
    )
    return path, compiler


def units() -> tuple[_Unit, ...]:
    """What is compiled on this machine: the kernels once for every instruction set that may be found."""
    made = [_Unit(source, (), Path(source).stem + ".o") for source in SOURCES]
    if platform.machine() in ("x86_64", "AMD64"):
        host = _Unit("snn_host.c", ("-DSNN_HAVE_AVX2", "-DSNN_HAVE_AVX512"), "snn_host.o")
        made = [
            *made[:-1],
            host,
            _Unit("snn_rough.c", AVX2, "snn_rough.o"),
            _Unit("snn_avx2.c", AVX2, "snn_avx2.o"),
            _Unit("snn_avx512.c", AVX512, "snn_avx512.o"),
        ]
    return tuple(made)


def _build(sources: Path, compiler: Compiler, work: Path) -> Path:
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
        list(pool.map(compile_one, units()))
    made = work / "engine.so"
    run("-shared", "-pthread", *(str(work / unit.object) for unit in units()), "-o", str(made))
    return made
