"""Writing what NIR can say of a program, for other libraries to read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesnn.api.bundles import open_bundle
from edgesnn.api.nir.importing import PROGRAM_SUFFIX
from edgesnn.api.options import Progress, silent
from edgesnn.api.students import compile_student
from edgesnn.bundle.bundle import MANIFEST_NAME
from edgesnn.bundle.writer import new_folder
from edgesnn.errors import OutputError
from edgesnn.nir.writing import NirFile, nir_files
from edgesnn.program.program import Program
from edgesnn.program.snn_format import program_hash, read_program
from edgesnn.resources import model_folder

#: The list of the files that an export wrote, beside them.
LIST_NAME = "nir.json"


@dataclass(frozen=True, slots=True)
class NirExport:
    """What `export_nir` wrote.

    Attributes:
        folder: Where the files are.
        program_hash: Hash of the program, hex.
        files: The files.
        left_out: Why each op that is in none of them is left out, by its name.

    Examples:
        >>> written = edgesnn.export_nir("wake", "files")
        >>> [file.name for file in written.files]
        ['wake.euler.approximate.nir', 'wake.norse.approximate.nir', 'wake.sinabs.approximate.nir']
    """

    folder: Path
    program_hash: str
    files: tuple[NirFile, ...]
    left_out: dict[str, str]

    def report(self) -> dict[str, Any]:
        """What was written and what was left out, as plain data."""
        files = [
            {
                "name": file.name,
                "readers": list(file.readers),
                "ops": list(file.ops),
                "approximate": list(file.approximate),
                "read_back": file.read_back,
                "bytes": len(file.content),
            }
            for file in self.files
        ]
        return {"program_hash": self.program_hash, "files": files, "left_out": self.left_out}


def export_nir(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    name: str | None = None,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> NirExport:
    """Write what NIR can say of a program.

    A network that reads frames is written whole, of a language model its chains of weights and neurons, each
    as a graph of its own. Libraries read the same numbers differently, so every graph is written once for
    each way: ``euler`` for snnTorch and SpikingJelly, ``norse``, ``sinabs``.

    Args:
        source: A bundle, a ``.snn`` file, a student artifact or ``reference``.
        output: The folder to make. ``nir.json`` in it lists files, why each is approximate, and what is left
            out.
        name: Name of the model in the files' names; by default the bundle's, the file's or the student's.
        overwrite: Whether an earlier export is replaced.
        on_progress: Told what happens.

    Returns:
        What was written.

    Raises:
        MissingExtraError: h5py is not installed.
        UserError: The source is unusable.
        ExportError: NIR has no word for how the network's values lie.
        OutputError: The folder exists already, is no earlier export, or cannot be written.

    Examples:
        >>> written = edgesnn.export_nir("wake", "wake-nir")
        >>> written.files[0].read_back
        '--source snntorch --reset zero'
    """
    target = Path(output)
    on_progress("reading", 0, 1)
    found, program = _program(source, on_progress)
    if overwrite and target.is_dir() and any(target.iterdir()) and not (target / LIST_NAME).is_file():
        raise OutputError(
            f"'{target}' is no export of NIR and is not replaced", remedy="name another folder, or empty it"
        )
    on_progress("writing", 0, 1)
    files, left = nir_files(name or found, program)
    written = NirExport(target, program_hash(program), tuple(files), left)
    with new_folder(target, overwrite=overwrite) as folder:
        for file in files:
            (folder / file.name).write_bytes(file.content)
        (folder / LIST_NAME).write_text(json.dumps(written.report(), indent=1) + "\n", encoding="utf-8")
    return written


def _program(source: str | os.PathLike[str], on_progress: Progress) -> tuple[str, Program]:
    """Name and program of what a user names."""
    folder = model_folder(source)
    if (folder / MANIFEST_NAME).is_file():
        bundle = open_bundle(folder)
        return bundle.manifest.name, bundle.program()
    path = Path(source)
    if path.suffix == PROGRAM_SUFFIX:
        return path.stem, read_program(path).program
    artifact, _, compiled = compile_student(source, on_progress)
    return artifact.path.name, compiled.program
