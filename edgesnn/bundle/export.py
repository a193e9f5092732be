"""Making a bundle: files of every format, manifest and hashes, all at once or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgesnn import __version__
from edgesnn.bundle.bundle import EVAL_NAME, MANIFEST_NAME, PROGRAM_NAME, TOKENIZER_NAME, Bundle, file_sha256
from edgesnn.bundle.manifest import SCHEMA, ExportEntry, FileEntry, Manifest, StateEntry
from edgesnn.bundle.writer import new_folder
from edgesnn.errors import ExportError, OutputError
from edgesnn.exporters.base import Exporter, ExportSource
from edgesnn.program.compile import Compiled
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.program.state import state_tensors

_RING = "token n is written, for every head h, into slot first_h + n mod (W_h - 1)"
_REPLACED = "replaced after every step by the step's output"
_RULES = {
    "shift": _REPLACED,
    "key": _RING,
    "value": _RING,
    "membrane": _REPLACED,
    "count": _REPLACED,
    "delay": "frame n is written into slot n mod the longest delay",
}


@dataclass(frozen=True, slots=True, eq=False)
class BundleSource:
    """What a bundle is made of.

    Attributes:
        name: Name of the model.
        compiled: The integer program with its proof and report.
        folded: The float32 baseline.
        tokenizer: Path of the student's ``tokenizer.json``.
        eval_slice: Path of its ``eval.npz``, or None.
        student: Facts of the student for the manifest.
        text: Prompt template and end-of-text token.
    """

    name: str
    compiled: Compiled
    folded: FloatProgram
    tokenizer: Path
    eval_slice: Path | None
    student: dict[str, Any]
    text: dict[str, Any]


def write_bundle(
    source: BundleSource,
    exporters: Mapping[str, Exporter],
    target: Path,
    *,
    overwrite: bool,
    on_format: Callable[[str], None] | None = None,
    on_written: Callable[[Path], None] | None = None,
) -> Bundle:
    """Write a bundle and read it back.

    Args:
        source: What it is made of.
        exporters: The formats by name.
        target: The folder to make.
        overwrite: Whether an existing bundle is replaced.
        on_format: Called with each format before it is written.
        on_written: Called with the folder when every format is in it; what it adds is in the manifest too.

    Returns:
        The bundle, verified.

    Raises:
        OutputError: The folder cannot be written, or is no bundle and must not be replaced; nothing is left
            half-written.
        ExportError: A format cannot carry the program.
    """
    refuse_foreign(target, overwrite=overwrite)
    with new_folder(target, overwrite=overwrite) as folder:
        content = to_bytes(source.compiled.program)
        digest = content[32:64].hex()
        (folder / PROGRAM_NAME).write_bytes(content)
        shutil.copyfile(source.tokenizer, folder / TOKENIZER_NAME)
        if source.eval_slice is not None:
            shutil.copyfile(source.eval_slice, folder / EVAL_NAME)
        given = ExportSource(
            source.compiled.program,
            source.folded,
            source.name,
            digest,
            tokenizer=source.tokenizer,
            end_of_text=source.text.get("end_of_text"),
            prompt_template=source.text.get("prompt_template"),
        )
        exports = write_formats(given, exporters, folder, on_format)
        if on_written is not None:
            on_written(folder)
        manifest = _manifest(source, digest, exports, folder)
        text = manifest.model_dump_json(by_alias=True, indent=1)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return Bundle(target)


def write_formats(
    source: ExportSource,
    exporters: Mapping[str, Exporter],
    folder: Path,
    on_format: Callable[[str], None] | None = None,
) -> dict[str, ExportEntry]:
    """Write the files of formats into a folder.

    Args:
        source: What exporters are given.
        exporters: The formats by name.
        folder: The folder.
        on_format: Called with each format before it is written.

    Returns:
        What the manifest says of each.

    Raises:
        ExportError: A format cannot carry the program, or an exporter left out a file of its own.
    """
    exports: dict[str, ExportEntry] = {}
    for name, exporter in exporters.items():
        if on_format is not None:
            on_format(name)
        result = exporter.export(source, folder)
        exports[name] = ExportEntry(files=result.files, signatures=result.signatures)
        for file in result.files.values():
            if not (folder / file).is_file():
                raise ExportError(f"exporter '{name}' did not write its file '{file}'")
    return exports


def refuse_foreign(target: Path, *, overwrite: bool) -> None:
    """Refuse to replace a folder that is no bundle.

    Raises:
        OutputError: It is none.
    """
    if overwrite and target.is_dir() and any(target.iterdir()) and not (target / MANIFEST_NAME).is_file():
        raise OutputError(
            f"'{target}' is not a bundle and is not replaced", remedy="name another folder, or empty this one"
        )


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Every file of a folder, for its manifest."""
    return {
        path.relative_to(folder).as_posix(): FileEntry(sha256=file_sha256(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _manifest(source: BundleSource, digest: str, exports: dict[str, ExportEntry], folder: Path) -> Manifest:
    files = file_entries(folder)
    document = {
        "schema": SCHEMA,
        "producer": f"edgesnn {__version__}",
        "name": source.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "program_hash": digest,
        "files": files,
        "exports": exports,
        "sizes": form_sizes(PROGRAM_NAME, exports, files),
        "state": state_entries(source.compiled.program),
        "student": source.student,
        "text": source.text,
        "bounds": [asdict(bound) for bound in source.compiled.bounds],
        "quantisation": json.loads(json.dumps(source.compiled.report(), allow_nan=False)),
    }
    return Manifest.model_validate(document)


def form_sizes(model: str, exports: dict[str, ExportEntry], files: dict[str, FileEntry]) -> dict[str, int]:
    """Bytes of the model by what a device runs: the program itself, and every form of every format."""
    forms = ("step", "prefill", "sequence", "program")
    sizes = {model: files[model].bytes}
    for name, entry in exports.items():
        sizes |= {f"{name} {role}": files[file].bytes for role, file in entry.files.items() if role in forms}
    return sizes


def state_entries(program: Program) -> list[StateEntry]:
    """The state tensors of a program for its manifest."""
    return [
        StateEntry(
            name=tensor.name,
            shape=["batch", *tensor.shape],
            dtype=tensor.dtype,
            initial=0,
            rule=_RULES[tensor.kind],
        )
        for tensor in state_tensors(program)
    ]
