"""The files of a student of version 1.0: ``student.onnx`` in float32 and ``student.int8.onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError, UsageError
from edgesnn.exporters.base import ExportResult
from edgesnn.exporters.onnx.graph import save
from edgesnn.exporters.v1.network import Int8Weights, TwoInt8Weights, build_v1
from edgesnn.exporters.v1.quantise import quantise_dynamic, quantise_static
from edgesnn.program.v1_student import V1Student

#: Which numbers are int8: matrices alone (``weights``, ``small``), or activations, too.
Int8Form = Literal["weights", "small", "dynamic", "static"]
INT8_FORMS: tuple[str, ...] = get_args(Int8Form)
#: Names in the manifest: what a runner looks for.
FLOAT_EXPORT, INT8_EXPORT = "onnx-v1-fp32", "onnx-v1"
#: Sequences of the calibration text that `static` is measured on.
CALIBRATION_SEQUENCES = 32


def int8_form(name: str) -> Int8Form:
    """A form by its name.

    Raises:
        UsageError: There is none.
    """
    if name not in INT8_FORMS:
        raise UsageError(f"there is no int8 form '{name}'", limit=", ".join(INT8_FORMS))
    return name  # type: ignore[return-value]  # checked above


def export_v1(
    student: V1Student,
    folder: Path,
    form: Int8Form,
    calibration: Sequence[npt.NDArray[np.integer]],
    metadata: dict[str, str],
) -> dict[str, ExportResult]:
    """Write both files.

    Args:
        student: The student.
        folder: An existing, writable folder.
        form: Which numbers of the int8 file are int8.
        calibration: Sequences of token ids, for ``static``.
        metadata: For ``metadata_props``.

    Returns:
        Files and signatures by name of the export.

    Raises:
        ExportError: The form needs a text and there is none, or the quantiser fails.
        OutputError: A file cannot be written.
    """
    names = {FLOAT_EXPORT: "student.onnx", INT8_EXPORT: "student.int8.onnx"}
    source, target = (folder / name for name in names.values())
    model, signature = build_v1(student, {**metadata, "arithmetic": "float32"})
    save(model, source)
    if form in ("weights", "small"):
        weights = Int8Weights if form == "small" else TwoInt8Weights
        save(build_v1(student, {**metadata, "arithmetic": f"int8 {form}"}, weights)[0], target)
    elif form == "dynamic":
        quantise_dynamic(source, target)
    else:
        batches = [np.asarray(ids, np.int64)[None] for ids in calibration[:CALIBRATION_SEQUENCES]]
        if not batches:
            raise ExportError(
                "static int8 measures its activations on text, and there is none",
                remedy="give --text FILE and --tokenizer FILE, or take --int8 weights",
            )
        quantise_static(source, target, batches)
    return {name: ExportResult({"sequence": file}, {"sequence": signature}) for name, file in names.items()}
