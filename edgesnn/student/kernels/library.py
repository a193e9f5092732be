"""The C library of the kernels: built once with the system's C compiler, called through ctypes.

``EDGESNN_KERNEL=torch`` switches it off; every kernel then is torch's.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from edgesnn.errors import EdgesnnError, TrainingError
from edgesnn.resources import cache_folder
from edgesnn.toolchain import build_once, fingerprint, host_compiler

FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
)
COMPILERS = ("cc", "gcc", "clang")

_HEADER = "floats.h"
SOURCES = ("fused_lif.c", "fused_loss.c", "fused_attention.c")

NAMES = {torch.float32: "f32", torch.bfloat16: "b16"}
"""Types of floats that the kernels read and write, as their functions are named."""


def build() -> Path | None:
    """Compile the kernels, or find what an earlier call compiled, in the user's cache.

    Returns:
        The library, or None where there is no compiler, it fails, or there is no place to write.
    """
    compiler = host_compiler(COMPILERS)
    folder = Path(__file__).parent
    sources = [folder / name for name in SOURCES]
    if compiler is None or not all(path.is_file() for path in [*sources, folder / _HEADER]):
        return None

    def make(work: Path) -> Path:
        made = work / "kernels.so"
        arguments = [*FLAGS, *map(str, sources), "-o", str(made), "-lm"]
        compiler.run(arguments, label="the compiler of the kernels", error=TrainingError)
        return made

    name = f"kernels-{fingerprint(compiler, FLAGS, [*sources, folder / _HEADER])}.so"
    try:
        path = cache_folder("student") / name
        return build_once(path, make, label="the kernels of the student", error=TrainingError)
    except EdgesnnError:
        return None


@cache
def compiled_library() -> ctypes.CDLL | None:
    """The library, or None where torch serves."""
    if os.environ.get("EDGESNN_KERNEL") == "torch":
        return None
    path = build()
    if path is None:
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def serving(tensor: Tensor) -> ctypes.CDLL | None:
    """The library where it serves tensors of this device and type, else None."""
    return compiled_library() if tensor.device.type == "cpu" and tensor.dtype in NAMES else None


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a contiguous tensor's values lie; None is the null pointer."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def integer(value: int) -> ctypes.c_int64:
    """A size or an index."""
    return ctypes.c_int64(value)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="edgesnn-kernels")


def split(count: int, least: int) -> list[tuple[int, int]]:
    """Ranges of rows, one per thread; they depend on the counts and torch's number of threads only.

    Args:
        count: All rows.
        least: Fewer rows than this are not worth a thread.
    """
    parts = max(1, min(torch.get_num_threads(), count // least))
    edges = [count * i // parts for i in range(parts + 1)]
    return list(zip(edges, edges[1:], strict=False))


def spread(least: int, count: int, call: Callable[[int, int, int], int]) -> None:
    """Run ``call(part, first, last)`` over all rows; ctypes lets other threads run meanwhile.

    Raises:
        MemoryError: A call had no memory for its scratch rows.
    """
    ranges = split(count, least)
    if len(ranges) == 1:
        codes = [call(0, *ranges[0])]
    else:
        futures = [_pool(len(ranges)).submit(call, i, *r) for i, r in enumerate(ranges)]
        codes = [future.result() for future in futures]
    if any(codes):
        raise MemoryError("no memory for the scratch rows of a kernel")
