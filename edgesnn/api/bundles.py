"""Opening bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesnn.api.progress import Progress, silent
from edgesnn.api.students import export_student, student_folder
from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.program.artifact import METADATA_NAME
from edgesnn.scratch import ScratchFolder


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every hash.

    Raises:
        BundleError: It is no bundle or breaks one of its promises.
    """
    return Bundle(path)


@contextmanager
def bundle_of(
    path: Path, on_progress: Progress = silent, formats: Sequence[str] = ("onnx",)
) -> Iterator[Bundle]:
    """A bundle at a path, or one made from the student artifact there and removed afterwards.

    Args:
        path: A bundle or a student artifact.
        on_progress: Told what happens.
        formats: What is exported of a student artifact.

    Yields:
        The bundle.
    """
    path = student_folder(path)
    if (path / MANIFEST_NAME).is_file() or not (path / METADATA_NAME).is_file():
        yield open_bundle(path)
        return
    with ScratchFolder("bundle") as scratch:
        yield export_student(
            path, scratch.path / "bundle", formats, name=path.resolve().name, on_progress=on_progress
        )
