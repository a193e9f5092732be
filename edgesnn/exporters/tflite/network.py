"""The walk over a program's ops: what the sequence and the step have in common.

`TfliteNetwork` holds the values by name, asks `TfliteNumbers` for arithmetic and `TflitePast` for whatever
looks at other tokens. Inner timesteps are unrolled only where they must be, in the recurrence of the
membrane: every matrix product runs once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.tflite.graph import Tensor, TfliteGraph
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.shapes import concat, split, split_sizes
from edgesnn.program.ops import LIF, Add, Attend, Count, Embed, Linear, Readout, Saturate, Shift
from edgesnn.program.ops_frames import Frames
from edgesnn.program.program import Program


@dataclass(frozen=True, slots=True)
class TfliteValue:
    """A value of the program inside a graph.

    Attributes:
        tensor: Its tensor, channels last.
        channels: Its channels.
        steady: It is the same at every inner timestep and stored once.
    """

    tensor: Tensor
    channels: int
    steady: bool = False


class TflitePast(Protocol):
    """How a graph reaches other tokens: from state tensors (step) or along the sequence.

    Attributes:
        axis: The axis of inner timesteps.
    """

    axis: int

    def shift(self, op: Shift, spikes: TfliteValue) -> Tensor:
        """The shifted spike value."""

    def attend(self, op: Attend, spikes: TfliteValue) -> Tensor:
        """The attended current."""

    def leave(self, spikes: TfliteValue) -> Tensor:
        """The spike values to read out, timesteps side by side: ``[.., T * channels]``."""


class TfliteNetwork:
    """One program being lowered.

    Args:
        program: The program.
        numbers: Its arithmetic.
        past: The form: sequence or step.
    """

    def __init__(self, program: Program, numbers: TfliteNumbers, past: TflitePast) -> None:
        self.program = program
        self.numbers = numbers
        self.past = past
        self._values: dict[str, TfliteValue] = {}

    def logits(self, ids: Tensor) -> Tensor:
        """Append the whole program.

        Args:
            ids: The token ids, int32 ``[batch, length]``.

        Returns:
            The logits.

        Raises:
            ExportError: An op, or an order of ops, that this exporter does not know.
        """
        result: Tensor | None = None
        for op in self.program.ops:
            if isinstance(op, Embed):
                current = self.numbers.embed(op, ids)
                self._values[op.out] = TfliteValue(current, int(op.projection.shape[1]), steady=True)
            elif isinstance(op, Readout):
                spikes = self.past.leave(self._value(op.input))
                result = self.numbers.readout(op, spikes, self.program.timesteps)
            elif isinstance(op, Add):
                self._values[op.out] = self._add(op)
            elif isinstance(op, Count):
                self._values[op.out] = self._count(op)
            elif not isinstance(op, Frames):  # a program that starts with it is refused before
                self._values[op.out] = self._unary(op, self._value(op.input))
        if result is None:
            raise ExportError("the program has no readout, so the graph would have no logits")
        return result

    def _unary(self, op: object, value: TfliteValue) -> TfliteValue:
        if isinstance(op, Linear):
            return TfliteValue(self.numbers.linear(op, value.tensor), int(op.weight.shape[1]))
        if isinstance(op, LIF):
            return TfliteValue(
                lif(op, value, self.numbers, self.past, self.program.timesteps), value.channels
            )
        if isinstance(op, Shift):
            return TfliteValue(self.past.shift(op, value), value.channels)
        if isinstance(op, Attend):
            return TfliteValue(self.past.attend(op, value), op.channels)
        if isinstance(op, Saturate):
            return TfliteValue(self.numbers.saturate(op, value.tensor), value.channels, value.steady)
        raise ExportError(
            "the TFLite exporter does not know an op of this program",
            actual=type(op).__name__,
            remedy="export to another format, or teach edgesnn.exporters.tflite.network this op",
        )

    def _value(self, name: str) -> TfliteValue:
        if name not in self._values:
            raise ExportError("an op reads a value that no earlier op makes", actual=name)
        return self._values[name]

    def _add(self, op: Add) -> TfliteValue:
        left, right = self._value(op.left), self._value(op.right)
        steady = left.steady and right.steady
        first, second = (value.tensor if steady else self._spread(value) for value in (left, right))
        return TfliteValue(self.numbers.binary("ADD", first, second), left.channels, steady)

    def _spread(self, value: TfliteValue) -> Tensor:
        """A value with all its inner timesteps."""
        timesteps = self.program.timesteps
        if not value.steady or timesteps == 1:
            return value.tensor
        return concat(self.numbers.graph, [value.tensor] * timesteps, self.past.axis)

    def _count(self, op: Count) -> TfliteValue:
        """A count is never made: the readout's matrix, repeated over T, adds the timesteps up."""
        for reader in self.program.consumers(op.out):
            if not isinstance(reader, Readout):
                raise ExportError(
                    f"a count is read by '{reader.name}'",
                    actual=type(reader).__name__,
                    limit="in TFLite only a readout reads a count",
                )
        return self._value(op.input)


def lif(op: LIF, value: TfliteValue, numbers: TfliteNumbers, past: TflitePast, timesteps: int) -> Tensor:
    """Append a LIF over the inner timesteps of every token.

    Args:
        op: The LIF.
        value: Its current.
        numbers: The arithmetic.
        past: The layout.
        timesteps: T.

    Returns:
        The spike value, timesteps along ``past.axis``.
    """
    graph = numbers.graph
    drive = numbers.drive(op, value.tensor)
    drives = [drive] * timesteps if value.steady else split(graph, drive, timesteps, past.axis)
    membrane, fired = drives[0], [numbers.fired(op, drives[0])]
    for arriving in drives[1:]:
        rest = numbers.reset(numbers.floor(op, membrane), fired[-1])
        membrane = numbers.binary("ADD", numbers.decay(op, rest), arriving)
        fired.append(numbers.fired(op, membrane))
    return concat(graph, fired, past.axis)


def replace_channels(
    graph: TfliteGraph, spikes: TfliteValue, op: Shift, replacement: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Replace the channels of a shift, in both forms.

    Contiguous channels, the usual case, are cut out and put back; any other list costs two gathers.

    Args:
        graph: The graph.
        spikes: The spike value, channels last.
        op: Names the channels, at least one.
        replacement: Makes the new channels from the old ones.

    Returns:
        The old channels, and the spike value with the new ones in their places.
    """
    count = len(op.channels)
    first, last = int(op.channels[0]), int(op.channels[-1])
    if last - first + 1 == count:
        sizes = [first, count, spikes.channels - last - 1]
        parts = split_sizes(graph, spikes.tensor, [size for size in sizes if size > 0], -1)
        place = 1 if first > 0 else 0
        pieces = [*parts[:place], replacement(parts[place]), *parts[place + 1 :]]
        return parts[place], concat(graph, pieces, -1)
    old = _gather(graph, spikes.tensor, op.channels)
    both = concat(graph, [replacement(old), spikes.tensor], -1)
    source = np.arange(spikes.channels, dtype=np.int32) + count
    source[op.channels] = np.arange(count, dtype=np.int32)
    return old, _gather(graph, both, source)


def _gather(graph: TfliteGraph, value: Tensor, channels: npt.NDArray[np.int32]) -> Tensor:
    axis = len(value.shape) - 1
    shape = (*value.shape[:-1], len(channels))
    index = graph.constant(channels, np.int32)
    return graph.op("GATHER", [value, index], shape, value.dtype, version=1, table="GatherOptions", axis=axis)
