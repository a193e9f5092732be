"""The past of a step: state tensors that the host keeps, in the layout of `edgesnn.program.state`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.tflite.graph import Tensor, TfliteGraph
from edgesnn.exporters.tflite.network import TfliteValue, replace_channels
from edgesnn.exporters.tflite.primitives import TfliteNumbers
from edgesnn.exporters.tflite.shapes import matmul, reshape, split
from edgesnn.program.ops import Attend, Shift


class TfliteStepPast:
    """One token per call; values are laid out ``[batch, T, channels]``.

    Args:
        numbers: The arithmetic.
        timesteps: T.
    """

    axis = 1

    def __init__(self, numbers: TfliteNumbers, timesteps: int) -> None:
        self.numbers = numbers
        self.timesteps = timesteps

    @property
    def _graph(self) -> TfliteGraph:
        return self.numbers.graph

    def leave(self, spikes: TfliteValue) -> Tensor:
        """``[batch, T * channels]``."""
        return reshape(self._graph, spikes.tensor, (-1, self.timesteps * spikes.channels))

    def shift(self, op: Shift, spikes: TfliteValue) -> Tensor:
        """Replace channels by those of the state; give the replaced ones as the new state."""
        if len(op.channels) == 0:
            return spikes.tensor
        name, shape = f"shift.{op.name}", (-1, self.timesteps, len(op.channels))
        before = self.numbers.from_state(self._graph.input(name, np.int8, shape))
        moved, shifted = replace_channels(self._graph, spikes, op, lambda _: before)
        self._graph.output(f"new.{name}", self.numbers.to_state(moved))
        return shifted

    def attend(self, op: Attend, spikes: TfliteValue) -> Tensor:
        """Attend to the ring and to the token itself."""
        numbers = self.numbers
        heads, head_dim = len(op.windows), op.head_dim
        query, key, value = split(self._graph, spikes.tensor, 3, -1)
        own = np.repeat(np.repeat(np.eye(heads, dtype=np.int8), head_dim, axis=0), head_dim, axis=1)
        score = numbers.spiking_product(numbers.binary("MUL", query, key), own)
        attended = numbers.binary("MUL", score, value)
        if op.slots == 0:
            return attended
        return numbers.binary("ADD", attended, self._attend_ring(op, query, key, value))

    def _attend_ring(self, op: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        graph, numbers = self._graph, self.numbers
        heads, head_dim, steps = len(op.windows), op.head_dim, self.timesteps
        rows = (-1, steps, heads, head_dim)
        for kind, spikes in (("k", key), ("v", value)):
            graph.output(f"new.{kind}.{op.name}", numbers.to_state(reshape(graph, spikes, rows)))
        keys = graph.input(f"k.{op.name}", np.int8, (-1, steps, head_dim, op.slots))
        values = graph.input(f"v.{op.name}", np.int8, (-1, steps, op.slots, head_dim))
        scores = matmul(graph, reshape(graph, query, rows), numbers.from_state(keys))
        if heads > 1:
            scores = numbers.binary("MUL", scores, graph.constant(_owners(op), np.float32))
        past = matmul(graph, scores, numbers.from_state(values))
        return reshape(graph, past, (-1, steps, op.channels))


def _owners(op: Attend) -> npt.NDArray[np.bool_]:
    """Which slots belong to a head: ``[heads, slots]``."""
    slots = np.arange(op.slots)
    return np.array([(slots >= first) & (slots < first + size) for first, size in op.rings])
