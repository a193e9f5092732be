"""Replacing a list of channels of a spike value: what both forms of `Shift` need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesnn.exporters.tflite.graph import Tensor, TfliteGraph
from edgesnn.exporters.tflite.network import TfliteValue
from edgesnn.exporters.tflite.shapes import concat, split_sizes
from edgesnn.program.ops import Shift


def replace_channels(
    graph: TfliteGraph, spikes: TfliteValue, op: Shift, replacement: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Replace the channels of a shift.

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
