"""Opening bundles, and making those of student artifacts once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from edgesnn.api.options import Progress, silent
from edgesnn.api.students import export_student, student_folder
from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.bundle.signature import VARIABLE, allowed_signers, require_signer
from edgesnn.errors import BundleError, OutputError
from edgesnn.locks import locked_file
from edgesnn.program.artifact import METADATA_NAME, read_metadata
from edgesnn.resources import cache_folder, model_folder
from edgesnn.scratch import ScratchFolder, hold, release, remove_unheld
from edgesnn.v1_rule import why_no_program

#: Bundles that are kept; the one that was not used for longest goes first.
KEPT = 8


def open_bundle(bundle: Bundle | str | os.PathLike[str]) -> Bundle:
    """Open a bundle and verify every hash.

    Args:
        bundle: Its folder, or a file of it; one that is open already is given back.

    Raises:
        BundleError: It is no bundle or breaks one of its promises; of a student of version 1.0 it says why;
            ``EDGESNN_ALLOWED_SIGNERS`` is set and nobody of that list signed it.

    Examples:
        >>> bundle = edgesnn.open_bundle("bundle")
        >>> bundle
        <Bundle 'reference' in bundle: program ..., formats onnx>
    """
    if isinstance(bundle, Bundle):
        return bundle
    path = model_folder(bundle)
    if (path / METADATA_NAME).is_file() and not (path / MANIFEST_NAME).is_file():
        reason = why_no_program(read_metadata(path))
        if reason is not None:
            raise BundleError(
                f"'{path}' is a student, not a bundle, and {reason}",
                remedy="edgesnn export ARTIFACT -o BUNDLE writes ONNX that runs on the target cpu",
            )
    signers = allowed_signers()
    opened = Bundle(path)
    if signers is not None:
        require_signer(opened, signers)
    return opened


@contextmanager
def bundle_of(
    model: Bundle | str | os.PathLike[str], on_progress: Progress = silent, formats: Sequence[str] = ("onnx",)
) -> Iterator[Bundle]:
    """A bundle as it is, or that of a student artifact, which is made once and kept in the user's cache.

    Args:
        model: A bundle, its folder, a student artifact, or a file of either; ``reference`` ships with
            edgesnn.
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
    if allowed_signers() is not None:
        raise BundleError(
            f"'{path}' is a student, which carries no signature",
            limit=f"a signed bundle ({VARIABLE} is set)",
            remedy="edgesnn export STUDENT -o BUNDLE, then edgesnn sign BUNDLE --key FILE",
        )
    with _kept_bundle(path, formats, on_progress) as bundle:
        yield bundle


@contextmanager
def _kept_bundle(artifact: Path, formats: Sequence[str], on_progress: Progress) -> Iterator[Bundle]:
    """The bundle of a student artifact: the one that is kept, if nothing it was made from has changed.

    It is known by a hash of the artifact's files, the formats, and edgesnn's own sources. Where the cache
    cannot be written, it is made anew and removed afterwards.

    Args:
        artifact: The artifact's folder.
        formats: What is exported.
        on_progress: Told what happens where it has to be made.

    Yields:
        The bundle, verified, which nobody removes meanwhile.
    """
    with ExitStack() as stack:
        try:
            folder = cache_folder("bundles")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = stack.enter_context(ExitStack())
            lock.enter_context(locked_file(folder / "lock"))
        except (OSError, OutputError):
            scratch = stack.enter_context(ScratchFolder("bundle"))
            yield _make(artifact, scratch.path / "bundle", formats, on_progress)
            return
        place = folder / _key(artifact, formats)
        try:
            bundle = Bundle(place)
        except BundleError:  # it is not there, or it was damaged
            shutil.rmtree(place, ignore_errors=True)
            bundle = _make(artifact, place, formats, on_progress)
            _forget_old(folder, place)
        stack.callback(release, hold(place))
        os.utime(place)
        lock.close()
        yield bundle


def _make(artifact: Path, place: Path, formats: Sequence[str], on_progress: Progress) -> Bundle:
    return export_student(artifact, place, formats, name=artifact.resolve().name, on_progress=on_progress)


def _key(artifact: Path, formats: Sequence[str]) -> str:
    """32 hex digits that change when the bundle may."""
    facts = (_sources(), np.__version__, artifact.resolve().name, sorted(formats))
    digest = hashlib.sha256(repr(facts).encode())
    for path in sorted(path for path in artifact.iterdir() if path.is_file()):
        digest.update(repr((path.name, path.stat().st_size)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


@cache
def _sources() -> str:
    """Hash of edgesnn's own Python files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _forget_old(folder: Path, newest: Path) -> None:
    """Remove what was not used for longest, unless somebody uses it."""
    kept = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT:]:
        if path != newest:
            remove_unheld(path)
