"""Locks across processes: two runs never share a device or a meter.

A lock is a file in the user's runtime folder that the operating system releases when the process ends,
however it ends.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesnn.errors import DeviceError

FOLDER = "edgesnn-locks"


def lock_path(name: str) -> Path:
    """The file behind a lock: readable, and different for different names."""
    root = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60]
    return Path(root) / FOLDER / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock"


@contextmanager
def locked(name: str, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock.

    Args:
        name: What is locked, for example ``adb:SERIAL``.
        what: How to call it in the error, for example ``the device 'adb:SERIAL'``.
        wait_s: How long to wait for another process to let go of it.

    Raises:
        DeviceError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    path = lock_path(name)
    path.parent.mkdir(mode=0o777, parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise DeviceError(
            f"{what} is in use by another process of edgesnn",
            limit="one at a time" if not wait_s else f"waited {wait_s:g} s",
            remedy="wait for it, or end it",
        ) from None
    except OSError as error:
        raise DeviceError(f"{what} cannot be locked", actual=str(error), limit=str(path)) from error
    try:
        yield
    finally:
        lock.release()
