"""The data that ships with edgesnn: targets, profiles, student, templates, engine, firmware, Lava, web.

A wheel carries them inside the package (``edgesnn/_data``); in a source checkout they stand beside it.
What is made or fetched on this computer lies in the user's cache (`cache_folder`).
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from edgesnn import system
from edgesnn.errors import InternalError, OutputError

Kind = Literal["targets", "profiles", "reference", "templates", "engine", "dut", "lava", "web", "prebuilt"]
#: Kinds that every installation has; ``prebuilt``, the compiled engine, is in some wheels only.
KINDS: tuple[Kind, ...] = ("targets", "profiles", "reference", "templates", "engine", "dut", "lava", "web")

_PACKAGE = Path(__file__).parent
CACHE_VARIABLE = "EDGESNN_CACHE"
#: Files that stand for the student artifact or the bundle they lie in, beside ``student.*``.
_STANDS_FOR_FOLDER = {"metadata.json", "manifest.json", "program.snn"}
_WEIGHTS = ("student.safetensors", "student.pt")
#: Where a checkout keeps a kind, where it is not the folder of that name.
_CHECKOUT: dict[Kind, str] = {
    "engine": "firmware_bridge/engine",
    "dut": "firmware_bridge/dut",
    "lava": "firmware_bridge/lava",
    "web": "firmware_bridge/web",
}


def folder(kind: Kind) -> Path:
    """The folder of one kind of shipped data.

    Raises:
        InternalError: The installation lacks it.
    """
    for candidate in (_PACKAGE / "_data" / kind, _PACKAGE.parent / _CHECKOUT.get(kind, kind)):
        if candidate.is_dir():
            return candidate
    raise InternalError(
        f"this installation of edgesnn lacks its folder '{kind}'",
        remedy="install it again: pip install --force-reinstall --no-deps edgesnn",
    )


def files(kind: Kind, below: str = "") -> dict[str, Path]:
    """The TOML files of a kind by name (file name without ``.toml``), sorted.

    Args:
        kind: Kind of data.
        below: Folder inside it, for example ``devices``.

    Returns:
        Paths by name.
    """
    return {path.stem: path for path in sorted((folder(kind) / below).glob("*.toml"))}


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of a student artifact or a bundle, where a file in it may be named instead.

    ``student.pt`` and every other ``student.*``, ``program.snn``, ``metadata.json`` and ``manifest.json``
    stand for their folder. Weights that a folder does not hold stand for it where it is a bundle, or holds
    the same weights as the other file.

    Args:
        path: A folder, or a file in it.

    Returns:
        The folder; what stands for none comes back as it is.
    """
    given = Path(path)
    if given.is_file():
        stands = given.name in _STANDS_FOR_FOLDER or given.name.startswith("student.")
        return given.parent if stands else given
    if given.name in _WEIGHTS and not given.exists():
        others = ("manifest.json", *_WEIGHTS)
        return given.parent if any((given.parent / name).is_file() for name in others) else given
    return given


def cache_folder(name: str) -> Path:
    """A folder of the user's cache; it may not exist yet.

    The cache is ``EDGESNN_CACHE``, else the folder ``edgesnn`` where the system keeps caches of this user
    (``XDG_CACHE_HOME``, ``~/.cache``; ``~/Library/Caches``; ``%LOCALAPPDATA%``), else, where nothing can be
    written there, one of the user's own in the system's folder for temporary files.

    Args:
        name: What is kept in it.

    Raises:
        OutputError: There is no place that belongs to this user.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own) / name
    usual = _users_caches()
    if usual is not None and _can_be_written(usual / "edgesnn" / name):
        return usual / "edgesnn" / name
    return _temporary_cache() / name


def home() -> Path | None:
    """The user's home, or None where the system knows none."""
    with suppress(RuntimeError):
        return Path.home()
    return None


def _users_caches() -> Path | None:
    """Where the system keeps caches of this user, or None."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    if named.is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        return named
    return system.users_caches(home())


def _can_be_written(folder: Path) -> bool:
    """Whether a folder can be written, or made where it is not there yet."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _temporary_cache() -> Path:
    """This user's own folder beside others'; what lies in it is executed, so nobody else may write there."""
    user = system.user_id()
    named = os.environ.get("USERNAME", "user") if user is None else user
    folder = Path(tempfile.gettempdir()) / f"edgesnn-cache-{named}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    with suppress(OSError):
        facts = folder.lstat()
        safe = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if system.is_windows() or (safe and facts.st_uid == user):
            return folder
    raise OutputError(
        "there is no place for what is built on this computer",
        actual=f"the user's caches cannot be written, and '{folder}' is not this user's alone",
        remedy=f"set {CACHE_VARIABLE} to a folder that can be written",
    )
