"""The bundle of a student of version 1.0: ``student.onnx`` in float32, ``student.int8.onnx``, its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesnn.api.options import Progress
from edgesnn.api.v1.text import end_of_text, find_tokenizer, need_tokenizer, slice_bytes, text_slice
from edgesnn.bundle.bundle import EVAL_NAME, Bundle, read_eval_slice
from edgesnn.bundle.v1 import V1BundleSource, write_v1_bundle
from edgesnn.errors import OutputError
from edgesnn.exporters.base import ExportResult
from edgesnn.program.artifact import StudentArtifact, tensor_bytes
from edgesnn.program.v1_student import read_v1
from edgesnn.v1_rule import V1_FORM


@dataclass(frozen=True, slots=True, kw_only=True)
class V1ExportOptions:
    """What the export of a student of version 1.0 is told besides.

    Attributes:
        tokenizer: Its ``tokenizer.json``, or a folder with one; None takes the one beside its weights.
        text: Text that the bundle keeps to score and calibrate on; None takes ``eval.npz``, if there is one.
        int8: What is int8 in ``student.int8.onnx``: ``weights`` (two planes where a threshold follows),
            ``small`` (one plane), or activations too: ``dynamic``, ``static``.

    Examples:
        >>> options = edgesnn.V1ExportOptions(text="old/text.txt")
        >>> sorted(edgesnn.export_student("old", "old_bundle", v1=options).manifest.exports)
        ['onnx-v1', 'onnx-v1-fp32']
    """

    tokenizer: str | os.PathLike[str] | None = None
    text: str | os.PathLike[str] | None = None
    int8: str = "weights"


def export_v1_student(
    artifact: StudentArtifact,
    output: Path,
    options: V1ExportOptions,
    *,
    overwrite: bool,
    name: str,
    on_progress: Progress,
) -> Bundle:
    """Write the bundle of a student of version 1.0.

    Args:
        artifact: The student.
        output: The folder to make.
        options: Tokenizer, text, form of the int8 file.
        overwrite: Whether an existing bundle is replaced.
        name: Name of the model.
        on_progress: Told what happens.

    Raises:
        UserError: Student, tokenizer, text or output folder is unusable; nothing is left half-written.
        UsageError: There is no such form, or the text needs a tokenizer.
    """
    from edgesnn.exporters.v1.exporter import export_v1, int8_form

    form = int8_form(options.int8)
    student, folder = read_v1(artifact), artifact.path
    if output.exists() and not overwrite:
        raise OutputError(f"'{output}' exists already", remedy="name another folder or give --force")
    held_out = source = None
    if options.text is not None:
        path, tokenizer = need_tokenizer(student, folder, options.tokenizer, "--text")
        on_progress("reading text", 0, 1)
        held_out, source = (
            text_slice(Path(options.text), tokenizer, student.max_length),
            Path(options.text).name,
        )
    elif (folder / EVAL_NAME).is_file():
        held_out, source = read_eval_slice(folder / EVAL_NAME, student.vocab_size), EVAL_NAME
    found = find_tokenizer(student, folder, options.tokenizer)
    sequences = [] if held_out is None else held_out.documents()
    weights = tensor_bytes(student.tensors)

    def write(target: Path) -> Mapping[str, ExportResult]:
        on_progress(f"writing onnx, int8 {form}", 0, 1)
        return export_v1(student, target, form, sequences, {"model_name": name, "producer": "edgesnn"})

    return write_v1_bundle(
        V1BundleSource(
            name=name,
            student=student.facts,
            weights=weights,
            quantisation={"int8": form, "runs_as": V1_FORM, "text": source, "assumed": list(student.assumed)},
            tokenizer=None if found is None else found[0],
            eval_slice=None if held_out is None else slice_bytes(held_out),
            text={"prompt_template": None, "end_of_text": None if found is None else end_of_text(found[1])},
        ),
        write,
        output,
        overwrite=overwrite,
    )
