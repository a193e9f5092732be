"""Files that appear whole or not at all: a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from edgesnn.errors import OutputError
from edgesnn.scratch import ScratchFile


def replace_file(path: Path, content: bytes, *, to_disk: bool = True) -> None:
    """Write beside a file, then give it the file's name.

    Args:
        path: The file, in a folder that exists.
        content: All of it.
        to_disk: Whether to wait until the content would outlive a loss of power.

    Raises:
        OSError: It cannot be written; an older file is as it was, and nothing else stays.
    """
    with ScratchFile(path.name, path.parent) as scratch:
        with os.fdopen(scratch.handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            if to_disk:
                os.fsync(stream.fileno())
        os.chmod(scratch.path, 0o644)
        os.replace(scratch.path, path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and its folders where they are missing, by `replace_file`.

    Raises:
        OutputError: It cannot be written; an older file is as it was.
    """
    make_folder(path.parent)
    try:
        replace_file(path, content)
    except OSError as error:
        raise OutputError(
            f"cannot write '{path}'",
            actual=error.strerror or str(error),
            remedy="free space or name another folder; what was written before is as it was",
        ) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing.

    Raises:
        OutputError: It cannot be made, or is no folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create the folder '{path}'", actual=error.strerror or str(error)) from None
