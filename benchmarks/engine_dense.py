"""The dense competitor of ``engine.py``: builds ``dense/dense.c`` with the native runner's flags."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from edgesnn import resources
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import CHUNK, kernel_sets
from edgesnn.toolchain import host_compiler

SOURCE = Path(__file__).parent / "dense" / "dense.c"


def dense_sets() -> list[str]:
    """Instruction sets of this processor that the dense kernel is written for, best first."""
    return [name for name in ("avx512", "avx2") if name in kernel_sets()]


class DenseEngine:
    """One program with dense linear layers; all else as in the native engine's kernel set.

    Args:
        data: The bytes of ``program.snn``.
        kernels: One of `dense_sets`.
        plain: With attention and readout as they were before running sums and a table that is read ahead.
        dense: False for the engine's own linear layers, to be timed alone.
        timed: Whether the time in linear layers is kept for `linear_us`.
    """

    def __init__(
        self, data: bytes, kernels: str, *, plain: bool = False, dense: bool = True, timed: bool = False
    ) -> None:
        self.kernels = kernels
        self._library = _load(kernels, plain)
        self._engine = self._library.dense_open(data, len(data), CHUNK, dense, timed)
        if self._engine < 0:
            raise SystemExit("the dense engine refused the program")

    def step(self, token: int, logits: int) -> None:
        """One token; ``logits`` is the address of int32 ``[vocab]``."""
        self._library.dense_step(self._engine, token, logits)

    def linear_us(self) -> float:
        """Microseconds in timed linear layers of this kernel set since this was asked last."""
        return float(self._library.dense_linear_ns()) / 1e3

    def prefill(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """A prompt uint32 ``[length]`` from an empty context; logits int32 ``[vocab]`` of its last token."""
        self._library.dense_prefill(self._engine, ids.ctypes.data, len(ids), logits.ctypes.data)

    def reset(self) -> None:
        """Forget everything."""
        self._library.dense_reset(self._engine)


@cache
def _load(kernels: str, plain: bool) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(_build(kernels, plain)))
    at, size, u32 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
    loaded.dense_open.argtypes = (ctypes.c_char_p, size, u32, ctypes.c_int, ctypes.c_int)
    loaded.dense_step.argtypes = (ctypes.c_int, u32, at)
    loaded.dense_prefill.argtypes = (ctypes.c_int, at, size, at)
    loaded.dense_linear_ns.restype = ctypes.c_uint64
    return loaded


def _build(kernels: str, plain: bool) -> Path:
    compiler, sources = host_compiler(native_build.COMPILERS), resources.folder("engine")
    if compiler is None:
        raise SystemExit("no C compiler")
    folder = Path(mkdtemp(prefix="edgesnn-dense-"))
    command = [*compiler.command, *native_build.FLAGS, f"-I{sources}"]
    wide = native_build.AVX512 if kernels == "avx512" else native_build.AVX2
    own = [f"-DBASE=snn_kernels_{kernels}", f"-DDENSE_{kernels.upper()}"]
    if plain:
        command, own = [*command, "-DSNN_SUMS_MOST=0u"], [*own, "-DDENSE_PLAIN"]
    objects = []
    for unit in native_build.units(platform.machine()):
        if unit.source == "snn_host.c":
            continue
        objects.append(folder / unit.object)
        flags = _flags(unit, plain)
        subprocess.run([*command, *flags, "-c", sources / unit.source, "-o", objects[-1]], check=True)
    objects.append(folder / "dense.o")
    subprocess.run([*command, "-std=gnu11", *wide, *own, "-c", SOURCE, "-o", objects[-1]], check=True)
    subprocess.run([*compiler.command, "-shared", *objects, "-o", folder / "dense.so"], check=True)
    return folder / "dense.so"


def _flags(unit: Any, plain: bool) -> tuple[str, ...]:
    """The portable vectors of the plain engine are compiled for AVX2, as that set once was."""
    return native_build.AVX2 if plain and unit.source == "snn_vector.c" else tuple(unit.flags)
