"""The primitives of the integer program as TFLite operators: integers in float32, exact in every runtime.

float32 because that is what XNNPACK, the default of every current runtime, executes in one piece, at 30 to
60 ns per operator; int32 operators cost ten times that. Where an integer could leave the exact range
(`edgesnn.exporters.tflite.bounds`), another form is used, and the two multiply-shifts run in int32.

Products with int8 weights use the hybrid ``FULLY_CONNECTED`` (float32 times int8, quantised inside the
runtime) followed by ``ROUND``. A row of spikes, zeros and ones, is quantised without loss by every scheme in
use, symmetric or not; the runtime sums in int32; its scales leave an error below a quarter
(`ROUNDED_EXACT`), which ROUND removes. Codes in [-127, 127] go with two constant columns -128 and 127 whose
weights are 0: they pin the runtime's scale to exactly 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.tflite.bounds import (
    FLOAT32_EXACT,
    ROUNDED_EXACT,
    DecayForm,
    decay_form,
    fraction,
    largest_product,
)
from edgesnn.exporters.tflite.graph import RELU, Shape, Tensor, TfliteGraph
from edgesnn.program.ops import (
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

#: Columns that pin the scale of quantised codes.
RANGE_COLUMNS = 2
#: Largest power of two that int32 holds.
_INT32_SHIFT = 30
_BINARY = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
}


class TfliteNumbers:
    """Operators of the primitives.

    Args:
        graph: The graph they are appended to.
        reaches: Largest membrane by name of the LIF (`membrane_reaches`).
    """

    def __init__(self, graph: TfliteGraph, reaches: dict[str, int]) -> None:
        self.graph = graph
        self._reaches = reaches

    def embed(self, op: Embed, ids: Tensor) -> Tensor:
        """Currents ``[batch, length, d]`` of ids ``[batch, length]``."""
        rank, width = op.table.shape[1] + RANGE_COLUMNS, op.projection.shape[1]
        table = self.table(op.table)
        rows = self.graph.op(
            "GATHER", [table, ids], (*ids.shape, rank), np.int8, table="GatherOptions", axis=0
        )
        projection = np.pad(op.projection, [(0, RANGE_COLUMNS), (0, 0)]).T
        codes = self.graph.op(
            "BATCH_MATMUL",
            [rows, self.graph.constant(np.ascontiguousarray(projection))],
            (*ids.shape, width),
            np.int32,
            version=3,
            table="BatchMatMulOptions",
            adjX=False,
            adjY=True,
            asymmetricQuantizeInputs=False,
        )
        scaled = self.binary("MUL", codes, self._ints(op.multiplier))
        return self.cast(self._divide(scaled, op.shift), np.float32)

    def table(self, table: Int8Array) -> Tensor:
        """The tied table ``[vocab, r + 2]``, the added columns 0."""
        return self.graph.constant(np.pad(table, [(0, 0), (0, RANGE_COLUMNS)]))

    def linear(self, op: Linear, spikes: Tensor) -> Tensor:
        """Currents of a spike value."""
        return self.spiking_product(spikes, op.weight)

    def spiking_product(self, spikes: Tensor, weight: Int8Array) -> Tensor:
        """``spikes @ weight`` of zeros and ones, exact."""
        if largest_product(weight, 1) >= ROUNDED_EXACT:
            return self.product(spikes, weight, 1)
        return self._rounded(spikes, self.graph.constant(np.ascontiguousarray(weight.T)), weight.shape[1])

    def product(self, left: Tensor, weight: Int8Array, largest: int) -> Tensor:
        """``left @ weight`` in float32, exact below 2**24.

        Raises:
            ExportError: It is not.
        """
        worst = largest_product(weight, largest)
        if worst >= FLOAT32_EXACT:
            raise ExportError(
                "a matrix product leaves the integers that float32 holds",
                actual=worst,
                limit=f"below {FLOAT32_EXACT}",
            )
        stored = self.graph.constant(np.ascontiguousarray(weight.T))
        return self._connected(left, self.from_state(stored), weight.shape[1])

    def saturate(self, op: Saturate, current: Tensor) -> Tensor:
        """Clip a current."""
        del op
        low = self.binary("MAXIMUM", current, self._float(-RESIDUAL_MAX))
        return self.binary("MINIMUM", low, self._float(RESIDUAL_MAX))

    def drive(self, op: LIF, current: Tensor) -> Tensor:
        """``64 * I + b``.

        A bias beyond 2**24 is added in two parts, its multiple of 64 first: that sum is exact up to 2**30,
        and the second is exact wherever the result can still matter (below 2**24; above, the neuron fires
        or is clipped whatever the last bits are).
        """
        driven = self.binary("MUL", current, self._float(MEMBRANE_SCALE))
        if not np.any(op.bias):
            return driven
        if int(np.abs(op.bias.astype(np.int64)).max()) < FLOAT32_EXACT:
            return self.binary("ADD", driven, self._floats(op.bias))
        low = op.bias % MEMBRANE_SCALE
        return self.binary("ADD", self.binary("ADD", driven, self._floats(op.bias - low)), self._floats(low))

    def floor(self, op: LIF, membrane: Tensor) -> Tensor:
        """Lower saturation, where it can be reached. The upper one can never change a spike."""
        return self.binary("MAXIMUM", membrane, self._float(-MEMBRANE_MAX)) if op.clip else membrane

    def fired(self, op: LIF, membrane: Tensor) -> Tensor:
        """``V > Theta`` as 0 or 1: ``min(max(V - Theta, 0), 1)`` of integers."""
        above = self.binary("SUB", membrane, self._floats(op.threshold), activation=RELU)
        return self.binary("MINIMUM", above, self._float(1))

    def reset(self, membrane: Tensor, fired: Tensor) -> Tensor:
        """``0 where s, else V``."""
        return self.binary("MUL", membrane, self.binary("SUB", self._float(1), fired))

    def decay(self, op: LIF, membrane: Tensor) -> Tensor:
        """``trunc(V * n / 256)`` by the form that the proven reach of this LIF allows."""
        form = decay_form(op, self._reaches[op.name])
        if form is DecayForm.NONE:
            return membrane
        top, bottom = fraction(op)
        size = self.unary("ABS", membrane, table="AbsOptions")
        if form is DecayForm.PRODUCT:
            kept = self.unary("FLOOR", self.binary("MUL", size, self._float(top / bottom)))
        elif form is DecayForm.COMPLEMENT:
            lost = self.unary("CEIL", self.binary("MUL", size, self._float((bottom - top) / bottom)))
            kept = self.binary("SUB", size, lost)
        else:
            quotient = self.binary("MUL", size, self._float(1 / bottom))
            whole = self.unary("FLOOR", quotient)
            rest = self.binary("MUL", self.binary("SUB", quotient, whole), self._float(top))
            kept = self.binary("ADD", self.binary("MUL", whole, self._float(top)), self.unary("FLOOR", rest))
        return self.binary("MUL", kept, self.unary("RELU_N1_TO_1", membrane))

    def from_state(self, state: Tensor) -> Tensor:
        """An int8 tensor as float32."""
        return self.graph.op("DEQUANTIZE", [state], state.shape, table="DequantizeOptions")

    def to_state(self, spikes: Tensor) -> Tensor:
        """A spike value as an int8 tensor."""
        return self.graph.op("QUANTIZE", [spikes], spikes.shape, np.int8, table="QuantizeOptions")

    def readout(self, op: Readout, spikes: Tensor, timesteps: int) -> Tensor:
        """Float32 logits of spike values ``[.., T * d]``; the count rides in D, repeated T times."""
        weight = np.tile(np.pad(op.weight, [(0, 0), (0, RANGE_COLUMNS)]), (timesteps, 1))
        return self.logits(op, self.spiking_product(spikes, weight))

    def logits(self, op: Readout, product: Tensor) -> Tensor:
        """Float32 logits of ``c @ D``, ``[.., r + 2]``: multiply, shift, clip, tied product, power of two."""
        pad = (0, RANGE_COLUMNS)
        z = self.binary("ADD", self.cast(product, np.int32), self._ints(np.pad(op.bias, pad)))
        scaled = self.binary("MUL", z, self._ints(np.pad(op.multiplier, pad)))
        codes = self.cast(self._divide(scaled, op.shift), np.float32)
        rank = op.table.shape[1]
        codes = self.binary("MAXIMUM", codes, self._floats(np.array([*[-127] * rank, -128, 127])))
        codes = self.binary("MINIMUM", codes, self._floats(np.array([*[127] * rank, -128, 127])))
        stored, vocab = self.table(op.table), op.table.shape[0]
        if largest_product(op.table.T, 127) < ROUNDED_EXACT:
            logits = self._rounded(codes, stored, vocab)
        else:
            logits = self._connected(codes, self.from_state(stored), vocab)
        return self.binary("MUL", logits, self._float(2.0**-op.exponent)) if op.exponent else logits

    def unary(self, kind: str, value: Tensor, table: str | None = None) -> Tensor:
        """An elementwise operator with one input."""
        return self.graph.op(kind, [value], value.shape, value.dtype, table=table)

    def binary(self, kind: str, left: Tensor, right: Tensor, activation: int = 0) -> Tensor:
        """An elementwise operator with two inputs that broadcast."""
        options = {} if kind in ("MAXIMUM", "MINIMUM") else {"fusedActivationFunction": activation}
        shape = broadcast(left.shape, right.shape)
        return self.graph.op(kind, [left, right], shape, left.dtype, table=_BINARY[kind], **options)

    def cast(self, value: Tensor, dtype: type[np.generic]) -> Tensor:
        """A value in another dtype."""
        return self.graph.op("CAST", [value], value.shape, dtype)

    def _rounded(self, left: Tensor, stored: Tensor, width: int) -> Tensor:
        return self.unary("ROUND", self._connected(left, stored, width))

    def _connected(self, left: Tensor, stored: Tensor, width: int) -> Tensor:
        hybrid = stored.dtype == np.int8
        return self.graph.op(
            "FULLY_CONNECTED",
            [left, stored, None],
            (*left.shape[:-1], width),
            version=9 if hybrid else 5,
            table="FullyConnectedOptions",
            keepNumDims=True,
            asymmetricQuantizeInputs=hybrid,
        )

    def _divide(self, value: Tensor, shift: int) -> Tensor:
        """``trunc(value / 2**shift)``: int32 DIV truncates. 2**31 does not fit int32: two divisions."""
        while shift > _INT32_SHIFT:
            value = self.binary("DIV", value, self._ints(np.array(1 << _INT32_SHIFT)))
            shift -= _INT32_SHIFT
        return self.binary("DIV", value, self._ints(np.array(1 << shift))) if shift else value

    def _float(self, number: float) -> Tensor:
        return self.graph.constant(np.float32(number))

    def _floats(self, vector: npt.NDArray[np.integer]) -> Tensor:
        return self.graph.constant(vector, np.float32)

    def _ints(self, vector: npt.NDArray[np.integer]) -> Tensor:
        return self.graph.constant(vector, np.int32)


def broadcast(left: Shape, right: Shape) -> Shape:
    """The shape of an elementwise result; a dimension that is not known yet wins over a 1."""
    longest = max(len(left), len(right))
    first = (1,) * (longest - len(left)) + left
    second = (1,) * (longest - len(right)) + right
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))
