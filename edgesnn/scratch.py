"""Temporary files and folders; the next run removes what a killed one left, and nothing that is alive.

Whoever works in one holds a shared lock on it (``flock``), which the kernel lets go of when the process ends,
however it ends. Its name says that it is ours and on which machine it was made, as a lock may not be seen
from another. So what has such a name of this machine, belongs to this user and is held by nobody is dead.
Each process looks once in every folder in which it makes something. Where there are no such locks (Windows,
some network file systems) nothing can be proven, and nothing is removed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from edgesnn import system
from edgesnn.closing import Closing

#: Stands in the names of all that is temporary, before `_machine` and eight random characters.
TAG = ".edgesnn-"
#: The same for what a new folder takes the place of: until then it is the only copy.
OLD_TAG = ".edgesnn-old-"
_OURS = re.compile(rf"\..*{re.escape(TAG)}([0-9a-f]{{6}})([0-9a-f]{{6}})[a-z0-9_]{{8}}", re.DOTALL)
_OLD = re.compile(rf"\.(.+){re.escape(OLD_TAG)}([0-9a-f]{{6}})([0-9a-f]{{6}})[0-9a-f]{{8}}", re.DOTALL)
#: Bytes of a name that stand before `TAG`: a file system takes 255 in all.
_NAME_KEPT = 100
_looked_in: set[object] = set()


class _Scratch(Closing):
    """What is held until it is closed.

    Attributes:
        path: Where it is.
    """

    def __init__(self, make: Callable[[str, str], str], name: str, place: Path) -> None:
        place = place.absolute()
        if place not in _looked_in:
            _looked_in.add(place)
            sweep(place)
        short = os.fsdecode(os.fsencode(name)[:_NAME_KEPT])
        while True:  # another process may find it before it is held, and take it for a dead one
            self.path = Path(make(f".{short}{TAG}{''.join(_machine())}", str(place)))
            with suppress(BlockingIOError):
                self._held = hold(self.path)
                if os.path.lexists(self.path):
                    return

    def close(self) -> None:
        """Remove it, unless it has another name by now."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        release(self._held)
        self._held = None


class ScratchFolder(_Scratch):
    """A folder for this user only, removed when it is closed.

    Args:
        name: What it is for; stands in its name.
        place: Where it is made; by default in the system's folder for temporary files.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, name: str, place: Path | None = None) -> None:
        super().__init__(
            lambda prefix, where: tempfile.mkdtemp(prefix=prefix, dir=where),
            name,
            Path(tempfile.gettempdir()) if place is None else place,
        )


class ScratchFile(_Scratch):
    """An empty file for this user only, removed when it is closed.

    Args:
        name: What it is for; stands in its name.
        place: Where it is made.

    Attributes:
        handle: Open for writing; the caller closes it.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, name: str, place: Path) -> None:
        self.handle = -1
        super().__init__(self._make, name, place)

    def _make(self, prefix: str, where: str) -> str:
        if self.handle >= 0:
            os.close(self.handle)
        self.handle, path = tempfile.mkstemp(prefix=prefix, dir=where)
        return path


def hold(path: Path) -> int | None:
    """Say that a file or folder is in use; `release` takes what is returned, None where nothing can be held.

    Raises:
        BlockingIOError: Somebody is about to remove it.
    """
    return system.lock(path, shared=True)


def release(held: int | None) -> None:
    """End a `hold`."""
    if held is not None:
        os.close(held)


def old_name(target: Path) -> Path:
    """A name beside a folder that it can have while another takes its place; `sweep` puts it back."""
    return target.with_name(f".{target.name}{OLD_TAG}{''.join(_machine())}{secrets.token_hex(4)}")


def sweep(folder: Path) -> None:
    """Remove what dead processes of this user left in a folder, and put back what they took away.

    Args:
        folder: Where to look, not below it.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            ours, old = _OURS.fullmatch(path.name), _OLD.fullmatch(path.name)
            if ours and _is_here(ours[1], ours[2]):
                remove_unheld(path)
            elif old and _is_here(old[2], old[3]):
                target = folder / old[1]
                if os.path.lexists(target):
                    remove_unheld(path)
                else:  # killed between two renames
                    with suppress(OSError):
                        path.rename(target)


def sweep_files(folder: Path, names: re.Pattern[str], *, older_s: float) -> None:
    """Remove empty files of this user that nobody holds or touched for so long; once a process.

    Args:
        folder: Where to look, not below it.
        names: What their names match.
        older_s: Seconds since they were touched.
    """
    if (folder, names) in _looked_in:
        return
    _looked_in.add((folder, names))
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if names.fullmatch(path.name):
                facts = path.lstat()
                if facts.st_size == 0 and time.time() - facts.st_mtime > older_s:
                    remove_unheld(path)


@cache
def _machine() -> tuple[str, str]:
    """Six digits each of this machine's name and of its start, which containers on it share."""
    name = platform.node().encode()
    try:
        boot = (system.PROC / "sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = name
    return hashlib.sha256(name).hexdigest()[:6], hashlib.sha256(boot).hexdigest()[:6]


def _is_here(name: str, start: str) -> bool:
    return name == _machine()[0] or start == _machine()[1]


def remove_unheld(path: Path) -> None:
    """Remove a file or folder that belongs to this user and is held by nobody, holding it meanwhile."""
    with suppress(OSError):  # it is alive, or gone by now
        held = system.lock(path, shared=False)
        if held is None:
            return
        try:
            if os.fstat(held).st_uid != system.user_id():
                return
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(held)
