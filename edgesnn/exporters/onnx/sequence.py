"""The past inside a sequence: shifts along it, banded attention, and the state it leaves.

Values are laid out ``[T, batch, length, channels]``: an inner timestep is one contiguous piece. Attention
runs in blocks of 64 queries against only those key blocks that a window can reach, so the cost is linear in
the length. Lengths that are no multiple of 64 are padded inside and cut again.
"""

from __future__ import annotations

import numpy as np

from edgesnn.exporters.onnx.band import Band
from edgesnn.exporters.onnx.graph import Dim, OnnxGraph
from edgesnn.exporters.onnx.network import OnnxNumbers, OnnxValue, replace_channels
from edgesnn.program.ops import Attend, Shift

_LENGTH_AXIS = 2


class OnnxSequencePast:
    """Whole sequences, each from an empty context.

    Args:
        numbers: The arithmetic.
        timesteps: T.
        ids: Name of the token ids, ``[batch, length]``.
        keep_state: Whether the graph is a prefill: it gives the state after the last token, and logits of
            the last token only.
    """

    axis = 0
    few = False

    def __init__(self, numbers: OnnxNumbers, timesteps: int, ids: str, keep_state: bool) -> None:
        self.numbers = numbers
        self.timesteps = timesteps
        self.keep_state = keep_state
        self._ids = ids

    @property
    def _graph(self) -> OnnxGraph:
        return self.numbers.graph

    def enter(self, current: str) -> str:
        """``[1, batch, length, d]``."""
        return self._graph.op("Unsqueeze", current, self._graph.ints(0))

    def leave(self, spikes: OnnxValue) -> str:
        """``[batch, length, T * channels]``; of the last token ``[batch, T * channels]``."""
        name, width = spikes.name, self.timesteps * spikes.channels
        if self.keep_state:
            name = self._slice(name, -1, None, _LENGTH_AXIS)
        rows = self._graph.op("Transpose", name, perm=[1, 2, 0, 3])
        shape = self._graph.ints(0, width) if self.keep_state else self._graph.ints(0, 0, width)
        return self._graph.op("Reshape", rows, shape)

    def shift(self, op: Shift, spikes: OnnxValue) -> str:
        """Spikes of the token before, zeros before the first."""
        moved, shifted = replace_channels(self._graph, spikes, op, self._one_later)
        if self.keep_state:
            count = len(op.channels)
            last = self._slice(self.numbers.to_state(moved), -1, None, _LENGTH_AXIS)
            rows = self._graph.op("Transpose", last, perm=[1, 0, 2, 3])
            rows = self._graph.op("Reshape", rows, self._graph.ints(0, self.timesteps, count))
            shape: list[Dim] = ["batch", self.timesteps, count]
            self._graph.output(f"state.shift.{op.name}", rows, self.numbers.state_dtype, shape)
        return shifted

    def attend(self, op: Attend, spikes: OnnxValue) -> str:
        """Banded attention."""
        if self.keep_state and op.slots > 0:
            self._leave_rings(op, spikes)
        graph, numbers = self._graph, self.numbers
        band = Band(graph, self._ids, op)
        heads, head_dim = len(op.windows), op.head_dim
        split = graph.op("Reshape", spikes.name, graph.ints(0, 0, 0, 3, heads, head_dim))
        parts = graph.ops("Split", 3, graph.op("Transpose", split, perm=[3, 0, 1, 4, 2, 5]), axis=0)
        query = band.queries(numbers.left(parts[0]))
        key = graph.op("Transpose", band.keys(numbers.to_state(parts[1])), perm=[0, 1, 2, 3, 4, 6, 5])
        value = band.keys(numbers.to_state(parts[2]))
        scores = numbers.masked(numbers.product(query, key), band.mask(numbers.mask))
        blocks = numbers.product(scores, value)
        return numbers.attended(band.rows(blocks, self.timesteps))

    def _one_later(self, spikes: str) -> str:
        earlier = self._slice(spikes, 0, -1, _LENGTH_AXIS)
        return self._graph.op("Pad", earlier, self._graph.ints(0, 0, 1, 0, 0, 0, 0, 0))

    def _leave_rings(self, op: Attend, spikes: OnnxValue) -> None:
        """Keys and values of the last tokens of every head's window, oldest first, zeros in front."""
        graph, numbers = self._graph, self.numbers
        heads, head_dim, ring, steps = len(op.windows), op.head_dim, op.ring, self.timesteps
        tail = self._slice(numbers.to_state(spikes.name), -ring, None, _LENGTH_AXIS)
        tail = graph.op("Pad", tail, graph.ints(0, 0, ring, 0, 0, 0, 0, 0))
        tail = self._slice(tail, -ring, None, _LENGTH_AXIS)
        tail = graph.op("Reshape", tail, graph.ints(0, 0, 0, 3, heads, head_dim))
        rings: tuple[list[str], list[str]] = ([], [])
        for head, (_, size) in enumerate(op.rings):
            if size > 0:
                recent = self._slice(tail, -size, None, _LENGTH_AXIS)
                own = graph.op("Gather", recent, graph.constant(head, np.int64), axis=4)
                for part, slots in enumerate(rings, start=1):
                    slots.append(graph.op("Gather", own, graph.constant(part, np.int64), axis=3))
        keys, values = (graph.op("Concat", *slots, axis=_LENGTH_AXIS) for slots in rings)
        keys = graph.op("Transpose", keys, perm=[1, 0, 3, 2])
        values = graph.op("Transpose", values, perm=[1, 0, 2, 3])
        keys_shape: list[Dim] = ["batch", steps, head_dim, op.slots]
        values_shape: list[Dim] = ["batch", steps, op.slots, head_dim]
        graph.output(f"state.k.{op.name}", keys, numbers.state_dtype, keys_shape)
        graph.output(f"state.v.{op.name}", values, numbers.state_dtype, values_shape)

    def _slice(self, value: str, start: int, stop: int | None, axis: int) -> str:
        ints = self._graph.ints
        end = np.iinfo(np.int64).max if stop is None else stop
        return self._graph.op("Slice", value, ints(start), ints(int(end)), ints(axis))
