"""The past of a step: state tensors that the host keeps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.exporters.onnx.network import OnnxNumbers, OnnxValue, replace_channels
from edgesnn.program.ops import Attend, Shift


class OnnxStepPast:
    """One token per call; values are laid out ``[batch, T, channels]``.

    Args:
        numbers: The arithmetic.
        timesteps: T.
    """

    axis = 1
    few = True

    def __init__(self, numbers: OnnxNumbers, timesteps: int) -> None:
        self.numbers = numbers
        self.timesteps = timesteps

    @property
    def _graph(self) -> OnnxGraph:
        return self.numbers.graph

    def enter(self, current: str) -> str:
        """``[batch, 1, d]`` already stands for one inner timestep."""
        return current

    def leave(self, spikes: OnnxValue) -> str:
        """``[batch, T * channels]``."""
        shape = self._graph.ints(0, self.timesteps * spikes.channels)
        return self._graph.op("Reshape", spikes.name, shape)

    def shift(self, op: Shift, spikes: OnnxValue) -> str:
        """Replace channels by those of the state; give the replaced ones as the new state."""
        name, count = f"shift.{op.name}", len(op.channels)
        state = self._graph.input(name, self.numbers.state_dtype, ["batch", self.timesteps, count])
        before = self.numbers.from_state(state)
        moved, shifted = replace_channels(self._graph, spikes, op, lambda _: before)
        new = self.numbers.to_state(moved)
        self._graph.output(f"new.{name}", new, self.numbers.state_dtype, ["batch", self.timesteps, count])
        return shifted

    def attend(self, op: Attend, spikes: OnnxValue) -> str:
        """Attend to the rings and to the token itself."""
        graph, numbers = self._graph, self.numbers
        heads, head_dim = len(op.windows), op.head_dim
        split = graph.op("Reshape", spikes.name, graph.ints(0, 0, 3 * heads, head_dim))
        query, key, value = graph.ops("Split", 3, split, axis=2)
        everywhere = numbers.ones(np.ones((head_dim, head_dim), dtype=bool))
        own = numbers.product(numbers.left(numbers.both(query, key)), everywhere)
        attended = numbers.gate(value, own)
        if op.slots > 0:
            attended = graph.op("Add", attended, self._attend_rings(op, query, key, value))
        attended = graph.op("Reshape", attended, graph.ints(0, 0, op.channels))
        return numbers.attended(attended)

    def _attend_rings(self, op: Attend, query: str, key: str, value: str) -> str:
        """All heads against all slots, one product per timestep; scores with foreign slots are dropped."""
        graph, numbers = self._graph, self.numbers
        heads, head_dim, steps, dtype = len(op.windows), op.head_dim, self.timesteps, numbers.state_dtype
        for kind, spikes in (("k", key), ("v", value)):
            new = numbers.to_state(spikes)
            graph.output(f"new.{kind}.{op.name}", new, dtype, ["batch", steps, heads, head_dim])
        keys = graph.input(f"k.{op.name}", dtype, ["batch", steps, head_dim, op.slots])
        values = graph.input(f"v.{op.name}", dtype, ["batch", steps, op.slots, head_dim])
        scores = numbers.product(numbers.left(query), keys)
        owned = numbers.masked(scores, numbers.mask(_owners(op))) if heads > 1 else numbers.narrow(scores)
        return numbers.product(owned, values)


def _owners(op: Attend) -> npt.NDArray[np.bool_]:
    """Which slots belong to a head: ``[heads, slots]``."""
    slots = np.arange(op.slots)
    return np.array([(slots >= first) & (slots < first + size) for first, size in op.rings])
