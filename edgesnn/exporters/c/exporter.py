"""The C exporter: the program with an engine of one source file and an example, ready for any C compiler."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from edgesnn import resources
from edgesnn.errors import OutputError
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.exporters.c.sources import EXAMPLE, amalgam
from edgesnn.exporters.c.vocab import NO_TOKEN, vocab_bytes
from edgesnn.program.program import Program
from edgesnn.program.snn_format import to_bytes
from edgesnn.text.tokenizer import load_tokenizer

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


class CExporter(Exporter):
    """A folder ``c`` with ``program.snn``, ``snn.c``, ``snn.h`` and an example that builds as it stands."""

    name: ClassVar[str] = "c"
    summary: ClassVar[str] = "C99 sources with the program: no malloc, no float, four kernels; exact"
    frames: ClassVar[bool] = True

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the files.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``program``, ``source``, ``header``, ``example``, ``makefile``, ``cmake``,
            ``readme`` and, where the tokenizer is known, ``vocab``, and what a caller in C must know.

        Raises:
            TextError: The tokenizer cannot be read.
            OutputError: A file cannot be written.
        """
        program, engine, files = source.program, resources.folder("engine"), dict(FILES)
        vocab = None
        if source.tokenizer is not None:
            tokenizer = load_tokenizer(source.tokenizer)
            end = NO_TOKEN if source.end_of_text is None else tokenizer.token_id(source.end_of_text)
            vocab = vocab_bytes(tokenizer.token_bytes(), end)
        try:
            (folder / FOLDER).mkdir(exist_ok=True)
            (folder / FILES["program"]).write_bytes(to_bytes(program))
            (folder / FILES["source"]).write_text(amalgam(engine), encoding="utf-8")
            shutil.copyfile(engine / "snn.h", folder / FILES["header"])
            if vocab is not None:
                files["vocab"] = f"{FOLDER}/vocab.bin"
                (folder / files["vocab"]).write_bytes(vocab)
            for name in EXAMPLE:
                shutil.copyfile(engine / "example" / name, folder / FOLDER / name)
        except OSError as error:
            raise OutputError(f"cannot write the C export: {error.strerror or error}") from None
        if program.frames is not None:
            return ExportResult(files, {**_frames_signature(program), "program_hash": source.program_hash})
        signature = {
            "step": {"inputs": ["token"], "outputs": ["logits"], "api": "snn_step"},
            "prefill": {"inputs": ["tokens"], "outputs": ["logits"], "api": "snn_prefill"},
            "sequence": {"inputs": ["tokens"], "outputs": ["logits"], "api": "snn_sequence"},
        }
        return ExportResult(
            files,
            {
                **signature,
                "vocab": program.vocab_size,
                "logits_dtype": "int32",
                "logit_exponent": program.readout.exponent,
                "program_hash": source.program_hash,
            },
        )


def _frames_signature(program: Program) -> dict[str, Any]:
    frames = program.frames
    assert frames is not None
    return {
        "step": {"inputs": ["frame"], "outputs": ["outputs"], "api": "snn_frames"},
        "sequence": {"inputs": ["frames"], "outputs": ["outputs"], "api": "snn_frames"},
        "inputs": frames.channels,
        "inputs_dtype": "int8",
        "input_scale": frames.scale,
        "outputs": program.outputs,
        "outputs_dtype": "int32",
        "output_scale": program.output_scale,
    }
