"""The TFLite exporter: sequence, step and prefill of the integer program, exact in every TFLite runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from edgesnn.exporters.base import Exporter, ExportResult, ExportSource

#: File by role.
FILES = {"sequence": "student.tflite", "step": "student.step.tflite", "prefill": "student.prefill.tflite"}
#: Of a network that reads frames.
FRAMES_FILES = {"step": "network.tflite"}


class TfliteExporter(Exporter):
    """TFLite, builtin operators only, batch and length by resize.

    * ``student.tflite``: ``input_ids [batch, seq_len]`` to ``logits [batch, seq_len, vocab]``.
    * ``student.step.tflite``: ``input_ids [batch, 1]`` and the state tensors to ``logits [batch, vocab]`` and
      ``new.NAME``, this token's part of every state tensor.
    * ``student.prefill.tflite``: ``input_ids [batch, seq_len]`` to ``logits [batch, vocab]`` of the last
      token and ``state.NAME``, every state tensor after it.

    Ids are int32, state tensors int8, logits float32. Each file holds one signature, named by its role.

    A network that reads frames is one file, ``network.tflite``: ``frame`` int8 ``[batch, channels]`` and the
    state tensors to ``outputs`` int32 ``[batch, outputs]`` and ``new.NAME``, which is the next frame's
    ``NAME``. Delays stand oldest first.
    """

    name: ClassVar[str] = "tflite"
    summary: ClassVar[str] = "TFLite with int8 weights, exact; sequence, step and prefill"
    frames: ClassVar[bool] = True

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("ai_edge_litert") is None:
            return "ai-edge-litert is not installed: pip install 'edgesnn[tflite]'"
        return None

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the three files.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``sequence``, ``step`` and ``prefill`` with their inputs and outputs; of a
            network that reads frames ``step``.

        Raises:
            ExportError: The program has an op that TFLite cannot carry exactly.
            MissingExtraError: ai-edge-litert is not installed.
            OutputError: A file cannot be written.
        """
        from edgesnn.exporters.tflite.files import build
        from edgesnn.exporters.tflite.graph import save

        metadata: dict[str, Any] = {
            "model_name": source.name,
            "program_hash": source.program_hash,
            "producer": "edgesnn",
            "arithmetic": "int8 weights, exact integers in float32",
        }
        if source.program.frames is not None:
            from edgesnn.exporters.tflite.frames import TfliteFrames

            metadata["input_scale"] = source.program.frames.scale
            metadata["output_scale"] = source.program.output_scale
            content, signature = TfliteFrames(source.program).build(metadata)
            save(content, folder / FRAMES_FILES["step"])
            return ExportResult(dict(FRAMES_FILES), {"step": signature})
        metadata = {
            **metadata,
            "logit_exponent": source.program.readout.exponent,
            "vocab_size": source.program.vocab_size,
            "context_window": source.program.context_window,
        }
        signatures = {}
        for role, file in FILES.items():
            content, signatures[role] = build(source.program, role, metadata)
            save(content, folder / file)
        return ExportResult(dict(FILES), signatures)
