"""Opening bundles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesnn.api.options import Progress, silent
from edgesnn.api.students import export_student, student_folder
from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.errors import BundleError
from edgesnn.program.artifact import METADATA_NAME, read_metadata
from edgesnn.scratch import ScratchFolder
from edgesnn.v1_rule import why_no_program


def open_bundle(bundle: Bundle | str | os.PathLike[str]) -> Bundle:
    """Open a bundle and verify every hash.

    Args:
        bundle: Its folder; one that is open already is given back.

    Raises:
        BundleError: It is no bundle or breaks one of its promises; of a student of version 1.0 it says why.

    Examples:
        >>> bundle = edgesnn.open_bundle("bundle")
        >>> bundle
        <Bundle 'reference' in bundle: program ..., formats onnx>
    """
    if isinstance(bundle, Bundle):
        return bundle
    path = student_folder(bundle) if Path(bundle).is_file() else Path(bundle)
    if (path / METADATA_NAME).is_file() and not (path / MANIFEST_NAME).is_file():
        reason = why_no_program(read_metadata(path))
        if reason is not None:
            raise BundleError(
                f"'{path}' is a student, not a bundle, and {reason}",
                remedy="edgesnn export ARTIFACT -o BUNDLE writes ONNX that runs on the target cpu",
            )
    return Bundle(path)


@contextmanager
def bundle_of(
    model: Bundle | str | os.PathLike[str], on_progress: Progress = silent, formats: Sequence[str] = ("onnx",)
) -> Iterator[Bundle]:
    """A bundle as it is, or one made from a student artifact and removed afterwards.

    Args:
        model: A bundle, its folder, or a student artifact; ``reference`` is the one that ships with edgesnn.
        on_progress: Told what happens.
        formats: What is exported of a student artifact.

    Yields:
        The bundle.
    """
    if isinstance(model, Bundle):
        yield model
        return
    path = student_folder(model)
    if (path / MANIFEST_NAME).is_file() or not (path / METADATA_NAME).is_file():
        yield open_bundle(path)
        return
    with ScratchFolder("bundle") as scratch:
        yield export_student(
            path, scratch.path / "bundle", formats, name=path.resolve().name, on_progress=on_progress
        )
