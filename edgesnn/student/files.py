"""Writing files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from edgesnn.errors import OutputError


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside the file, flush to disk, rename.

    Raises:
        OutputError: The content could not be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write '{path.name}'",
            actual=error.strerror or str(error),
            remedy="free space or choose another --output-dir; what was written before is intact",
        ) from None


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        OutputError: It cannot be created, or is no directory.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot create the directory '{path}'", actual=error.strerror or str(error)
        ) from None
