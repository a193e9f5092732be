"""The data that ships with edgesnn: targets, profiles, reference student, CI templates, C engine, Lava.

A wheel carries them inside the package (``edgesnn/_data``); in a source checkout they stand beside it.
What is made or fetched on this computer lies in the user's cache (`cache_folder`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edgesnn.errors import InternalError

Kind = Literal["targets", "profiles", "reference", "templates", "engine", "lava"]
KINDS: tuple[Kind, ...] = ("targets", "profiles", "reference", "templates", "engine", "lava")

_PACKAGE = Path(__file__).parent
#: Where a checkout keeps a kind, where it is not the folder of that name.
_CHECKOUT: dict[Kind, str] = {"engine": "firmware_bridge/engine", "lava": "firmware_bridge/lava"}


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


def cache_folder(name: str) -> Path:
    """A folder of the user's cache; it may not exist yet.

    The cache is ``EDGESNN_CACHE``, else ``edgesnn`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Args:
        name: What is kept in it.
    """
    own = os.environ.get("EDGESNN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "edgesnn") / name
