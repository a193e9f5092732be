"""Memory between steps: kept by the process, so that the system need not clear it anew at every step.

A step takes and frees some hundred megabytes in pieces that glibc by default maps and gives back each time;
every page of a fresh mapping is a fault and 4 kB of zeros: up to a tenth of the time of training on a CPU.
"""

from __future__ import annotations

import ctypes

from edgesnn import system

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of ``mallopt``, as ``malloc.h`` of glibc numbers them."""

_STEP_BYTES = 64 * 2**20
"""The heap grows by so many bytes at a time."""


def keep_freed_memory() -> bool:
    """From now on freed memory stays with this process until it ends; later allocations take it from there.

    Returns:
        Whether the C library can do that: glibc can, others are left as they are.
    """
    if not system.is_linux():
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _STEP_BYTES))
    return all(library.mallopt(ctypes.c_int(key), ctypes.c_int(value)) == 1 for key, value in settings)
