"""The past of a step: state tensors that the host keeps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.onnx_channels import replace_channels
from edgesnn.exporters.onnx_graph import Graph
from edgesnn.exporters.onnx_network import Numbers, Value
from edgesnn.program.ops import Attend, Shift


class StepPast:
    """One token per call; values are laid out ``[batch, T, channels]``.

    Args:
        numbers: The arithmetic.
        timesteps: T.
    """

    axis = 1
    few = True

    def __init__(self, numbers: Numbers, timesteps: int) -> None:
        self.numbers = numbers
        self.timesteps = timesteps

    @property
    def _graph(self) -> Graph:
        return self.numbers.graph

    def enter(self, current: str) -> str:
        """``[batch, 1, d]`` already stands for one inner timestep."""
        return current

    def leave(self, spikes: Value) -> str:
        """``[batch, T * channels]``."""
        shape = self._graph.ints(0, self.timesteps * spikes.channels)
        return self._graph.op("Reshape", spikes.name, shape)

    def shift(self, op: Shift, spikes: Value) -> str:
        """Replace channels by those of the state; give the replaced ones as the new state."""
        name, count = f"shift.{op.name}", len(op.channels)
        state = self._graph.input(name, self.numbers.state_dtype, ["batch", self.timesteps, count])
        before = self.numbers.from_state(state)
        moved, shifted = replace_channels(self._graph, spikes, op, lambda _: before)
        new = self.numbers.to_state(moved)
        self._graph.output(f"new.{name}", new, self.numbers.state_dtype, ["batch", self.timesteps, count])
        return shifted

    def attend(self, op: Attend, spikes: Value) -> str:
        """Attend to the ring and to the token itself."""
        graph, numbers = self._graph, self.numbers
        heads, head_dim = len(op.windows), op.head_dim
        query, key, value = graph.ops("Split", 3, spikes.name, axis=-1)
        blocks = np.kron(np.eye(heads, dtype=bool), np.ones((head_dim, head_dim), dtype=bool))
        score = numbers.product(numbers.left(numbers.both(query, key)), numbers.ones(blocks))
        attended = numbers.gate(value, score)
        if op.slots > 0:
            attended = graph.op("Add", attended, self._attend_ring(op, query, key, value))
        return numbers.attended(attended)

    def _attend_ring(self, op: Attend, query: str, key: str, value: str) -> str:
        graph, numbers = self._graph, self.numbers
        heads, head_dim, steps = len(op.windows), op.head_dim, self.timesteps
        for kind, spikes in (("k", key), ("v", value)):
            rows = graph.op("Reshape", numbers.to_state(spikes), graph.ints(0, 0, heads, head_dim))
            shape = ["batch", steps, heads, head_dim]
            graph.output(f"new.{kind}.{op.name}", rows, numbers.state_dtype, shape)
        keys = graph.input(f"k.{op.name}", numbers.state_dtype, ["batch", steps, head_dim, op.slots])
        values = graph.input(f"v.{op.name}", numbers.state_dtype, ["batch", steps, op.slots, head_dim])
        asked = graph.op("Reshape", numbers.left(query), graph.ints(0, 0, heads, head_dim))
        scores = numbers.product(asked, keys)
        if heads > 1:
            scores = numbers.masked(scores, numbers.mask(_owners(op)))
        else:
            scores = numbers.narrow(scores)
        past = numbers.product(scores, values)
        return graph.op("Reshape", past, graph.ints(0, 0, op.channels))


def _owners(op: Attend) -> npt.NDArray[np.bool_]:
    """Which slots belong to a head: ``[heads, slots]``."""
    slots = np.arange(op.slots)
    return np.array([(slots >= first) & (slots < first + size) for first, size in op.rings])
