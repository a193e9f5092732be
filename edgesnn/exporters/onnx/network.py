"""The walk over a program's ops: what the sequence and the step, int8 and float32, have in common.

`OnnxNetwork` holds the values by name, asks `OnnxNumbers` for arithmetic and `OnnxPast` for whatever looks at
other tokens. Inner timesteps are unrolled only where they must be, in the recurrence of the membrane: every
matrix product runs once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ExportError
from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.program.float_program import FloatEmbed, FloatLIF, FloatLinear, FloatProgram, FloatReadout
from edgesnn.program.ops import LIF, Add, Attend, Count, Embed, Linear, Readout, Saturate, Shift
from edgesnn.program.ops_frames import Frames
from edgesnn.program.program import Program


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """A value of the program inside a graph.

    Attributes:
        name: Name in the graph.
        channels: Its channels.
        steady: It is the same at every inner timestep and stored once.
    """

    name: str
    channels: int
    steady: bool = False


class OnnxNumbers(Protocol):
    """Nodes of the primitives in one arithmetic.

    A *spike value* has whatever dtype is cheapest to shift and slice. ``op`` is the op of the integer or of
    the float program that the arithmetic belongs to.

    Attributes:
        state_dtype: Of state tensors.
        graph: Where nodes are appended.
    """

    state_dtype: np.dtype[Any]
    graph: OnnxGraph

    def embed(self, op: Any, ids: str) -> str:
        """Currents ``[batch, length, d]`` of ids ``[batch, length]``."""

    def linear(self, op: Any, spikes: str) -> str:
        """Currents of a spike value."""

    def saturate(self, op: Any, current: str) -> str:
        """A current inside its bounds."""

    def steady(self, op: Any, current: str, timesteps: int, axis: int) -> str | None:
        """The spike value of a current that is the same at every timestep, if there is a shorter way."""

    def drive(self, op: Any, current: str) -> str:
        """What a timestep adds to the membrane."""

    def floor(self, op: Any, membrane: str) -> str:
        """Lower saturation of a membrane."""

    def fired(self, op: Any, membrane: str) -> str:
        """Whether a membrane is above its threshold."""

    def spike(self, fired: str) -> str:
        """What `fired` gave, as a spike value."""

    def reset(self, op: Any, membrane: str, fired: str) -> str:
        """The membrane, 0 where it fired; for many rows."""

    def reset_few(self, op: Any, membrane: str) -> str:
        """The membrane, 0 where it is above its threshold; for few rows."""

    def decay(self, op: Any, membrane: str) -> str:
        """The membrane one timestep later, without new current."""

    def from_state(self, state: str) -> str:
        """A state tensor as a spike value."""

    def to_state(self, spikes: str) -> str:
        """A spike value as a state tensor, which is also the right side of `product`."""

    def left(self, spikes: str) -> str:
        """A spike value as the left side of `product`."""

    def both(self, first: str, second: str) -> str:
        """Where two spike values are 1, as a spike value."""

    def product(self, left: str, right: str) -> str:
        """Matrix product, a current."""

    def ones(self, array: npt.NDArray[np.bool_]) -> str:
        """A constant 0/1 matrix as the right side of `product`."""

    def narrow(self, scores: str) -> str:
        """Attention scores as the left side of `product`."""

    def mask(self, mask: npt.NDArray[np.bool_]) -> str:
        """A constant that `masked` multiplies with."""

    def masked(self, scores: str, mask: str) -> str:
        """Attention scores times a mask, as the left side of `product`."""

    def gate(self, spikes: str, current: str) -> str:
        """A current where a spike value is 1, else 0."""

    def attended(self, current: str) -> str:
        """Counted spikes of attention as a current."""

    def readout(self, op: Any, spikes: str, timesteps: int) -> str:
        """Logits of spike values ``[.., T * d]``."""


class OnnxPast(Protocol):
    """How a graph reaches other tokens: from state tensors (step) or along the sequence.

    Attributes:
        axis: The axis of inner timesteps.
        few: Whether a call has so few rows that the number of nodes decides the speed.
    """

    axis: int
    few: bool

    def enter(self, current: str) -> str:
        """Currents ``[batch, length, d]`` in the layout of this graph, one inner timestep."""

    def shift(self, op: Shift, spikes: OnnxValue) -> str:
        """The shifted spike value."""

    def attend(self, op: Attend, spikes: OnnxValue) -> str:
        """The attended current."""

    def leave(self, spikes: OnnxValue) -> str:
        """The spike values to read out, timesteps side by side: ``[.., T * channels]``."""


class OnnxNetwork:
    """One program being lowered.

    Args:
        program: The integer program or the folded float student.
        numbers: Its arithmetic.
        past: The form: sequence or step.
    """

    def __init__(self, program: Program | FloatProgram, numbers: OnnxNumbers, past: OnnxPast) -> None:
        self.program = program
        self.numbers = numbers
        self.past = past
        self._values: dict[str, OnnxValue] = {}

    def logits(self, ids: str) -> str:
        """Append the whole program.

        Args:
            ids: Name of the token ids, int64 ``[batch, length]``.

        Returns:
            Name of the logits.

        Raises:
            ExportError: An op, or an order of ops, that this exporter does not know.
        """
        result = ""
        for op in self.program.ops:
            if isinstance(op, Embed | FloatEmbed):
                name = self.past.enter(self.numbers.embed(op, ids))
                self._values[op.out] = OnnxValue(name, int(op.projection.shape[1]), steady=True)
            elif isinstance(op, Readout | FloatReadout):
                spikes = self.past.leave(self._value(op.input))
                result = self.numbers.readout(op, spikes, self.program.timesteps)
            elif isinstance(op, Add):
                self._values[op.out] = self._add(op)
            elif isinstance(op, Count):
                self._values[op.out] = self._count(op)
            elif not isinstance(op, Frames):  # a program that starts with it is refused before
                self._values[op.out] = self._unary(op, self._value(op.input))
        if not result:
            raise ExportError("the program has no readout, so the graph would have no logits")
        return result

    def label_spikes(self) -> None:
        """Name the spikes of every LIF as the program does, so that engines can be compared inside."""
        for op in self.program.ops:
            if isinstance(op, LIF | FloatLIF):
                self.numbers.graph.label(self._values[op.out].name, op.out)

    def _unary(self, op: object, value: OnnxValue) -> OnnxValue:
        if isinstance(op, Linear | FloatLinear):
            return OnnxValue(self.numbers.linear(op, value.name), int(op.weight.shape[1]))
        if isinstance(op, LIF | FloatLIF):
            return OnnxValue(lif(op, value, self.numbers, self.past, self.program.timesteps), value.channels)
        if isinstance(op, Shift):
            return OnnxValue(self.past.shift(op, value), value.channels)
        if isinstance(op, Attend):
            return OnnxValue(self.past.attend(op, value), op.channels)
        if isinstance(op, Saturate):
            return OnnxValue(self.numbers.saturate(op, value.name), value.channels, value.steady)
        raise ExportError(
            "the ONNX exporter does not know an op of this program",
            actual=type(op).__name__,
            remedy="export to another format, or teach edgesnn.exporters.onnx.network this op",
        )

    def _value(self, name: str) -> OnnxValue:
        if name not in self._values:
            raise ExportError("an op reads a value that no earlier op makes", actual=name)
        return self._values[name]

    def _add(self, op: Add) -> OnnxValue:
        left, right = self._value(op.left), self._value(op.right)
        name = self.numbers.graph.op("Add", left.name, right.name)
        return OnnxValue(name, left.channels, left.steady and right.steady)

    def _count(self, op: Count) -> OnnxValue:
        """A count is never made: the readout's matrix, repeated over T, adds the timesteps up."""
        for reader in self.program.ops:
            source = getattr(reader, "input", None)
            if source == op.out and not isinstance(reader, Readout | FloatReadout):
                raise ExportError(
                    f"a count is read by '{reader.name}'",
                    actual=type(reader).__name__,
                    limit="in ONNX only a readout reads a count",
                )
        return self._value(op.input)


