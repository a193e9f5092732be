"""Values between nodes while a graph is folded: what an integer op makes, and sums of weights in floats.

A scale in front of weights (a sample's worth, the divisor of an average pool, a Scale node) multiplies into
the weights that read the value; one behind them multiplies into their rows. So only weights, thresholds and
biases are left, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from edgesnn.nir.nodes import Float64Array, KernelWalk, Node, Shape, conv_window


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """Spikes, samples or counts: integers that an op makes.

    Attributes:
        name: Name of the value in the program.
        shape: Its shape.
        factor: What an integer is worth: one number, or one for each element, flat ``[c]``.
        largest: Largest magnitude of an integer.
        spikes: Whether they are 0 or 1.
    """

    name: str
    shape: Shape
    factor: Float64Array
    largest: int
    spikes: bool


@dataclass(frozen=True, slots=True, eq=False)
class Membrane:
    """The membrane of the last layer: what an integer is worth is the same for all."""

    name: str
    shape: Shape
    worth: float


@dataclass(frozen=True, slots=True, eq=False)
class WeightedPart:
    """Weights that read one value.

    Attributes:
        node: Name of the node that they come from, or of the neuron that reads a value without weights.
        source: What they read.
        weight: float64 ``[out, in]``, or ``[out, in/groups, kernel height, kernel width]`` of a convolution.
        window: How a convolution walks over its map, or None.
        groups: Groups of a convolution.
    """

    node: str
    source: Graded
    weight: Float64Array
    window: KernelWalk | None = None
    groups: int = 1

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Shape of what a convolution reads, one dimension as a map of height 1."""
        shape = self.source.shape
        return (shape[0], *((1, 1), (1, *shape[1:]), shape[1:])[len(shape) - 1])  # type: ignore[return-value]

    def scaled(self, factor: Float64Array) -> WeightedPart:
        """The same with every row times a factor, ``[out]``."""
        return replace(self, weight=self.weight * factor.reshape(-1, *[1] * (self.weight.ndim - 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """A sum of weighted values.

    Attributes:
        parts: What is summed.
        shape: Shape of the sum.
        bias: What is added to it, flat ``[c]``.
    """

    parts: tuple[WeightedPart, ...]
    shape: Shape
    bias: Float64Array

    @property
    def rows(self) -> int:
        """Rows of weights: maps, or neurons where no map has several."""
        return int(self.parts[0].weight.shape[0])


Between = Graded | Membrane | Current


def weighted(node: Node, source: Graded, shape: Shape) -> Current:
    """The current of an Affine, Linear or convolution.

    Args:
        node: The node.
        source: What it reads.
        shape: Shape of what it makes.

    Raises:
        ValueError: What it reads is worth different things within a map; the end of a sentence.
    """
    weight, bias = node.real("weight"), node.real("bias").reshape(-1)
    if node.kind in ("Affine", "Linear"):
        spread = np.broadcast_to(bias, shape).copy()
        return Current((WeightedPart(node.name, source, weight * source.factor),), shape, spread)
    groups = node.whole("groups")[0]
    if node.kind == "Conv1d":
        weight = weight[:, :, None, :]
    out, inside = weight.shape[:2]
    maps = per_map(source.factor, source.shape)
    factor = np.repeat(maps.reshape(groups, inside), out // groups, axis=0) if maps.size > 1 else maps
    scaled = weight * factor.reshape(*factor.shape, 1, 1) if maps.size > 1 else weight * factor
    neurons = math.prod(shape) // out
    spread = np.repeat(np.broadcast_to(bias, (out,)), neurons)
    return Current((WeightedPart(node.name, source, scaled, conv_window(node), groups),), shape, spread)


def unweighted(name: str, source: Graded) -> Current:
    """The current of neurons that read a value without weights: each its own element."""
    channels = source.shape[0]
    factor = per_map(source.factor, source.shape)
    weight = np.broadcast_to(factor, (channels,)).reshape(channels, 1, 1, 1)
    window = KernelWalk((1, 1), (1, 1), (0, 0), (1, 1))
    return Current(
        (WeightedPart(name, source, weight, window, channels),),
        source.shape,
        np.zeros(math.prod(source.shape)),
    )


def added(currents: list[Current]) -> Current:
    """The sum of currents of one shape.

    Raises:
        ValueError: Their weights have different rows; the end of a sentence.
    """
    if len({one.rows for one in currents}) > 1:
        raise ValueError("sums maps and single neurons")
    parts = tuple(part for one in currents for part in one.parts)
    return Current(parts, currents[0].shape, np.sum([one.bias for one in currents], axis=0))


def scaled(value: Graded | Current, factor: Float64Array) -> Graded | Current:
    """A value times one factor for each element, ``[c]``.

    Raises:
        ValueError: Elements of one map have different factors; the end of a sentence.
    """
    if isinstance(value, Graded):
        return replace(value, factor=value.factor * factor)
    rows = per_row(factor, value.rows)
    parts = tuple(part.scaled(rows) for part in value.parts)
    return Current(parts, value.shape, value.bias * factor)


def per_map(factor: Float64Array, shape: Shape) -> Float64Array:
    """A factor for each map ``[maps]``, or one for all ``[1]``.

    Raises:
        ValueError: It differs within a map.
    """
    return factor.reshape(1) if factor.size == 1 else per_row(factor, shape[0])


def per_row(factor: Float64Array, rows: int) -> Float64Array:
    """One factor for each of so many rows of elements that have the same, ``[rows]``.

    Raises:
        ValueError: Elements of a row have different ones.
    """
    table = np.broadcast_to(factor.reshape(-1), (max(factor.size, rows),)).reshape(rows, -1)
    if (table != table[:, :1]).any():
        raise ValueError("scales the elements of one map differently")
    return table[:, 0].copy()
