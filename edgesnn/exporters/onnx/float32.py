"""The float32 ONNX exporter: the same network before quantisation, the baseline of every comparison.

It has the structure of the int8 graph, one product per layer for all inner timesteps, and is as fast as this
lowering makes float32: spikes, state and currents are float32 throughout, so nothing is converted.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.exporters.onnx.files import write
from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.program.float_program import Float32Array, FloatEmbed, FloatLIF, FloatLinear, FloatReadout
from edgesnn.program.ops import DECAY_DENOMINATOR, Saturate

#: File by role.
FILES = {
    "sequence": "student.fp32.onnx",
    "step": "student.fp32.step.onnx",
    "prefill": "student.fp32.prefill.onnx",
}


class FloatNumbers:
    """Nodes of the float32 primitives; the methods are those of `onnx_network.Numbers`.

    Args:
        graph: The graph they are appended to.

    Attributes:
        state_dtype: Of state tensors.
        graph: The graph.
    """

    state_dtype = np.dtype(np.float32)

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph

    def embed(self, op: FloatEmbed, ids: str) -> str:
        """``E[token] @ P``; the table is stored once, transposed, and read by column."""
        rows = self.graph.op("Gather", self._table(op.table), ids, axis=1)
        rows = self.graph.op("Transpose", rows, perm=[1, 2, 0])
        return self.product(rows, self._constant(op.projection))

    def linear(self, op: FloatLinear, spikes: str) -> str:
        """``spikes @ weight``."""
        return self.product(spikes, self._constant(op.weight))

    def saturate(self, op: Saturate, current: str) -> str:
        """The float student does not saturate."""
        del op
        return current

    def steady(self, op: FloatLIF, current: str, timesteps: int, axis: int) -> None:
        """Rounded membranes are not proven to grow with the current: there is no shorter way."""
        del op, current, timesteps, axis

    def drive(self, op: FloatLIF, current: str) -> str:
        """``I + bias``; a bias of zero costs nothing."""
        if not np.any(op.bias):
            return current
        return self.graph.op("Add", current, self._constant(op.bias))

    def floor(self, op: FloatLIF, membrane: str) -> str:
        """A float membrane has no floor."""
        del op
        return membrane

    def fired(self, op: FloatLIF, membrane: str) -> str:
        """``V >= threshold``, bool."""
        return self.graph.op("GreaterOrEqual", membrane, self._constant(op.threshold))

    def spike(self, fired: str) -> str:
        """Spike values are float32."""
        return self.graph.cast(fired, np.float32)

    def reset(self, op: FloatLIF, membrane: str, fired: str) -> str:
        """``0 where s, else V``."""
        del op
        return self.graph.op("Where", fired, self._constant(np.float32(0)), membrane)

    def reset_few(self, op: FloatLIF, membrane: str) -> str:
        """``V * (V < threshold)``."""
        quiet = self.graph.op("Less", membrane, self._constant(op.threshold))
        return self.graph.op("Mul", self.graph.cast(quiet, np.float32), membrane)

    def decay(self, op: FloatLIF, membrane: str) -> str:
        """``V * n / 256``."""
        if op.decay == DECAY_DENOMINATOR:
            return membrane
        return self.graph.op("Mul", membrane, self._constant(np.float32(op.decay / DECAY_DENOMINATOR)))

    def from_state(self, state: str) -> str:
        """State tensors are float32 already."""
        return state

    def to_state(self, spikes: str) -> str:
        """Spike values are float32 already."""
        return spikes

    def left(self, spikes: str) -> str:
        """Spike values are float32 already."""
        return spikes

    def both(self, first: str, second: str) -> str:
        """Product of two spike values."""
        return self.graph.op("Mul", first, second)

    def product(self, left: str, right: str) -> str:
        """``MatMul``."""
        return self.graph.op("MatMul", left, right)

    def ones(self, array: npt.NDArray[np.bool_]) -> str:
        """A 0/1 matrix."""
        return self._constant(array)

    def narrow(self, scores: str) -> str:
        """Scores are float32 already."""
        return scores

    def mask(self, mask: npt.NDArray[np.bool_]) -> str:
        """A mask."""
        return self._constant(mask)

    def masked(self, scores: str, mask: str) -> str:
        """Scores times a mask."""
        return self.graph.op("Mul", scores, mask)

    def gate(self, spikes: str, current: str) -> str:
        """A current times a spike value."""
        return self.graph.op("Mul", spikes, current)

    def attended(self, current: str) -> str:
        """Counted spikes are currents already."""
        return current

    def readout(self, op: FloatReadout, spikes: str, timesteps: int) -> str:
        """``(count @ D + bias) @ E.T``; the count rides in D, repeated T times."""
        z = self.product(spikes, self._constant(np.tile(op.weight, (timesteps, 1))))
        return self.product(self.graph.op("Add", z, self._constant(op.bias)), self._table(op.table))

    def _table(self, table: Float32Array) -> str:
        return self._constant(table.T)

    def _constant(self, array: npt.ArrayLike) -> str:
        return self.graph.constant(array, np.float32)


def float_numbers(graph: OnnxGraph, role: str) -> FloatNumbers:
    """The float32 arithmetic, the same in every role."""
    del role
    return FloatNumbers(graph)


class OnnxFloat32Exporter(Exporter):
    """The folded float32 student in the three forms of `edgesnn.exporters.onnx.exporter.OnnxExporter`.

    Names and shapes are the same; state tensors are float32.
    """

    name: ClassVar[str] = "onnx-fp32"
    summary: ClassVar[str] = "ONNX in float32, the baseline; sequence, step and prefill (opset 17)"

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the three files.

        Args:
            source: The float program and its name.
            folder: An existing, writable folder.

        Returns:
            The files by role ``sequence``, ``step`` and ``prefill`` with their inputs and outputs.

        Raises:
            ExportError: The program has an op that ONNX cannot carry.
            OutputError: A file cannot be written.
        """
        metadata = {
            "model_name": source.name,
            "program_hash": source.program_hash,
            "producer": "edgesnn",
            "arithmetic": "float32",
        }
        if source.float_program is None:
            raise ExportError("there is no float32 baseline of a network that reads frames")
        return write(source.float_program, float_numbers, metadata, FILES, folder)