def lif(op: LIF | FloatLIF, value: OnnxValue, numbers: OnnxNumbers, past: OnnxPast, timesteps: int) -> str:
    """Append a LIF over the inner timesteps of every token.

    Few rows: one comparison for all timesteps, the reset by multiplication. Many rows: the comparison of each
    timestep also resets it.

    Args:
        op: The LIF.
        value: Its current.
        numbers: The arithmetic.
        past: The layout.
        timesteps: T.

    Returns:
        Name of the spike value, timesteps along ``past.axis``.
    """
    graph = numbers.graph
    if value.steady:
        steady = numbers.steady(op, value.name, timesteps, past.axis)
        if steady is not None:
            return steady
    drive = numbers.drive(op, value.name)
    if value.steady or timesteps == 1:
        drives = [drive] * timesteps
    else:
        drives = graph.ops("Split", timesteps, drive, axis=past.axis)
    membranes, fired = [drives[0]], []
    for arriving in drives[1:]:
        membrane = numbers.floor(op, membranes[-1])
        if past.few:
            rest = numbers.reset_few(op, membrane)
        else:
            fired.append(numbers.fired(op, membrane))
            rest = numbers.reset(op, membrane, fired[-1])
        membranes.append(graph.op("Add", numbers.decay(op, rest), arriving))
    if past.few or timesteps == 1:
        together = membranes[0] if timesteps == 1 else graph.op("Concat", *membranes, axis=past.axis)
        return numbers.spike(numbers.fired(op, together))
    fired.append(numbers.fired(op, membranes[-1]))
    return numbers.spike(graph.op("Concat", *fired, axis=past.axis))


def replace_channels(
    graph: OnnxGraph, spikes: OnnxValue, op: Shift, replacement: Callable[[str], str]
) -> tuple[str, str]:
    """Replace the channels of a shift, in both forms.

    Contiguous channels, the usual case, are cut out and put back; any other list costs two gathers.

    Args:
        graph: The graph.
        spikes: The spike value, channels last.
        op: Names the channels.
        replacement: Makes the new channels from the old ones.

    Returns:
        The old channels, and the spike value with the new ones in their places.
    """
    count = len(op.channels)
    if count == 0:
        empty = graph.op("Gather", spikes.name, graph.constant(op.channels, np.int32), axis=-1)
        return empty, spikes.name
    first, last = int(op.channels[0]), int(op.channels[-1])
    if last - first + 1 == count:
        sizes = [first, count, spikes.channels - last - 1]
        present = [size for size in sizes if size > 0]
        if len(present) == 1:
            return spikes.name, replacement(spikes.name)
        parts = graph.ops("Split", len(present), spikes.name, graph.ints(*present), axis=-1)
        place = 1 if first > 0 else 0
        pieces = [*parts[:place], replacement(parts[place]), *parts[place + 1 :]]
        return parts[place], graph.op("Concat", *pieces, axis=-1)
    old = graph.op("Gather", spikes.name, graph.constant(op.channels, np.int32), axis=-1)
    both = graph.op("Concat", replacement(old), spikes.name, axis=-1)
    source = np.arange(spikes.channels, dtype=np.int32) + count
    source[op.channels] = np.arange(count, dtype=np.int32)
    return old, graph.op("Gather", both, graph.constant(source), axis=-1)
