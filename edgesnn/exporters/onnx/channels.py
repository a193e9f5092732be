"""Replacing a list of channels of a spike value: what both forms of `Shift` need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgesnn.exporters.onnx.graph import OnnxGraph
from edgesnn.exporters.onnx.network import OnnxValue
from edgesnn.program.ops import Shift


def replace_channels(
    graph: OnnxGraph, spikes: OnnxValue, op: Shift, replacement: Callable[[str], str]
) -> tuple[str, str]:
    """Replace the channels of a shift.

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
