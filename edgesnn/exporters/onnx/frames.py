"""A program that reads frames as an ONNX graph of one frame, in integers only.

Values lie ``[batch, channels]``: spikes as bool, all others as int32. Products are ``MatMulInteger`` and
``ConvInteger``; what they read is uint8 with a zero point. Where one byte does not hold a graded value, its
high and its low byte are two products: ``sum w x = 256 sum w h + sum w l`` with ``x = 256 h + l``.

Two bytes are both uint8 there, a kernel that widens before it multiplies; so are all convolutions. A signed
weight beside uint8 is taken where a pair of products stays within the saturating int16 of x86 without VNNI:
``2 * 127 * 127 < 2**15``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from edgesnn.errors import ExportError
from edgesnn.exporters.onnx.graph import Dim, OnnxGraph
from edgesnn.exporters.onnx.primitives import ZERO_POINT
from edgesnn.program.bounds import value_ranges
from edgesnn.program.ops import DECAY_DENOMINATOR, MEMBRANE_MAX, RESIDUAL_MAX, Add, Linear, Saturate
from edgesnn.program.ops_frames import (
    COUNT_MAX,
    SAMPLE_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program

#: Names of the input and of the output that are no state.
FRAME, OUTPUTS = "frame", "outputs"
_BYTE = 256
#: Appends a product with an operand and its zero point.
_Product = Callable[[str, str], str]


class OnnxFrames:
    """One program being lowered.

    Args:
        program: A program that reads frames, proven.
    """

    def __init__(self, program: Program) -> None:
        self.graph = OnnxGraph("edgesnn_step")
        self._program = program
        self._ranges = value_ranges(program)
        self._channels = program.channels()
        self._values: dict[str, str] = {}
        self._operands: dict[str, tuple[list[tuple[int, str, int]], bool]] = {}

    def build(self, metadata: dict[str, str]) -> tuple[ModelProto, dict[str, Any]]:
        """The checked model and its signature.

        Args:
            metadata: For ``metadata_props``; the role is added.

        Raises:
            ExportError: The program has an op that ONNX cannot carry, or the checker refuses the graph.
        """
        for op in self._program.ops:
            self._values[op.out] = self._lower(op)
            if isinstance(op, StatefulLIF):
                self.graph.label(self._values[op.out], op.out)
        name = self._values[self._program.ops[-1].out]
        self.graph.output(OUTPUTS, name, np.int32, ["batch", self._program.outputs])
        return self.graph.model({**metadata, "role": "step"}), self.graph.signature()

    def _lower(self, op: Any) -> str:
        graph = self.graph
        if isinstance(op, Frames):
            given = graph.input(FRAME, np.int8, ["batch", op.channels])
            return graph.cast(given, np.bool_ if self._is_spikes(op.out) else np.int32)
        if isinstance(op, Linear):
            return self._linear(op)
        if isinstance(op, Conv):
            return self._conv(op, op.weight, op.groups, op.dilation)
        if isinstance(op, SumPool):
            return self._conv(op, np.ones((op.shape[0], 1, *op.kernel), np.int8), op.shape[0], (1, 1))
        if isinstance(op, StatefulLIF):
            return self._lif(op)
        if isinstance(op, Delay):
            return self._delay(op)
        if isinstance(op, Add):
            return graph.op("Add", self._values[op.left], self._values[op.right])
        if isinstance(op, Saturate):
            return self._clip(self._values[op.input], RESIDUAL_MAX)
        if isinstance(op, FrameOutput):
            return self._output(op)
        raise ExportError("the ONNX exporter does not know an op of this program", actual=type(op).__name__)

    def _linear(self, op: Linear) -> str:
        operands, narrow = self._split(op.input)
        weight = self.graph.constant(op.weight if narrow else _unsigned(op.weight))
        more = () if narrow else (self._byte(ZERO_POINT),)
        return self._weighted(
            operands, lambda operand, point: self.graph.op("MatMulInteger", operand, weight, point, *more)
        )

    def _conv(
        self, op: Conv | SumPool, weight: npt.NDArray[np.int8], groups: int, dilation: tuple[int, int]
    ) -> str:
        graph, maps = self.graph, self.graph.ints(0, *op.shape)
        constant, zero = graph.constant(_unsigned(weight)), self._byte(ZERO_POINT)
        rows, columns = op.padding

        def product(operand: str, point: str) -> str:
            return graph.op(
                "ConvInteger",
                graph.op("Reshape", operand, maps),
                constant,
                point,
                zero,
                group=groups,
                strides=list(op.stride),
                dilations=list(dilation),
                kernel_shape=list(weight.shape[2:]),
                pads=[rows, columns, rows, columns],
            )

        return graph.op(
            "Reshape", self._weighted(self._split(op.input)[0], product), graph.ints(0, op.channels)
        )

    def _split(self, name: str) -> tuple[list[tuple[int, str, int]], bool]:
        """A value as bytes: factor, uint8 and zero point of each; whether a signed weight may stand beside.

        One byte where it holds the proven range of the value, else two.
        """
        if name not in self._operands:
            graph, value = self.graph, self._values[name]
            low, high = self._ranges[name]
            parts = []
            if low >= 0 and high < _BYTE:
                parts.append((1, graph.cast(value, np.uint8), 0))
            elif low >= -ZERO_POINT and high < ZERO_POINT:
                parts.append((1, self._from_zero(value), ZERO_POINT))
            else:
                rest = graph.op("Mod", value, self._int(_BYTE))  # of the divisor's sign: 0..255
                above = graph.op("Div", graph.op("Sub", value, rest), self._int(_BYTE))
                parts += [(1, graph.cast(rest, np.uint8), 0), (_BYTE, self._from_zero(above), ZERO_POINT)]
            self._operands[name] = parts, low >= 0 and high <= SAMPLE_MAX
        return self._operands[name]

    def _weighted(self, parts: list[tuple[int, str, int]], product: _Product) -> str:
        total = ""
        for factor, operand, point in parts:
            made = product(operand, self._byte(point))
            made = made if factor == 1 else self.graph.op("Mul", made, self._int(factor))
            total = self.graph.op("Add", total, made) if total else made
        return total

    def _from_zero(self, value: str) -> str:
        return self.graph.cast(self.graph.op("Add", value, self._int(ZERO_POINT)), np.uint8)

    def _lif(self, op: StatefulLIF) -> str:
        """A neuron; parameters that several channels share stand once, ``[P, 1]``."""
        graph, width, size = self.graph, self._channels[op.out], len(op.threshold)
        grouped = 1 < size < width
        row = graph.ints(0, width)

        def laid(value: str) -> str:
            return graph.op("Reshape", value, graph.ints(0, size, width // size)) if grouped else value

        def flat(value: str) -> str:
            return graph.op("Reshape", value, row) if grouped else value

        def parameter(values: npt.NDArray[np.int32]) -> str:
            return graph.constant(values[:, None] if grouped else values, np.int32)

        before = laid(self._state(f"membrane.{op.name}", width))
        theta = parameter(op.threshold)
        drop = theta if not op.inclusive else parameter(op.drop)
        membrane = laid(self._values[op.input])
        if op.fraction > 0:
            membrane = graph.op("Mul", membrane, self._int(1 << op.fraction))
        if np.any(op.bias):
            membrane = graph.op("Add", membrane, parameter(op.bias))
        kept = before
        if np.any(op.decay != DECAY_DENOMINATOR):
            kept = graph.op("Mul", kept, parameter(op.decay))
            kept = graph.op("Div", kept, self._int(DECAY_DENOMINATOR))  # int32 division truncates
        membrane = graph.op("Add", membrane, kept)
        if op.reset is Reset.LATE:
            owed = graph.op("Where", graph.op("Greater", before, theta), drop, self._int(0))
            membrane = graph.op("Sub", membrane, owed)
        membrane = self._clip(membrane, MEMBRANE_MAX)
        fired = graph.op("Greater", membrane, theta)
        spikes, rest = fired, membrane
        if op.reset is Reset.MANY:
            spikes = graph.op("Where", fired, graph.op("Div", membrane, drop), self._int(0))
            rest = graph.op("Sub", membrane, graph.op("Mul", spikes, drop))
        elif op.reset is Reset.SUBTRACT:
            rest = graph.op("Sub", membrane, graph.op("Where", fired, drop, self._int(0)))
        elif op.reset is Reset.ZERO:
            rest = graph.op("Where", fired, self._int(0), membrane)
        made = membrane if op.membrane else spikes
        self._keep(f"membrane.{op.name}", flat(rest), width)
        return flat(made)

    def _delay(self, op: Delay) -> str:
        """The frames before stand oldest first; all of them and this one are the window of the next."""
        graph, width = self.graph, self._channels[op.out]
        name, shape = f"delay.{op.name}", list[Dim](("batch", op.longest, width))
        past = graph.input(name, np.int16, shape)
        now = graph.op("Unsqueeze", self._numbers(op.input), graph.ints(1))
        window = graph.op("Concat", graph.cast(past, np.int32), now, axis=1)
        end = graph.ints(int(np.iinfo(np.int64).max))
        later = graph.op("Slice", window, graph.ints(1), end, graph.ints(1))
        graph.output(f"new.{name}", graph.cast(later, np.int16), np.int16, shape)
        delays = np.repeat(op.delays.astype(np.int64), width // len(op.delays))
        places = (op.longest - delays) * width + np.arange(width)
        flat = graph.op("Reshape", window, graph.ints(0, (op.longest + 1) * width))
        made = graph.op("Gather", flat, graph.constant(places.astype(np.int32)), axis=1)
        return graph.cast(made, np.bool_) if self._is_spikes(op.out) else made

    def _output(self, op: FrameOutput) -> str:
        value, width = self._numbers(op.input), self._channels[op.out]
        if not op.summed:
            return value
        name = f"count.{op.name}"
        count = self._clip(self.graph.op("Add", self._state(name, width), value), COUNT_MAX)
        self._keep(name, count, width)
        return count

    def _state(self, name: str, width: int) -> str:
        return self.graph.input(name, np.int32, ["batch", width])

    def _keep(self, name: str, value: str, width: int) -> None:
        self.graph.output(f"new.{name}", value, np.int32, ["batch", width])

    def _numbers(self, name: str) -> str:
        value = self._values[name]
        return self.graph.cast(value, np.int32) if self._is_spikes(name) else value

    def _is_spikes(self, name: str) -> bool:
        """Whether a value is carried as bool."""
        maker = next(op for op in self._program.ops if op.out == name)
        if isinstance(maker, Delay):
            return self._is_spikes(maker.input)
        if isinstance(maker, Frames):
            return (maker.low, maker.high) == (0, 1)
        return isinstance(maker, StatefulLIF) and not maker.membrane and maker.reset is not Reset.MANY

    def _clip(self, value: str, limit: int) -> str:
        return self.graph.op("Clip", value, self._int(-limit), self._int(limit))

    def _int(self, number: int) -> str:
        return self.graph.constant(np.int32(number))

    def _byte(self, number: int) -> str:
        return self.graph.constant(np.uint8(number))


def _unsigned(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    return (codes.astype(np.int16) + ZERO_POINT).astype(np.uint8)
