"""The int8 ONNX exporter: sequence, step and prefill of the integer program, exact on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.exporters.onnx.files import MakeNumbers, write
from edgesnn.exporters.onnx.frames import OnnxFrames
from edgesnn.exporters.onnx.graph import OnnxGraph, save
from edgesnn.exporters.onnx.primitives import IntegerNumbers, exact_in_float32
from edgesnn.program.program import Program

#: File by role.
FILES = {"sequence": "student.onnx", "step": "student.step.onnx", "prefill": "student.prefill.onnx"}
#: Of a network that reads frames.
FRAMES_FILES = {"step": "network.onnx"}


def integer_numbers(program: Program) -> MakeNumbers:
    """The integer arithmetic of a program's graphs.

    Args:
        program: The program.

    Returns:
        What `onnx_files.build` takes.

    Raises:
        CompileError: An op of the program can overflow.
    """
    narrow = exact_in_float32(program)

    def make(graph: OnnxGraph, role: str) -> IntegerNumbers:
        # One token has so few rows that Mul and Div, one node less, are the faster decay.
        if role == "step":
            return IntegerNumbers(graph)
        return IntegerNumbers(graph, narrow, many_rows=role == "sequence")

    return make


class OnnxExporter(Exporter):
    """ONNX, opset 17, standard operators only.

    * ``student.onnx``: ``input_ids [batch, seq_len]`` to ``logits [batch, seq_len, vocab]``.
    * ``student.step.onnx``: ``input_ids [batch, 1]`` and the state tensors to ``logits [batch, vocab]`` and
      ``new.NAME``, this token's part of every state tensor.
    * ``student.prefill.onnx``: ``input_ids [batch, seq_len]`` to ``logits [batch, vocab]`` of the last token
      and ``state.NAME``, every state tensor after it.

    A network that reads frames is one file, ``network.onnx``: ``frame`` int8 ``[batch, channels]`` and the
    state tensors to ``outputs`` int32 ``[batch, outputs]`` and ``new.NAME``, which is the next frame's
    ``NAME``. Delays stand oldest first.
    """

    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "ONNX with int8 weights, exact; sequence, step and prefill (opset 17)"
    frames: ClassVar[bool] = True

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the three files.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``sequence``, ``step`` and ``prefill`` with their inputs and outputs; of a
            network that reads frames ``step``.

        Raises:
            CompileError: An op of the program can overflow.
            ExportError: The program has an op that ONNX cannot carry.
            OutputError: A file cannot be written.
        """
        metadata = {
            "model_name": source.name,
            "program_hash": source.program_hash,
            "producer": "edgesnn",
            "arithmetic": "int8",
        }
        if source.program.frames is not None:
            metadata["input_scale"] = repr(source.program.frames.scale)
            metadata["output_scale"] = repr(source.program.output_scale)
            model, signature = OnnxFrames(source.program).build(metadata)
            save(model, folder / FRAMES_FILES["step"])
            return ExportResult(dict(FRAMES_FILES), {"step": signature})
        metadata = {
            **metadata,
            "logit_exponent": str(source.program.readout.exponent),
        }
        return write(source.program, integer_numbers(source.program), metadata, FILES, folder)
