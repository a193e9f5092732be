"""The C engine as a shared library: compiled when it is first used, kept in the user's cache.

The library's file name holds a hash of the sources, the flags and the compiler, so an old one is never taken
for a new one. It is built in a folder of its own and renamed into place under a lock: two processes that
start together build it once, and an interrupted build leaves nothing that could be loaded.
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
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources
from edgesnn.errors import RunnerError

#: Sources of the engine in the order of compilation; ``snn_host.c`` is the part that knows a computer.
SOURCES = (
    "snn.c",
    "snn_ops.c",
    "snn_plan.c",
    "snn_reader.c",
    "snn_reference.c",
    "snn_run.c",
    "snn_state.c",
    "snn_swar.c",
    "snn_vector.c",
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
_REMEDY = "pip install ziglang, or install gcc or clang; or use another target, such as onnxruntime"
_BUILD_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler.

    Attributes:
        name: What it is, for records.
        command: How it is started.
        identity: Changes when the compiler does.
    """

    name: str
    command: tuple[str, ...]
    identity: str


@dataclass(frozen=True, slots=True)
class _Unit:
    source: str
    flags: tuple[str, ...]
    object: str


def find_compiler() -> Compiler | None:
    """The compiler to use: ``EDGESNN_CC`` where set, else zig from PyPI, else clang, gcc or cc."""
    wanted = os.environ.get("EDGESNN_CC")
    if wanted:
        return _installed(wanted)
    if importlib.util.find_spec("ziglang") is not None:
        version = importlib.metadata.version("ziglang")
        return Compiler(f"zig {version}", (sys.executable, "-m", "ziglang", "cc"), f"ziglang {version}")
    for name in ("clang", "gcc", "cc"):
        found = _installed(name)
        if found is not None:
            return found
    return None


def missing() -> str | None:
    """Why the engine cannot be built here, or None."""
    if sys.platform == "win32":
        return "the native engine needs Linux or macOS"
    if find_compiler() is None:
        wanted = os.environ.get("EDGESNN_CC")
        what = f"compiler '{wanted}' of EDGESNN_CC is not installed" if wanted else "no C compiler"
        return f"{what}: {_REMEDY}"
    return None


def cache_folder() -> Path:
    """The folder of built libraries: ``EDGESNN_CACHE``, else in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get("EDGESNN_CACHE")
    if own:
        return Path(own) / "engine"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgesnn" / "engine"


def library() -> tuple[Path, Compiler]:
    """The shared library of the engine, built if it is not there yet.

    Returns:
        Its path and the compiler that made it.

    Raises:
        RunnerError: There is no compiler, it failed, or the cache cannot be written.
    """
    reason, compiler = missing(), find_compiler()
    if reason is not None or compiler is None:
        raise RunnerError(f"the native engine cannot be built: {reason}", remedy=_REMEDY)
    sources, folder = resources.folder("engine"), cache_folder()
    target = folder / f"snn-{_fingerprint(sources, compiler)}.so"
    if not target.is_file():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder / "lock"):
                if not target.is_file():
                    _build(sources, compiler, folder, target)
        except OSError as error:
            raise RunnerError(
                f"the native engine cannot be kept in '{folder}': {error.strerror or error}",
                remedy="set EDGESNN_CACHE to a folder that can be written",
            ) from None
    return target, compiler


def units() -> tuple[_Unit, ...]:
    """What is compiled on this machine: the kernels once for every instruction set that may be found."""
    made = [_Unit(source, (), source.removesuffix(".c") + ".o") for source in SOURCES]
    if platform.machine() in ("x86_64", "AMD64"):
        host = _Unit("snn_host.c", ("-DSNN_HAVE_AVX2", "-DSNN_HAVE_AVX512"), "snn_host.o")
        avx2 = (
            "-DSNN_VECTOR_BYTES=32",
            "-DSNN_VECTOR_KERNELS=snn_kernels_avx2",
            '-DSNN_VECTOR_NAME="avx2"',
        )
        made = [
            *made[:-1],
            host,
            _Unit("snn_vector.c", (*avx2, *AVX2), "snn_avx2.o"),
            _Unit("snn_avx512.c", AVX512, "snn_avx512.o"),
        ]
    return tuple(made)


def _installed(name: str) -> Compiler | None:
    path = shutil.which(name)
    if path is None:
        return None
    real = Path(path).resolve()
    facts = real.stat()
    return Compiler(Path(path).name, (path,), f"{real} {facts.st_size} {facts.st_mtime_ns}")


def _fingerprint(sources: Path, compiler: Compiler) -> str:
    digest = hashlib.sha256(f"{compiler.identity} {platform.machine()} {FLAGS} {units()}".encode())
    for path in sorted((*sources.glob("*.c"), *sources.glob("*.h"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def _build(sources: Path, compiler: Compiler, folder: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)

        def compile_one(unit: _Unit) -> None:
            source = str(sources / unit.source)
            _run(
                [*compiler.command, *FLAGS, *unit.flags, "-c", source, "-o", str(work / unit.object)], folder
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, units()))
        made = work / "engine.so"
        objects = [str(work / unit.object) for unit in units()]
        _run([*compiler.command, "-shared", "-pthread", *objects, "-o", str(made)], folder)
        made.replace(target)


def _run(command: list[str], folder: Path) -> None:
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunnerError(
            "the compiler of the native engine did not end", limit=f"{_BUILD_SECONDS} s", remedy=_REMEDY
        ) from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RunnerError(
            f"the compiler of the native engine failed: {' | '.join(lines[:3])[:400]}",
            actual=" ".join(command[:4]),
            remedy="set EDGESNN_CC to another compiler",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
