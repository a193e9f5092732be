"""The C exporter: the program with an engine of one source file and an example, ready for any C compiler."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from edgesnn.errors import OutputError
from edgesnn.exporters.base import ExportResult, ExportSource
from edgesnn.exporters.c_sources import EXAMPLE, amalgam, engine_folder
from edgesnn.program.snn_format import to_bytes

#: Folder of the export inside a bundle.
FOLDER = "c"
#: File by role.
FILES = {
    "program": f"{FOLDER}/program.snn",
    "source": f"{FOLDER}/snn.c",
    "header": f"{FOLDER}/snn.h",
    "example": f"{FOLDER}/main.c",
    "makefile": f"{FOLDER}/Makefile",
    "cmake": f"{FOLDER}/CMakeLists.txt",
    "readme": f"{FOLDER}/README.md",
}


class CExporter:
    """A folder ``c`` with ``program.snn``, ``snn.c``, ``snn.h`` and an example that builds as it stands."""

    name: ClassVar[str] = "c"
    summary: ClassVar[str] = "C99 sources with the program: no malloc, no float, three kernels; exact"

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the files.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``program``, ``source``, ``header``, ``example``, ``makefile``, ``cmake`` and
            ``readme``, and what a caller in C must know.

        Raises:
            OutputError: A file cannot be written.
        """
        program, engine = source.program, engine_folder()
        try:
            (folder / FOLDER).mkdir(exist_ok=True)
            (folder / FILES["program"]).write_bytes(to_bytes(program))
            (folder / FILES["source"]).write_text(amalgam(engine), encoding="utf-8")
            shutil.copyfile(engine / "snn.h", folder / FILES["header"])
            for name in EXAMPLE:
                shutil.copyfile(engine / "example" / name, folder / FOLDER / name)
        except OSError as error:
            raise OutputError(f"cannot write the C export: {error.strerror or error}") from None
        signature = {
            "step": {"inputs": ["token"], "outputs": ["logits"], "api": "snn_step"},
            "prefill": {"inputs": ["tokens"], "outputs": ["logits"], "api": "snn_prefill"},
            "sequence": {"inputs": ["tokens"], "outputs": ["logits"], "api": "snn_sequence"},
        }
        return ExportResult(
            dict(FILES),
            {
                **signature,
                "vocab": program.vocab_size,
                "logits_dtype": "int32",
                "logit_exponent": program.readout.exponent,
                "program_hash": source.program_hash,
            },
        )
