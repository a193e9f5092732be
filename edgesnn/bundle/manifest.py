"""The manifest of a bundle (``edgesnn.bundle/1``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "edgesnn.bundle/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileEntry(_Strict):
    """One file of the bundle.

    Attributes:
        sha256: Hash of its bytes, hex.
        bytes: Its size.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class StateEntry(_Strict):
    """One state tensor that the host keeps between steps.

    Attributes:
        name: Name of the graph's input; the step's output is ``new.`` and the prefill's ``state.`` before it.
        shape: Shape; the first dimension is ``batch``.
        dtype: Element type.
        initial: Initial value of every element.
        rule: How the host updates it.
    """

    name: str
    shape: list[int | str]
    dtype: Literal["int8", "int16", "int32"]
    initial: int
    rule: str


class ExportEntry(_Strict):
    """What one exporter made.

    Attributes:
        files: File name by role.
        signatures: Inputs and outputs by role.
    """

    files: dict[str, str]
    signatures: dict[str, Any]


class Manifest(_Strict):
    """Everything a reader must know of a bundle.

    Attributes:
        schema_name: Name and major version of this document (``schema`` in the file).
        producer: ``edgesnn`` and its version.
        name: Name of the model.
        created: ISO 8601 time, UTC.
        program_hash: SHA-256 of the integer program's body, hex; of ``student.safetensors`` for a student of
            version 1.0, which has no program.
        files: Every file of the bundle but the manifest, by path relative to the folder.
        exports: What was exported, by format.
        sizes: Bytes of the model by what a device runs: ``program.snn`` (the C engine, native and golden need
            nothing else) and ``FORMAT FORM``.
        state: State tensors of the step form; none where there is no step.
        student: Facts of the student: sizes, parameters, architecture, training.
        text: Prompt template and end-of-text token.
        bounds: The proof that nothing overflows int32, by op.
        quantisation: Report of the compiler, with the calibration's figures.
    """

    schema_name: str = Field(alias="schema")
    producer: str
    name: str
    created: str
    program_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: dict[str, FileEntry]
    exports: dict[str, ExportEntry]
    sizes: dict[str, int] = Field(default_factory=dict)
    state: list[StateEntry]
    student: dict[str, Any]
    text: dict[str, str | None]
    bounds: list[dict[str, Any]]
    quantisation: dict[str, Any]
