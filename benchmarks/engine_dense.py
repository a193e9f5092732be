"""The dense competitor of ``engine.py``: builds ``dense/dense.c`` with the native runner's flags."""

from __future__ import annotations

import ctypes
import subprocess
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
    """One program with dense linear layers; all else as in the native engine's best kernel set.

    Args:
        data: The bytes of ``program.snn``.
        kernels: One of `dense_sets`.
        plain: With attention and readout as they were before running sums and a table that is read ahead.
    """

    def __init__(self, data: bytes, kernels: str, *, plain: bool = False) -> None:
        self.kernels = kernels
        self.plain = plain
        self._library = ctypes.CDLL(str(self._build()))
        self._library.dense_prefill.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        self._library.dense_step.argtypes = (ctypes.c_uint32, ctypes.c_void_p)
        if self._library.dense_open(data, ctypes.c_size_t(len(data)), ctypes.c_uint32(CHUNK)) != 0:
            raise SystemExit("the dense engine refused the program")
        self.step = self._library.dense_step

    def _build(self) -> Path:
        compiler, sources = host_compiler(native_build.COMPILERS), resources.folder("engine")
        if compiler is None:
            raise SystemExit("no C compiler")
        folder = Path(mkdtemp(prefix="edgesnn-dense-"))
        command = [*compiler.command, *native_build.FLAGS, f"-I{sources}"]
        wide = native_build.AVX512 if self.kernels == "avx512" else native_build.AVX2
        own = [f"-DBASE=snn_kernels_{self.kernels}", f"-DDENSE_{self.kernels.upper()}"]
        if self.plain:
            command += ["-DSNN_SUMS_MOST=0u"]
            own += ["-DDENSE_PLAIN"]
        units = [*native_build.units()]
        objects = []
        for unit in units:
            if unit.source == "snn_host.c":
                continue
            objects.append(folder / unit.object)
            subprocess.run(
                [*command, *self._flags(unit), "-c", sources / unit.source, "-o", objects[-1]], check=True
            )
        objects.append(folder / "dense.o")
        subprocess.run([*command, "-std=gnu11", *wide, *own, "-c", SOURCE, "-o", objects[-1]], check=True)
        subprocess.run([*compiler.command, "-shared", *objects, "-o", folder / "dense.so"], check=True)
        return folder / "dense.so"

    def _flags(self, unit: Any) -> tuple[str, ...]:
        """The portable vectors of the plain engine are compiled for AVX2, as that set once was."""
        return native_build.AVX2 if self.plain and unit.source == "snn_vector.c" else unit.flags

    def prefill(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """A prompt uint32 ``[length]`` from an empty context; logits int32 ``[vocab]`` of its last token."""
        self._library.dense_prefill(ids.ctypes.data, len(ids), logits.ctypes.data)

    def reset(self) -> None:
        """Forget everything."""
        self._library.dense_reset()
