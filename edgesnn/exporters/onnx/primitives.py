"""The primitives of the integer program as ONNX nodes: exact int32 on every backend.

Every matrix product is ``MatMulInteger`` with an unsigned left side: signed times signed is up to a hundred
times slower in onnxruntime. On x86 without VNNI the kernel adds pairs of uint8 times int8 products in
saturating int16; a pair of emitted spikes (64) makes at most 2 * 64 * 127 = 16,256, a pair of counts or
scores at most 2 * 255. The embedding and the tied readout have no such bound, so there both sides are uint8
with zero point 128, a kernel that widens first.

Currents are carried times 64, the scale of membranes: a spike is emitted toward a Linear with the value 64.
"""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.exporters.onnx.steady import fired as steady_spikes
from edgesnn.program.bounds import prove
from edgesnn.program.ops import (
    DECAY_DENOMINATOR,
    LIF,
    MEMBRANE_MAX,
    MEMBRANE_SCALE,
    RESIDUAL_MAX,
    Embed,
    Int8Array,
    Linear,
    Readout,
    Saturate,
)
from edgesnn.program.program import Program

#: Zero point of int8 codes stored as uint8.
ZERO_POINT = 128
#: Largest power of two that int32 holds.
_INT32_SHIFT = 30
#: Integers up to this are exact in float32.
_FLOAT32_EXACT = 2**24


