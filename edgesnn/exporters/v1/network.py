"""The forward pass of a student of version 1.0 as one ONNX graph, opset 17, standard operators only."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.program.float_program import Float32Array
from edgesnn.program.v1_student import NORM_EPS, V1Student

_INT8_MAX = 127


class FloatWeights:
    """Matrices as float32 initialisers.

    Args:
        graph: The graph they are put into.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph

    def matrix(self, weight: Float32Array, axis: int, *, last: bool) -> str:
        """Name of a matrix.

        Args:
            weight: ``[rows, columns]``.
            axis: Along which each row or column has a scale of its own, where there are scales.
            last: Whether no threshold follows it: it is the head.
        """
        del axis, last
        return self.graph.constant(weight, np.float32)


class Int8Weights(FloatWeights):
    """Matrices as int8 initialisers, one scale a channel, which ``DequantizeLinear`` makes float when used.

    ``w = scale * q`` with ``scale = max|w| / 127``; a channel of zeros has scale 1.
    """

    def matrix(self, weight: Float32Array, axis: int, *, last: bool) -> str:
        del last
        return self._plane(weight, axis)[0]

    def _plane(self, weight: Float32Array, axis: int) -> tuple[str, Float32Array]:
        """Name of a rounded matrix, and what is left of it."""
        reach = np.abs(weight).max(axis=1 - axis, keepdims=True)
        scale = np.where(reach > 0, reach / _INT8_MAX, 1).astype(np.float32)
        codes = np.clip(np.rint(weight / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8)
        graph = self.graph
        name = graph.op(
            "DequantizeLinear",
            graph.constant(codes),
            graph.constant(scale.ravel()),
            graph.constant(np.zeros(scale.size, np.int8)),
            axis=axis,
        )
        return name, (weight - codes.astype(np.float32) * scale).astype(np.float32)


class TwoInt8Weights(Int8Weights):
    """Where a threshold follows, a matrix is the sum of two of int8: the second holds what the first left.

    One int8 plane moves values across hard thresholds and changes spikes; docs/v1_students.md has figures.
    """

    def matrix(self, weight: Float32Array, axis: int, *, last: bool) -> str:
        first, rest = self._plane(weight, axis)
        return first if last else self.graph.op("Add", first, self._plane(rest, axis)[0])


class _Network:
    """Appends the layers of a student to a graph."""

    def __init__(self, student: V1Student, graph: OnnxGraph, weights: FloatWeights) -> None:
        self.student, self.graph, self.weights = student, graph, weights

    def vector(self, name: str) -> str:
        return self.graph.constant(self.student.tensor(name))

    def linear(self, value: str, weight: str, bias: str) -> str:
        """``value @ W.T + b`` from ``W [out, in]``; a scale for every output."""
        last = weight.startswith("head.")
        matrix = self.weights.matrix(np.ascontiguousarray(self.student.tensor(weight).T), 1, last=last)
        return self.graph.op("Add", self.graph.op("MatMul", value, matrix), self.vector(bias))

    def norm(self, value: str, name: str) -> str:
        weight, bias = self.vector(f"{name}.weight"), self.vector(f"{name}.bias")
        return self.graph.op("LayerNormalization", value, weight, bias, axis=-1, epsilon=NORM_EPS)

    def spike(self, value: str) -> str:
        fired = self.graph.op("Greater", value, self.graph.constant(self.student.threshold, np.float32))
        return self.graph.cast(fired, np.float32)

    def gelu(self, value: str) -> str:
        """``x (1 + erf(x / sqrt 2)) / 2``, the exact form."""
        graph = self.graph
        erf = graph.op("Erf", graph.op("Mul", value, graph.constant(np.sqrt(0.5), np.float32)))
        doubled = graph.op("Mul", value, graph.op("Add", erf, graph.constant(1, np.float32)))
        return graph.op("Mul", doubled, graph.constant(0.5, np.float32))

    def attention(self, value: str, name: str) -> str:
        """Multi-head softmax attention of every token to all tokens."""
        graph, student = self.graph, self.student
        width = student.dim // student.heads
        parts = graph.ops(
            "Split", 3, self.linear(value, f"{name}.in_proj_weight", f"{name}.in_proj_bias"), axis=-1
        )
        apart = graph.ints(0, 0, student.heads, width)
        query, key, held = (graph.op("Reshape", part, apart) for part in parts)
        query = graph.op("Mul", query, graph.constant(width**-0.5, np.float32))
        query, held = (graph.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, held))
        scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 2, 3, 1]))
        seen = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), held)
        joined = graph.op("Transpose", seen, perm=[0, 2, 1, 3])
        joined = graph.op("Reshape", joined, graph.ints(0, 0, student.dim))
        return self.linear(joined, f"{name}.out_proj.weight", f"{name}.out_proj.bias")

    def block(self, value: str, name: str) -> str:
        graph = self.graph
        seen = self.attention(value, f"{name}.attn.attn")
        value = self.spike(self.norm(graph.op("Add", value, seen), f"{name}.attn.norm"))
        up = self.spike(self.gelu(self.linear(value, f"{name}.ff.0.weight", f"{name}.ff.0.bias")))
        down = self.linear(up, f"{name}.ff.3.weight", f"{name}.ff.3.bias")
        return self.norm(graph.op("Add", value, down), f"{name}.norm")

    def logits(self, ids: str) -> str:
        table = self.weights.matrix(self.student.tensor("embed.weight"), 0, last=False)
        value = self.graph.op("Gather", table, ids)
        for number in range(self.student.depth):
            value = self.block(value, f"blocks.{number}")
        return self.linear(value, "head.weight", "head.bias")


def build_v1(
    student: V1Student, metadata: dict[str, str], weights: type[FloatWeights] = FloatWeights
) -> tuple[ModelProto, dict[str, Any]]:
    """A student of version 1.0 as one graph: ``input_ids [batch, seq_len]`` to ``logits [.., vocab]``.

    Args:
        student: The student.
        metadata: For ``metadata_props``.
        weights: How matrices are stored.

    Returns:
        The checked model, every weight inside, and its inputs and outputs.

    Raises:
        ExportError: The checker refuses the graph.
    """
    graph = OnnxGraph("edgesnn_v1")
    ids = graph.input("input_ids", np.int64, ["batch", "seq_len"])
    logits = _Network(student, graph, weights(graph)).logits(ids)
    graph.output("logits", logits, np.float32, ["batch", "seq_len", student.vocab_size])
    return graph.model({**metadata, "role": "sequence"}), graph.signature()
