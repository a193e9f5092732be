"""The TorchScript exporter: the integer program for clients that have torch and nothing of ours.

It stands here because it joins the program with torch, which only the student's room may import.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from edgesnn.errors import missing_extra
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource

FILE = "student.torchscript.pt"


class TorchScriptExporter(Exporter):
    """One file for ``torch.jit.load``.

    It takes ``input_ids [batch, seq_len]`` and gives ``logits [batch, seq_len, vocab]``.
    """

    name: ClassVar[str] = "torchscript"
    summary: ClassVar[str] = "TorchScript, one file, exact; for older clients that load with torch.jit.load"
    on_request: ClassVar[bool] = True

    @classmethod
    def missing(cls) -> str | None:
        return None if find_spec("torch") else missing_extra("torch", "train", "TorchScript").sentence()

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the file.

        Args:
            source: The program and its name.
            folder: An existing, writable folder.

        Returns:
            The file as ``sequence`` with its input and output.

        Raises:
            MissingExtraError: torch is not installed.
            ExportError: The program has an op that this format cannot carry.
            OutputError: The file cannot be written.
        """
        if find_spec("torch") is None:
            raise missing_extra("torch", "train", "TorchScript")
        from edgesnn.student.torchscript import write_torchscript

        program = source.program
        facts = {
            "model_name": source.name,
            "program_hash": source.program_hash,
            "producer": "edgesnn",
            "arithmetic": "int8",
            "logit_exponent": str(program.readout.exponent),
        }
        write_torchscript(program.timesteps, program.ops, folder / FILE, facts)
        signature = {
            "inputs": [{"name": "input_ids", "dtype": "int64", "shape": ["batch", "seq_len"]}],
            "outputs": [
                {"name": "logits", "dtype": "float32", "shape": ["batch", "seq_len", program.vocab_size]}
            ],
        }
        return ExportResult({"sequence": FILE}, {"sequence": signature})