class IntegerNumbers:
    """Nodes of the integer primitives.

    Args:
        graph: The graph they are appended to.
        narrow_lifs: Names of the LIFs whose decay is exact in float32 (`exact_in_float32`).
        many_rows: Whether the graph reads out many positions at once.

    Attributes:
        state_dtype: Of state tensors.
        graph: The graph.
    """

    state_dtype = np.dtype(np.int8)

    def __init__(
        self, graph: OnnxGraph, narrow_lifs: frozenset[str] = frozenset(), many_rows: bool = False
    ) -> None:
        self.graph = graph
        self._many_rows = many_rows
        self._narrow_lifs = narrow_lifs

    def embed(self, op: Embed, ids: str) -> str:
        """Currents times 64, int32 ``[batch, length, d]``, of ids ``[batch, length]``.

        The table is stored once, transposed as the readout needs it, and read by column.
        """
        graph = self.graph
        zero = graph.constant(np.uint8(ZERO_POINT))
        if self._many_rows:
            rows = graph.op("Gather", graph.constant(op.table.T), ids, axis=1)
            rows = graph.op("Add", graph.cast(rows, np.int32), graph.constant(np.int32(ZERO_POINT)))
            rows = graph.cast(rows, np.uint8)
        else:
            rows = graph.op("Gather", self.table(op.table), ids, axis=1)
        rows = graph.op("Transpose", rows, perm=[1, 2, 0])
        projection = graph.constant(_unsigned(op.projection))
        codes = graph.op("MatMulInteger", rows, projection, zero, zero)
        scaled = graph.op("Mul", codes, graph.constant(op.multiplier, np.int32))
        return graph.op("Mul", self.divide(scaled, op.shift), graph.constant(np.int32(MEMBRANE_SCALE)))

    def table(self, table: Int8Array) -> str:
        """The tied table as uint8 ``[r, vocab]`` with zero point 128."""
        return self.graph.constant(_unsigned(table.T))

    def divide(self, value: str, shift: int) -> str:
        """``trunc(value / 2**shift)``: int32 ``Div`` truncates. 2**31 does not fit int32: two divisions."""
        while shift > _INT32_SHIFT:
            value = self.graph.op("Div", value, self.graph.constant(np.int32(1 << _INT32_SHIFT)))
            shift -= _INT32_SHIFT
        if shift == 0:
            return value
        return self.graph.op("Div", value, self.graph.constant(np.int32(1 << shift)))

    def linear(self, op: Linear, spikes: str) -> str:
        """Currents times 64 of a spike value."""
        emitted = self.graph.op(
            "Where", spikes, self.graph.constant(np.uint8(MEMBRANE_SCALE)), self.graph.constant(np.uint8(0))
        )
        return self.graph.op("MatMulInteger", emitted, self.graph.constant(op.weight))

    def saturate(self, op: Saturate, current: str) -> str:
        """Clip a current times 64."""
        del op
        limit = RESIDUAL_MAX * MEMBRANE_SCALE
        low, high = self.graph.constant(np.int32(-limit)), self.graph.constant(np.int32(limit))
        return self.graph.op("Clip", current, low, high)

    def steady(self, op: LIF, current: str, timesteps: int, axis: int) -> str:
        """Spikes of a current that is the same at every timestep: comparisons, no recurrence."""
        return steady_spikes(self.graph, op, current, timesteps, axis)

    def drive(self, op: LIF, current: str) -> str:
        """``64 * I + b``; a bias of zero costs nothing."""
        if not np.any(op.bias):
            return current
        return self.graph.op("Add", current, self.graph.constant(op.bias, np.int32))

    def floor(self, op: LIF, membrane: str) -> str:
        """Lower saturation, where it can be reached. The upper one can never change a spike."""
        if not op.clip:
            return membrane
        return self.graph.op("Max", membrane, self.graph.constant(np.int32(-MEMBRANE_MAX)))

    def fired(self, op: LIF, membrane: str) -> str:
        """``V > Theta``, bool."""
        return self.graph.op("Greater", membrane, self.graph.constant(op.threshold, np.int32))

    def spike(self, fired: str) -> str:
        """Spike values are bool, one byte, until someone needs them as numbers."""
        return fired

    def reset(self, op: LIF, membrane: str, fired: str) -> str:
        """``0 where s, else V``."""
        del op
        return self.graph.op("Where", fired, self.graph.constant(np.int32(0)), membrane)

    def reset_few(self, op: LIF, membrane: str) -> str:
        """``V * (V <= Theta)``: three nodes that together cost less than Greater and Where on few rows."""
        quiet = self.graph.op("LessOrEqual", membrane, self.graph.constant(op.threshold, np.int32))
        return self.graph.op("Mul", self.graph.cast(quiet, np.int32), membrane)

    def decay(self, op: LIF, membrane: str) -> str:
        """``trunc(V * n / 256)`` by the reduced fraction; ``abs(V * n)`` stays below 2**31.

        Where the product is proven to fit the 24 bits of float32, it is exact there and ``Cast`` truncates:
        on many rows less than half the time of an int32 ``Div``.
        """
        numerator, denominator = _fraction(op)
        if denominator == 1:
            return membrane
        if op.name in self._narrow_lifs:
            beta = self.graph.constant(np.float32(numerator / denominator))
            scaled = self.graph.op("Mul", self.graph.cast(membrane, np.float32), beta)
            return self.graph.cast(scaled, np.int32)
        if numerator > 1:
            membrane = self.graph.op("Mul", membrane, self.graph.constant(np.int32(numerator)))
        return self.graph.op("Div", membrane, self.graph.constant(np.int32(denominator)))

    def from_state(self, state: str) -> str:
        """A state tensor as a spike value."""
        return self.graph.cast(state, np.bool_)

    def to_state(self, spikes: str) -> str:
        """A spike value as a state tensor."""
        return self.graph.cast(spikes, np.int8)

    def left(self, spikes: str) -> str:
        """A spike value as the unsigned left side of a product."""
        return self.graph.cast(spikes, np.uint8)

    def both(self, first: str, second: str) -> str:
        """``first and second``."""
        return self.graph.op("And", first, second)

    def product(self, left: str, right: str) -> str:
        """uint8 times int8, int32."""
        return self.graph.op("MatMulInteger", left, right)

    def ones(self, array: npt.NDArray[np.bool_]) -> str:
        """A 0/1 matrix, int8."""
        return self.graph.constant(array, np.int8)

    def narrow(self, scores: str) -> str:
        """Scores as uint8: at most the head dimension, 255."""
        return self.graph.cast(scores, np.uint8)

    def mask(self, mask: npt.NDArray[np.bool_]) -> str:
        """A mask, int32."""
        return self.graph.constant(mask, np.int32)

    def masked(self, scores: str, mask: str) -> str:
        """Scores times a mask, uint8."""
        return self.narrow(self.graph.op("Mul", scores, mask))

    def gate(self, spikes: str, current: str) -> str:
        """A current where a spike value is 1, else 0."""
        return self.graph.op("Where", spikes, current, self.graph.constant(np.int32(0)))

    def attended(self, current: str) -> str:
        """What attention gives, in the scale of currents."""
        return self.graph.op("Mul", current, self.graph.constant(np.int32(MEMBRANE_SCALE)))

    def readout(self, op: Readout, spikes: str, timesteps: int) -> str:
        """Float32 logits of spike values laid out ``[.., T * d]``; the count rides in D, repeated T times."""
        graph = self.graph
        z = graph.op("MatMulInteger", self.left(spikes), graph.constant(np.tile(op.weight, (timesteps, 1))))
        z = graph.op("Add", z, graph.constant(op.bias, np.int32))
        return self.logits(op, z)

    def logits(self, op: Readout, z: str) -> str:
        """Float32 logits of z, int32 ``[.., r]``: multiply, shift, clip, tied product, power of two."""
        graph = self.graph
        scaled = self.divide(graph.op("Mul", z, graph.constant(op.multiplier, np.int32)), op.shift)
        product = self._tied_many(op, scaled) if self._many_rows else self._tied_one(op, scaled)
        scale = graph.constant(np.float32(2.0**-op.exponent))
        return graph.op("Mul", graph.cast(product, np.float32), scale)

    def _tied_one(self, op: Readout, scaled: str) -> str:
        """``clip(scaled) @ E.T``, both sides uint8: the faster kernel for one row."""
        graph, zero = self.graph, self.graph.constant(np.uint8(ZERO_POINT))
        low, high = graph.constant(np.int32(-127)), graph.constant(np.int32(127))
        codes = graph.op("Clip", scaled, low, high)
        codes = graph.cast(graph.op("Add", codes, graph.constant(np.int32(ZERO_POINT))), np.uint8)
        return graph.op("MatMulInteger", codes, self.table(op.table), zero, zero)

    def _tied_many(self, op: Readout, scaled: str) -> str:
        """The same as positive and negative parts times ``[E.T; -E.T]``: uint8 times int8.

        A pair makes at most 2 * 127 * 127 = 32,258. The second half of the table is made when the model is
        loaded, not stored.
        """
        graph, zero = self.graph, self.graph.constant(np.int32(0))
        high, table = graph.constant(np.int32(127)), graph.constant(op.table.T)
        parts = [graph.op("Clip", part, zero, high) for part in (scaled, graph.op("Neg", scaled))]
        codes = graph.cast(graph.op("Concat", *parts, axis=-1), np.uint8)
        signed = graph.op("Concat", table, graph.op("Neg", table), axis=0)
        return graph.op("MatMulInteger", codes, signed)


def exact_in_float32(program: Program) -> frozenset[str]:
    """Names of the LIFs whose ``V * n`` provably fits the 24 bits of a float32 mantissa.

    A membrane that is carried on lies between its proven lower bound and its threshold.

    Args:
        program: A proven program.

    Returns:
        The names.

    Raises:
        CompileError: An op of the program can overflow.
    """
    low = {bound.op: bound.low for bound in prove(program)}
    return frozenset(
        op.name
        for op in program.all(LIF)
        if max(-low[op.name], int(op.threshold.max())) * _fraction(op)[0] <= _FLOAT32_EXACT
    )


def _fraction(op: LIF) -> tuple[int, int]:
    common = gcd(op.decay, DECAY_DENOMINATOR)
    return op.decay // common, DECAY_DENOMINATOR // common


def _unsigned(codes: Int8Array) -> npt.NDArray[np.uint8]:
    return (codes.astype(np.int16) + ZERO_POINT).astype(np.uint8)
