"""The three forms of a program as ONNX files: what the int8 and the float32 exporter share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from onnx import ModelProto

from edgesnn.exporters.base import ExportResult
from edgesnn.exporters.onnx.graph import Dim, OnnxGraph, save
from edgesnn.exporters.onnx.network import OnnxNetwork, OnnxNumbers, OnnxPast
from edgesnn.exporters.onnx.sequence import OnnxSequencePast
from edgesnn.exporters.onnx.step import OnnxStepPast
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.program import Program

#: Makes the arithmetic of the graph of a role.
MakeNumbers: TypeAlias = Callable[[OnnxGraph, str], OnnxNumbers]


def build(
    program: Program | FloatProgram,
    role: str,
    make_numbers: MakeNumbers,
    metadata: dict[str, str],
) -> tuple[ModelProto, dict[str, Any]]:
    """Lower a program to one form.

    Args:
        program: The integer program or the folded float student.
        role: ``sequence``, ``step`` or ``prefill``.
        make_numbers: Gives the arithmetic of a graph of a role.
        metadata: For ``metadata_props``; the role is added.

    Returns:
        The checked model and its signature: inputs and outputs with name, dtype and shape.

    Raises:
        ExportError: The program has an op that ONNX cannot carry, or the checker refuses the graph.
    """
    graph = OnnxGraph(f"edgesnn_{role}")
    numbers = make_numbers(graph, role)
    vocab = int(program.readout.table.shape[0])
    length: Dim = 1 if role == "step" else "seq_len"
    ids = graph.input("input_ids", np.int64, ["batch", length])
    past: OnnxPast
    if role == "step":
        past = OnnxStepPast(numbers, program.timesteps)
    else:
        past = OnnxSequencePast(numbers, program.timesteps, ids, keep_state=role == "prefill")
    network = OnnxNetwork(program, numbers, past)
    logits = network.logits(ids)
    if role == "sequence":
        network.label_spikes()
    shape: list[Dim] = ["batch", "seq_len", vocab] if role == "sequence" else ["batch", vocab]
    graph.output("logits", logits, np.float32, shape)
    return graph.model({**metadata, "role": role}), graph.signature()


def write(
    program: Program | FloatProgram,
    make_numbers: MakeNumbers,
    metadata: dict[str, str],
    files: dict[str, str],
    folder: Path,
) -> ExportResult:
    """Write the three forms.

    Args:
        program: The integer program or the folded float student.
        make_numbers: Gives the arithmetic of a graph of a role.
        metadata: For ``metadata_props``.
        files: File name by role.
        folder: An existing, writable folder.

    Returns:
        The files and their signatures.

    Raises:
        ExportError: The program has an op that ONNX cannot carry.
        OutputError: A file cannot be written.
    """
    signatures = {}
    for role, file in files.items():
        model, signatures[role] = build(program, role, make_numbers, metadata)
        save(model, folder / file)
    return ExportResult(dict(files), signatures)
