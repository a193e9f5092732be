"""A program that reads frames as a TFLite model of one frame.

Values lie ``[batch, channels]``. Products run in float32, where every partial sum of a proven program is an
integer below 2**23; spikes, graded values and currents stay float32 between them. Neurons run in int32: a
membrane's drive may leave the range that float32 holds exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.tflite.graph import VALID, Tensor, TfliteGraph
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.shapes import concat, reshape, split, transpose
from edgesnn.program.bounds import prove
from edgesnn.program.ops import DECAY_DENOMINATOR, MEMBRANE_MAX, RESIDUAL_MAX, Add, Linear, Saturate
from edgesnn.program.ops_frames import (
    COUNT_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors

#: Names of the input and of the output that are no state.
FRAME, OUTPUTS = "frame", "outputs"
_NHWC, _NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class TfliteFrames:
    """One program being lowered.

    Args:
        program: A program that reads frames.

    Raises:
        CompileError: The program can overflow.
    """

    def __init__(self, program: Program) -> None:
        prove(program)
        self.graph = TfliteGraph("step")
        self._numbers = TfliteNumbers(self.graph, {})
        self._program = program
        self._channels = program.channels()
        self._values: dict[str, Tensor] = {}

    def build(self, metadata: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The model and its signature.

        Args:
            metadata: Facts for the metadata entry; the role and the state rules are added.

        Raises:
            ExportError: The program has an op that TFLite cannot carry.
        """
        for op in self._program.ops:
            self._values[op.out] = self._lower(op)
        self.graph.output(OUTPUTS, self._values[self._program.ops[-1].out])
        rules = [
            {"name": tensor.name, "kind": tensor.kind, "shape": ["batch", *tensor.shape]}
            for tensor in state_tensors(self._program)
        ]
        facts = {**metadata, "role": "step", "state": rules}
        content = self.graph.serialise(facts, f"{metadata.get('model_name', 'edgesnn')}: step")
        shapes: dict[str, list[int | str]] = {OUTPUTS: ["batch", self._program.outputs]}
        shapes[FRAME] = ["batch", self._channels[self._program.ops[0].out]]
        for tensor in state_tensors(self._program):
            shapes[tensor.name] = shapes[f"new.{tensor.name}"] = ["batch", *tensor.shape]
        return content, self.graph.signature(shapes)

    def _lower(self, op: Any) -> Tensor:
        numbers = self._numbers
        if isinstance(op, Frames):
            return numbers.from_state(self.graph.input(FRAME, np.int8, (-1, op.channels)))
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
        if isinstance(op, Add):  # below 2**24, and float32 holds that
            return numbers.binary("ADD", self._values[op.left], self._values[op.right])
        if isinstance(op, Saturate):
            return self._clip(self._values[op.input], RESIDUAL_MAX)
        if isinstance(op, FrameOutput):
            return self._output(op)
        raise ExportError("the TFLite exporter does not know an op of this program", actual=type(op).__name__)

    def _linear(self, op: Linear) -> Tensor:
        value, width = self._values[op.input], op.weight.shape[1]
        weight = self._numbers.from_state(self.graph.constant(np.ascontiguousarray(op.weight.T)))
        return self.graph.op(
            "FULLY_CONNECTED",
            [value, weight, None],
            (-1, width),
            version=5,
            table="FullyConnectedOptions",
            keepNumDims=True,
        )

    def _conv(
        self, op: Conv | SumPool, weight: npt.NDArray[np.int8], groups: int, dilation: tuple[int, int]
    ) -> Tensor:
        graph, (channels, high, wide) = self.graph, op.shape
        maps = transpose(graph, reshape(graph, self._values[op.input], (-1, channels, high, wide)), _NHWC)
        rows, columns = op.padding
        if rows or columns:
            pads = graph.constant(np.array([[0, 0], [rows, rows], [columns, columns], [0, 0]], np.int32))
            shape = (-1, high + 2 * rows, wide + 2 * columns, channels)
            maps = graph.op("PAD", [maps, pads], shape, table="PadOptions")
        if groups == channels > 1:
            made = self._window(op, maps, weight, dilation, each=True)
        else:
            parts = split(graph, maps, groups, -1)
            shares = np.split(weight, groups)
            pairs = zip(parts, shares, strict=True)
            made = concat(
                graph, [self._window(op, part, share, dilation, each=False) for part, share in pairs], -1
            )
        return reshape(graph, transpose(graph, made, _NCHW), (-1, op.channels))

    def _window(
        self,
        op: Conv | SumPool,
        maps: Tensor,
        weight: npt.NDArray[np.int8],
        dilation: tuple[int, int],
        *,
        each: bool,
    ) -> Tensor:
        """One convolution without padding, ``[batch, height', width', out]``; with ``each`` map by map."""
        out, (_, high, wide) = len(weight), op.out_shape
        order = weight[:, 0].transpose(1, 2, 0)[None] if each else weight.transpose(0, 2, 3, 1)
        filters = self._numbers.from_state(self.graph.constant(np.ascontiguousarray(order)))
        options: dict[str, Any] = {
            "padding": VALID,
            "strideH": op.stride[0],
            "strideW": op.stride[1],
            "dilationHFactor": dilation[0],
            "dilationWFactor": dilation[1],
        }
        if each:
            options["depthMultiplier"] = out // maps.shape[-1]
        return self.graph.op(
            "DEPTHWISE_CONV_2D" if each else "CONV_2D",
            [maps, filters, self.graph.constant(np.zeros(out, np.float32))],
            (-1, high, wide, out),
            version=2 if each else 1,
            table="DepthwiseConv2DOptions" if each else "Conv2DOptions",
            **options,
        )

    def _lif(self, op: StatefulLIF) -> Tensor:
        """A neuron in int32; parameters that several channels share stand once, ``[P, 1]``."""
        graph, numbers = self.graph, self._numbers
        width, size = self._channels[op.out], len(op.threshold)
        grouped = 1 < size < width

        def laid(value: Tensor) -> Tensor:
            return reshape(graph, value, (-1, size, width // size)) if grouped else value

        def flat(value: Tensor) -> Tensor:
            return reshape(graph, value, (-1, width)) if grouped else value

        def parameter(values: npt.NDArray[np.int32]) -> Tensor:
            return graph.constant(values[:, None] if grouped else values, np.int32)

        def fires(membrane: Tensor) -> Tensor:
            above = numbers.binary("SUB", membrane, parameter(op.threshold))
            return numbers.binary("MINIMUM", numbers.binary("MAXIMUM", above, self._int(0)), self._int(1))

        before = laid(self.graph.input(f"membrane.{op.name}", np.int32, (-1, width)))
        membrane = laid(numbers.cast(self._values[op.input], np.int32))
        if op.fraction > 0:
            membrane = numbers.binary("MUL", membrane, self._int(1 << op.fraction))
        if np.any(op.bias):
            membrane = numbers.binary("ADD", membrane, parameter(op.bias))
        kept = before
        if np.any(op.decay != DECAY_DENOMINATOR):
            kept = numbers.binary("MUL", kept, parameter(op.decay))
            kept = numbers.binary("DIV", kept, self._int(DECAY_DENOMINATOR))  # int32 division truncates
        membrane = numbers.binary("ADD", membrane, kept)
        if op.reset is Reset.LATE:
            owed = numbers.binary("MUL", fires(before), parameter(op.drop))
            membrane = numbers.binary("SUB", membrane, owed)
        membrane = self._clip(membrane, MEMBRANE_MAX)
        spikes = rest = membrane
        if not op.membrane or op.reset not in (Reset.NONE, Reset.LATE):
            spikes = fires(membrane)
        if op.reset is Reset.MANY:
            times = numbers.binary(
                "DIV", numbers.binary("MAXIMUM", membrane, self._int(0)), parameter(op.drop)
            )
            spikes = numbers.binary("MUL", spikes, times)
        if op.reset in (Reset.SUBTRACT, Reset.MANY):
            taken = numbers.binary("MUL", spikes, parameter(op.drop))
            rest = numbers.binary("SUB", membrane, taken)
        elif op.reset is Reset.ZERO:
            quiet = numbers.binary("SUB", self._int(1), spikes)
            rest = numbers.binary("MUL", membrane, quiet)
        graph.output(f"new.membrane.{op.name}", flat(rest))
        return flat(membrane) if op.membrane else numbers.cast(flat(spikes), np.float32)

    def _delay(self, op: Delay) -> Tensor:
        """The frames before stand oldest first; all of them and this one are the window of the next."""
        graph, numbers, width = self.graph, self._numbers, self._channels[op.out]
        name, longest = f"delay.{op.name}", op.longest
        past = numbers.cast(graph.input(name, np.int16, (-1, longest, width)), np.float32)
        window = concat(
            graph,
            [reshape(graph, past, (-1, longest * width)), self._values[op.input]],
            -1,
        )
        delays = np.repeat(op.delays.astype(np.int64), width // len(op.delays))
        later = self._gather(window, np.arange(width, (longest + 1) * width))
        later = reshape(graph, numbers.cast(later, np.int16), (-1, longest, width))
        graph.output(f"new.{name}", later)
        return self._gather(window, (longest - delays) * width + np.arange(width))

    def _gather(self, value: Tensor, places: npt.NDArray[np.integer]) -> Tensor:
        index = self.graph.constant(places, np.int32)
        return self.graph.op(
            "GATHER", [value, index], (-1, len(places)), value.dtype, table="GatherOptions", axis=1
        )

    def _output(self, op: FrameOutput) -> Tensor:
        value, numbers = self._values[op.input], self._numbers
        if value.dtype != np.int32:
            value = numbers.cast(value, np.int32)
        if not op.summed:
            return value
        name = f"count.{op.name}"
        count = self.graph.input(name, np.int32, (-1, self._channels[op.out]))
        count = self._clip(numbers.binary("ADD", count, value), COUNT_MAX)
        self.graph.output(f"new.{name}", count)
        return count

    def _clip(self, value: Tensor, limit: int) -> Tensor:
        low, high = (self.graph.constant(np.array(sign * limit, value.dtype)) for sign in (-1, 1))
        return self._numbers.binary("MINIMUM", self._numbers.binary("MAXIMUM", value, low), high)

    def _int(self, number: int) -> Tensor:
        return self.graph.constant(np.int32(number))
