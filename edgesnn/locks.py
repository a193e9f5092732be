"""Locks across processes: files that the operating system releases when a process ends, however it ends.

`locked` is for what the users of a machine share, such as a device. Its files lie in ``/tmp/edgesnn-locks``,
where every user can make files and nobody can remove another's (mode 1777, like ``/tmp``). ``EDGESNN_LOCKS``
names a place other than ``/tmp``; it must be the same for all users, which ``TMPDIR`` often is not.
`locked_file` is for a user's own folders, such as a cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgesnn import system
from edgesnn.errors import DeviceError
from edgesnn.scratch import ScratchFile, ScratchFolder, sweep_files

VARIABLE = "EDGESNN_LOCKS"
_FOLDER_MODE, _FILE_MODE = 0o1777, 0o666
_FILE = re.compile(r".*-[0-9a-f]{8}\.lock")
#: A lock's file goes when nobody has used it for so long.
_UNUSED_S = 24 * 3600.0
#: Whoever looks whether a file can go holds it that long at most: a lock that is taken once waits for it.
_LOOK_S = 0.2


def lock_path(name: str) -> Path:
    """The file behind a lock: readable, and different for different names."""
    root = os.environ.get(VARIABLE) or system.meeting_place()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60]
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return Path(root) / "edgesnn-locks" / f"{readable}-{digest}.lock"


@contextmanager
def locked(name: str, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock that is shared by all users of this machine.

    Args:
        name: What is locked, for example ``adb:SERIAL``.
        what: How to call it in the error, for example ``the device 'adb:SERIAL'``.
        wait_s: How long to wait for another process to let go of it.

    Raises:
        DeviceError: Another process holds it, or the folder of the locks cannot be used.
    """
    from filelock import FileLock, Timeout

    path = lock_path(name)
    lock = FileLock(path, mode=_FILE_MODE)  # opens what is there, and follows no link
    try:
        _provide(path)
        lock.acquire(timeout=max(wait_s, _LOOK_S))
        with suppress(OSError):
            os.utime(path)  # it is in use
    except Timeout:
        raise DeviceError(
            f"{what} is in use by another process of edgesnn",
            limit="one at a time" if not wait_s else f"waited {wait_s:g} s",
            remedy="wait for it, or end it",
        ) from None
    except (OSError, NotImplementedError) as error:
        raise DeviceError(
            f"{what} cannot be locked",
            actual=str(error),
            limit=str(path),
            remedy=f"let the owner of '{path.parent}' run chmod 1777 on it or remove what is in the way, or "
            f"set {VARIABLE} to another folder, the same for all users of this machine",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a lock of the user's own, a file in a folder that exists; wait until it is free.

    Raises:
        OSError: The file cannot be made.
    """
    from filelock import FileLock

    with FileLock(path, mode=0o600):
        yield


def _provide(path: Path) -> None:
    """Make the folder and the file of a lock, both with their final mode from the first moment.

    A mode that is asked for is cut by the umask, and one that is set comes too late for a user who looks in
    between: both are made under another name first.

    Raises:
        OSError: The folder is a link, or not for all users.
    """
    folder = path.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    if system.is_windows():
        folder.mkdir(exist_ok=True)
        return
    if not os.path.lexists(folder):
        with ScratchFolder("locks", folder.parent) as made, suppress(OSError):
            made.path.chmod(_FOLDER_MODE)
            made.path.rename(folder)  # it fails where another process was faster, which is as good
    _check_folder(folder)
    sweep_files(folder, _FILE, older_s=_UNUSED_S)
    if not os.path.lexists(path):
        with ScratchFile("lock", folder) as file, os.fdopen(file.handle), suppress(FileExistsError):
            file.path.chmod(_FILE_MODE)
            os.link(file.path, path)


def _check_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(handle)
        if not facts.st_mode & stat.S_ISVTX and facts.st_uid == system.user_id():
            os.fchmod(handle, _FOLDER_MODE)  # made when nobody thought of other users
        elif not facts.st_mode & stat.S_ISVTX or not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("the folder of the locks is not for all users")
    finally:
        os.close(handle)
