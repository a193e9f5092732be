"""Students whose files are named one by one: weights, metadata, and the one file that is wanted of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesnn.api.options import Progress, silent
from edgesnn.api.students import export_student, student_folder
from edgesnn.api.v1.exporting import V1ExportOptions
from edgesnn.bundle.bundle import EVAL_NAME, TOKENIZER_NAME, Bundle
from edgesnn.errors import ArtifactError, UsageError
from edgesnn.program.artifact import METADATA_NAME, TENSORS_NAME
from edgesnn.scratch import ScratchFolder
from edgesnn.whole_files import write_whole

#: The format that a file is meant to have by the end of its name; the longest end that fits counts.
SUFFIXES = {".onnx": "onnx", ".tflite": "tflite", ".torchscript.pt": "torchscript", ".snn": "c"}


@contextmanager
def student_with_metadata(
    model: str | os.PathLike[str], metadata: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """The folder of a student whose ``metadata.json`` may lie elsewhere.

    Args:
        model: The student; its weights file where the metadata lies elsewhere.
        metadata: Its metadata, or None where it lies beside the model.

    Yields:
        The student's folder, or one that joins the two until the context ends.

    Raises:
        ArtifactError: Weights or metadata are missing.
    """
    folder = student_folder(model)
    if metadata is None or Path(metadata).resolve() == (folder / METADATA_NAME).resolve():
        yield folder
        return
    weights, text = Path(model), Path(metadata)
    for path in (weights, text):
        if not path.is_file():
            raise ArtifactError(
                f"there is no file '{path}'",
                limit="a weights file, where its metadata lies elsewhere",
            )
    with ScratchFolder("student") as scratch:
        made = scratch.path / (weights.parent.resolve().name or "student")
        made.mkdir()
        shutil.copyfile(weights, made / f"student{weights.suffix}")
        shutil.copyfile(text, made / METADATA_NAME)
        for name in (TENSORS_NAME, TOKENIZER_NAME, EVAL_NAME):  # what needs no torch is read first
            places = [folder / name for folder in (weights.parent, text.parent)]
            found = next((place for place in places if place.is_file()), None)
            if found is not None and not (made / name).exists():
                shutil.copyfile(found, made / name)
        yield made


def export_file(
    student: str | os.PathLike[str],
    output: str | os.PathLike[str],
    export_format: str | None = None,
    *,
    name: str | None = None,
    v1: V1ExportOptions | None = None,
    on_progress: Progress = silent,
) -> tuple[Path, Bundle]:
    """Compile a student and write one file of one format, without the bundle around it.

    Args:
        student: A student artifact, a weights file in it, or ``reference``.
        output: The file; folders are made.
        export_format: The format; None takes the one of the file's name (`SUFFIXES`).
        name: Name of the model; the artifact folder's by default.
        v1: How a student of version 1.0 is written.
        on_progress: Told what happens.

    Returns:
        The file, and what is known of the bundle that it was taken from, which is gone.

    Raises:
        UsageError: No format belongs to the name, or the format is no single file.
        UserError: The student is unusable, or the file cannot be written.
    """
    path = Path(output)
    export_format = export_format or _format_of(path)
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder", limit="the file to write", remedy="-o writes a bundle")
    with ScratchFolder("export") as scratch:
        bundle = export_student(
            student, scratch.path / "bundle", export_format, name=name, v1=v1, on_progress=on_progress
        )
        file = whole_model(bundle, export_format)
        if file is None:
            raise UsageError(
                f"the format '{export_format}' is a folder, not a file",
                remedy="edgesnn export ARTIFACT -o BUNDLE writes it",
            )
        write_whole(path, bundle.file(file).read_bytes())
    return path, bundle


def whole_model(bundle: Bundle, export_format: str) -> str | None:
    """The file of a bundle that is a format's whole model, or None where the format is a folder."""
    files = bundle.manifest.exports[export_format].files
    return files.get("program" if export_format == "c" else "sequence")


def _format_of(path: Path) -> str:
    for suffix, export_format in SUFFIXES.items():
        if path.name.endswith(suffix):
            return export_format
    raise UsageError(
        f"no format belongs to the name '{path.name}'",
        limit=", ".join(SUFFIXES),
        remedy="name the file so, or give --format",
    )
