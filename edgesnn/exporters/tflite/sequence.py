"""The past inside a sequence: shifts along it, masked attention, and the state it leaves.

Values are laid out ``[T * batch, length, channels]``: inner timesteps along the first axis, so batch and
length may both be unknown and no shape has to be computed while the model runs. The mask comes from a
cumulative sum along the ids for the same reason.
"""

from __future__ import annotations

import numpy as np

from edgesnn.exporters.tflite.graph import RELU, Tensor, TfliteGraph
from edgesnn.exporters.tflite.network import TfliteValue, replace_channels
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.shapes import concat, cut, matmul, pad_front, reshape, split, transpose
from edgesnn.program.ops import Attend, Shift

_LENGTH_AXIS = 1


class TfliteSequencePast:
    """Whole sequences, each from an empty context.

    Args:
        numbers: The arithmetic.
        timesteps: T.
        ids: The token ids, ``[batch, length]``.
        keep_state: Whether the graph is a prefill: it gives the state after the last token, and logits of
            the last token only.
    """

    axis = 0

    def __init__(self, numbers: TfliteNumbers, timesteps: int, ids: Tensor, keep_state: bool) -> None:
        self.numbers = numbers
        self.timesteps = timesteps
        self.keep_state = keep_state
        self._ids = ids
        self._masks: dict[int, Tensor] = {}

    @property
    def _graph(self) -> TfliteGraph:
        return self.numbers.graph

    def leave(self, spikes: TfliteValue) -> Tensor:
        """``[batch, length, T * channels]``; of the last token ``[batch, T * channels]``."""
        value, width = spikes.tensor, self.timesteps * spikes.channels
        if self.keep_state:
            value = self._last(value, 1)
        rows = concat(self._graph, split(self._graph, value, self.timesteps, 0), -1)
        return reshape(self._graph, rows, (-1, width)) if self.keep_state else rows

    def shift(self, op: Shift, spikes: TfliteValue) -> Tensor:
        """Spikes of the token before, zeros before the first."""
        if len(op.channels) == 0:
            return spikes.tensor
        moved, shifted = replace_channels(self._graph, spikes, op, self._one_later)
        if self.keep_state:
            last = self._beside(self._last(moved, 1))
            last = reshape(self._graph, last, (-1, self.timesteps, len(op.channels)))
            self._graph.output(f"state.shift.{op.name}", self.numbers.to_state(last))
        return shifted

    def attend(self, op: Attend, spikes: TfliteValue) -> Tensor:
        """Masked attention, head by head."""
        graph, numbers, heads = self._graph, self.numbers, len(op.windows)
        parts = split(graph, spikes.tensor, 3 * heads, -1)
        attended = []
        for head, window in enumerate(op.windows):
            query, key, value = parts[head], parts[heads + head], parts[2 * heads + head]
            scores = matmul(graph, query, key, transposed=True)
            attended.append(matmul(graph, numbers.binary("MUL", scores, self._mask(window)), value))
        if self.keep_state and op.slots > 0:
            self._leave_rings(op, parts)
        return concat(graph, attended, -1)

    def _one_later(self, spikes: Tensor) -> Tensor:
        padded = pad_front(self._graph, spikes, _LENGTH_AXIS, 1)
        return cut(self._graph, padded, _LENGTH_AXIS, (0, -1), spikes.shape[_LENGTH_AXIS])

    def _mask(self, window: int) -> Tensor:
        """1 where a query (second axis) may see a key (third axis): ``[1, length, length]``."""
        if window not in self._masks:
            numbers = self.numbers
            age = self._age()
            one = self._graph.constant(np.float32(1))
            past = numbers.binary("ADD", age, one, activation=RELU)
            near = numbers.binary("SUB", self._graph.constant(np.float32(window)), age, activation=RELU)
            both = numbers.binary("MINIMUM", past, near)
            self._masks[window] = numbers.binary("MINIMUM", both, one)
        return self._masks[window]

    def _age(self) -> Tensor:
        """Position of the query less position of the key, ``[1, length, length]``."""
        graph, numbers = self._graph, self.numbers
        row = numbers.cast(cut(graph, self._ids, 0, (0, 1), 1), np.float32)
        zero, one = graph.constant(np.float32(0)), graph.constant(np.float32(1))
        ones = numbers.binary("ADD", numbers.binary("MUL", row, zero), one)
        axis = graph.constant(1, np.int32)
        position = graph.op(
            "CUMSUM", [ones, axis], ones.shape, table="CumsumOptions", exclusive=False, reverse=False
        )
        of_query = reshape(graph, position, (1, -1, 1))
        of_key = reshape(graph, position, (1, 1, -1))
        return numbers.binary("SUB", of_query, of_key)

    def _leave_rings(self, op: Attend, parts: list[Tensor]) -> None:
        """Keys and values of the last tokens of every head's window, oldest first, zeros in front."""
        graph, heads = self._graph, len(op.windows)
        keys, values = [], []
        for head, (_, size) in enumerate(op.rings):
            if size > 0:
                keys.append(self._recent(parts[heads + head], size))
                values.append(self._recent(parts[2 * heads + head], size))
        key, value = concat(graph, keys, 2), concat(graph, values, 2)
        for name, kept in ((f"k.{op.name}", transpose(graph, key, (0, 1, 3, 2))), (f"v.{op.name}", value)):
            graph.output(f"state.{name}", self.numbers.to_state(kept))

    def _recent(self, spikes: Tensor, size: int) -> Tensor:
        """The last tokens of one head, ``[batch, T, size, dh]``."""
        padded = pad_front(self._graph, spikes, _LENGTH_AXIS, size)
        return self._beside(self._last(padded, size))

    def _last(self, value: Tensor, count: int) -> Tensor:
        """The last tokens, ``[T * batch, count, channels]``."""
        return cut(self._graph, value, _LENGTH_AXIS, (-count, None), count)

    def _beside(self, value: Tensor) -> Tensor:
        """``[T * batch, count, channels]`` as ``[batch, T, count, channels]``."""
        parts = split(self._graph, value, self.timesteps, 0)
        shape = (-1, 1, *value.shape[1:])
        return concat(self._graph, [reshape(self._graph, part, shape) for part in parts], 1)
