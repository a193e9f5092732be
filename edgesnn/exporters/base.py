"""The contract of an exporter (entry-point group ``edgesnn.exporters``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from edgesnn.program.float_program import FloatProgram
from edgesnn.program.program import Program


@dataclass(frozen=True, slots=True)
class ExportSource:
    """What an exporter is given.

    Attributes:
        program: The integer program.
        float_program: The folded float32 student, the baseline; None of a network that reads frames.
        name: Name of the model, for metadata inside files.
        program_hash: Hash of the integer program, hex, for metadata inside files.
        tokenizer: Path of the student's ``tokenizer.json``, or None.
        end_of_text: Spelling of the token that ends a text, or None.
        prompt_template: Text around a prompt, with ``{prompt}``, or None.
    """

    program: Program
    float_program: FloatProgram | None
    name: str
    program_hash: str
    tokenizer: Path | None = None
    end_of_text: str | None = None
    prompt_template: str | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an exporter made.

    Attributes:
        files: File name relative to the folder by role, for example ``{"sequence": "student.onnx"}``.
        signatures: What a caller must know of each role: inputs, outputs, shapes, dtypes.
    """

    files: dict[str, str]
    signatures: dict[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """One file format.

    Attributes:
        name: Name on the command line.
        summary: One line for ``edgesnn list exporters``.
        on_request: Whether it is written only when it is named, not when all formats are.
        frames: Whether it carries programs that read frames; the others are never handed one.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    on_request: ClassVar[bool] = False
    frames: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        """Why this format cannot be written here, or None when it can, as here."""
        return None

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the files of this format into a folder.

        Args:
            source: The program and its float baseline.
            folder: An existing, writable folder.

        Returns:
            The files by role and their signatures.

        Raises:
            ExportError: The format cannot carry this program.
        """
        ...
