"""Writing folders so that they appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesnn.errors import OutputError
from edgesnn.scratch import ScratchFolder, hold, old_name, release


@contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside the target that takes its place when the body succeeds.

    Args:
        target: The folder to make.
        overwrite: Whether an existing folder is replaced.

    Yields:
        The temporary folder, on the same file system.

    Raises:
        OutputError: The target exists, or cannot be written.
    """
    if target.exists() and not overwrite:
        raise OutputError(f"'{target}' exists already", remedy="name another folder or give --force")
    if target.exists() and not target.is_dir():
        raise OutputError(f"'{target}' is not a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = ScratchFolder(target.name, target.parent)
    except OSError as error:
        raise OutputError(f"cannot write '{target}': {error.strerror or error}") from None
    temporary = scratch.path
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            _exchange(temporary, target)
        else:
            temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write '{target}': {error.strerror or error}") from error
    finally:
        scratch.close()


def _exchange(new: Path, target: Path) -> None:
    """Put a folder in the place of another, or leave that one where it was."""
    old, held = old_name(target), hold(target)
    try:
        target.replace(old)
        try:
            new.replace(target)
        except OSError:
            old.replace(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
        release(held)
