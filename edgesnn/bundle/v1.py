"""The bundle of a student of version 1.0: the same manifest, the weights in the place of the program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgesnn import __version__
from edgesnn.bundle.bundle import EVAL_NAME, MANIFEST_NAME, TOKENIZER_NAME, Bundle
from edgesnn.bundle.export import file_entries, form_sizes, refuse_foreign
from edgesnn.bundle.manifest import SCHEMA, ExportEntry, Manifest
from edgesnn.bundle.writer import new_folder
from edgesnn.exporters.base import ExportResult
from edgesnn.program.artifact import TENSORS_NAME

WriteExports = Callable[[Path], Mapping[str, ExportResult]]
"""Writes the files of every export into a folder."""


@dataclass(frozen=True, slots=True, eq=False)
class V1BundleSource:
    """What the bundle of a student of version 1.0 is made of.

    Attributes:
        name: Name of the model.
        student: Facts of the student for the manifest.
        weights: Content of ``student.safetensors``: what every export is compared with.
        quantisation: What is int8, and how the text was used.
        tokenizer: Path of its ``tokenizer.json``, or None.
        eval_slice: Content of ``eval.npz``, or None.
        text: Prompt template and end-of-text token.
    """

    name: str
    student: dict[str, Any]
    weights: bytes
    quantisation: dict[str, Any]
    tokenizer: Path | None
    eval_slice: bytes | None
    text: dict[str, str | None]


def write_v1_bundle(
    source: V1BundleSource, write_exports: WriteExports, target: Path, *, overwrite: bool
) -> Bundle:
    """Write the bundle and read it back.

    Args:
        source: What it is made of.
        write_exports: Writes the model files.
        target: The folder to make.
        overwrite: Whether an existing bundle is replaced.

    Returns:
        The bundle, verified.

    Raises:
        OutputError: The folder cannot be written, or is no bundle and must not be replaced; nothing is left
            half-written.
    """
    refuse_foreign(target, overwrite=overwrite)
    with new_folder(target, overwrite=overwrite) as folder:
        (folder / TENSORS_NAME).write_bytes(source.weights)
        if source.tokenizer is not None:
            shutil.copyfile(source.tokenizer, folder / TOKENIZER_NAME)
        if source.eval_slice is not None:
            (folder / EVAL_NAME).write_bytes(source.eval_slice)
        exports = {
            name: ExportEntry(files=result.files, signatures=result.signatures)
            for name, result in write_exports(folder).items()
        }
        files = file_entries(folder)
        document = {
            "schema": SCHEMA,
            "producer": f"edgesnn {__version__}",
            "name": source.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "program_hash": files[TENSORS_NAME].sha256,
            "files": files,
            "exports": exports,
            "sizes": form_sizes(TENSORS_NAME, exports, files),
            "state": [],
            "student": json.loads(json.dumps(source.student, allow_nan=False)),
            "text": source.text,
            "bounds": [],
            "quantisation": source.quantisation,
        }
        text = Manifest.model_validate(document).model_dump_json(by_alias=True, indent=1)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return Bundle(target)
