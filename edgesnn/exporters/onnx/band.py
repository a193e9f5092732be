"""The geometry of banded attention: integers computed from the length while the model runs.

A sequence of n blocks needs, for each block of queries, the last r key blocks, r = 1 + ceil((W - 1) / 64), or
all n when n is smaller: then nothing is wasted on short sequences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.program.ops import Attend

#: Queries per block.
BLOCK = 64


class Band:
    """Blocks of one window; all arrays are ``[1, T, batch, heads, length, dh]`` with length at axis 4.

    Args:
        graph: The graph; equal nodes of several bands are shared.
        ids: Name of the token ids, ``[batch, length]``.
        op: The attention.
    """

    def __init__(self, graph: OnnxGraph, ids: str, op: Attend) -> None:
        self._graph = graph
        self._op = op
        self.reach = 1 + -(-op.ring // BLOCK)
        self._length = graph.op("Shape", ids, start=1, end=2)
        one, block = graph.ints(1), graph.ints(BLOCK)
        padded = graph.op("Add", self._length, graph.ints(BLOCK - 1))
        self._blocks = graph.op("Div", padded, block)
        self._reach = graph.op("Min", self._blocks, graph.ints(self.reach))
        self._behind = graph.op("Sub", graph.op("Mul", self._blocks, block), self._length)
        self._before = graph.op("Mul", graph.op("Sub", self._reach, one), block)

    def queries(self, spikes: str) -> str:
        """``[1, T, batch, heads, blocks, 64, dh]``."""
        return self._blocked(self._pad(spikes, self._graph.ints(0)))

    def keys(self, spikes: str) -> str:
        """What each block of queries can reach: ``[1, T, batch, heads, blocks, reach * 64, dh]``."""
        graph = self._graph
        blocks = self._blocked(self._pad(spikes, self._before))
        zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
        first = graph.op("Range", zero, self._scalar(self._blocks), one)
        later = graph.op("Range", zero, self._scalar(self._reach), one)
        index = graph.op("Add", graph.op("Unsqueeze", first, graph.ints(1)), later)
        reached = graph.op("Gather", blocks, index, axis=4)
        return graph.op("Reshape", reached, graph.ints(0, 0, 0, 0, 0, -1, self._op.head_dim))

    def mask(self, constant: Callable[[npt.NDArray[np.bool_]], str]) -> str:
        """Which key a query may see: ``[heads, 1, 64, reach * 64]``."""
        graph = self._graph
        last = self.reach * BLOCK
        age = np.arange(last - BLOCK, last)[:, None] - np.arange(last)[None, :]
        seen = (age >= 0) & (age < np.array(self._op.windows)[:, None, None])
        # counted from the front: ONNX Runtime's symbolic shape inference fails on a product below zero
        start = graph.op("Sub", graph.ints(last), graph.op("Mul", self._reach, graph.ints(BLOCK)))
        end = graph.ints(int(np.iinfo(np.int64).max))
        return graph.op("Slice", constant(seen[:, None]), start, end, graph.ints(3))

    def rows(self, blocks: str, timesteps: int) -> str:
        """``[1, T, batch, heads, blocks, 64, dh]`` as ``[T, batch, length, channels]``."""
        graph = self._graph
        rows = graph.op("Transpose", blocks, perm=[0, 1, 2, 4, 5, 3, 6])
        size = graph.op("Mul", self._blocks, graph.ints(BLOCK))
        shape = graph.op("Concat", graph.ints(timesteps, -1), size, graph.ints(self._op.channels), axis=0)
        rows = graph.op("Reshape", rows, shape)
        # a slice would do, but symbolic shape inference cannot see that the blocks hold as many rows
        zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
        places = graph.op("Range", zero, self._scalar(self._length), one)
        return graph.op("Gather", rows, places, axis=2)

    def _pad(self, spikes: str, before: str) -> str:
        graph = self._graph
        left, right = graph.ints(0, 0, 0, 0), graph.ints(0)
        pads = graph.op("Concat", left, before, right, left, self._behind, right, axis=0)
        return graph.op("Pad", spikes, pads)

    def _blocked(self, spikes: str) -> str:
        graph = self._graph
        return graph.op("Reshape", spikes, graph.ints(0, 0, 0, 0, -1, BLOCK, self._op.head_dim))

    def _scalar(self, vector: str) -> str:
        return self._graph.op("Squeeze", vector, self._graph.ints(0))
