"""The three forms of a program as TFLite models."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesnn.exporters.tflite.bounds import membrane_reaches
from edgesnn.exporters.tflite.graph import TfliteGraph
from edgesnn.exporters.tflite.network import TfliteNetwork, TflitePast
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.sequence import TfliteSequencePast
from edgesnn.exporters.tflite.step import TfliteStepPast
from edgesnn.program.ops import Attend
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors


def build(program: Program, role: str, metadata: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Lower a program to one form.

    Args:
        program: The integer program.
        role: ``sequence``, ``step`` or ``prefill``; also the key of the signature inside the file.
        metadata: Facts for the metadata entry; the role and the state rules are added.

    Returns:
        The model and its signature: inputs and outputs with name, dtype and shape.

    Raises:
        ExportError: The program has an op that TFLite cannot carry exactly.
        CompileError: The program can overflow.
    """
    graph = TfliteGraph(role)
    numbers = TfliteNumbers(graph, membrane_reaches(program))
    ids = graph.input("input_ids", np.int32, (-1, 1 if role == "step" else -1))
    past: TflitePast
    if role == "step":
        past = TfliteStepPast(numbers, program.timesteps)
    else:
        past = TfliteSequencePast(numbers, program.timesteps, ids, keep_state=role == "prefill")
    graph.output("logits", TfliteNetwork(program, numbers, past).logits(ids))
    facts = {**metadata, "role": role, "state": _state_rules(program) if role != "sequence" else []}
    content = graph.serialise(facts, f"{metadata.get('model_name', 'edgesnn')}: {role}")
    return content, graph.signature(_shapes(program, role))


def _shapes(program: Program, role: str) -> dict[str, list[int | str]]:
    """Shapes with named dimensions, by name of the input or output."""
    vocab = program.vocab_size
    shapes: dict[str, list[int | str]] = {
        "input_ids": ["batch", 1 if role == "step" else "seq_len"],
        "logits": ["batch", "seq_len", vocab] if role == "sequence" else ["batch", vocab],
    }
    heads = {f"{kind}.{rule['op']}": rule["rings"] for rule in _rings(program) for kind in ("k", "v")}
    for tensor in state_tensors(program):
        whole: list[int | str] = ["batch", *tensor.shape]
        shapes[tensor.name] = shapes[f"state.{tensor.name}"] = whole
        if tensor.kind == "shift":
            shapes[f"new.{tensor.name}"] = whole
        else:
            head_dim = tensor.shape[1] if tensor.kind == "key" else tensor.shape[2]
            shapes[f"new.{tensor.name}"] = ["batch", tensor.shape[0], len(heads[tensor.name]), head_dim]
    return shapes


def _rings(program: Program) -> list[dict[str, Any]]:
    return [{"op": op.name, "rings": [list(ring) for ring in op.rings]} for op in program.all(Attend)]


def _state_rules(program: Program) -> list[dict[str, Any]]:
    """What a host must know to keep the state, without edgesnn: one entry per state tensor."""
    rings = {rule["op"]: rule["rings"] for rule in _rings(program)}
    rules = []
    for tensor in state_tensors(program):
        rule: dict[str, Any] = {"name": tensor.name, "kind": tensor.kind, "shape": ["batch", *tensor.shape]}
        if tensor.kind != "shift":
            rule["rings"] = rings[tensor.op]
            rule["slot_axis"] = 3 if tensor.kind == "key" else 2
        rules.append(rule)
    return rules
