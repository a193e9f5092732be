"""A graph as its library runs it, in float64: what the integer program is compared with.

Nothing is folded or rounded here, so that a fault of the folding shows. A whole window of frames passes one
node after the other; neurons walk through it frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from edgesnn.nir.graph import Graph
from edgesnn.nir.nodes import NEURONS, PASSING, Float64Array, KernelWalk, Node, conv_window, pool_window
from edgesnn.nir.sources import Dynamics, Rules, dynamics

#: Called with the name of a node and what it makes, ``[n, frames, *shape]``.
Tap = Callable[[str, Float64Array], None]
#: Values of one node for the windows that run side by side: 2 MiB, which stay in a processor's caches.
_VALUES_AT_ONCE = 2**18


def windows_at_once(graph: Graph, frames: int) -> int:
    """How many windows are run side by side, so that memory does not grow with the set."""
    widest = max(int(np.prod(shape)) for shape in graph.shapes.values())
    return max(1, _VALUES_AT_ONCE // (widest * frames))


def simulate(
    graph: Graph, rules: Rules, frames: npt.NDArray[np.generic], tap: Tap | None = None
) -> Float64Array:
    """Run windows of frames, each from the start.

    Args:
        graph: The network.
        rules: What its neurons do.
        frames: Real values ``[n, frames, *shape]``.
        tap: Sees what every node makes.

    Returns:
        What reaches the output, float64 ``[n, frames, *shape]``.
    """
    values: dict[str, Float64Array] = {}
    readers = {name: sum(name in sources for sources in graph.sources.values()) for name in graph.shapes}
    for node in graph.nodes:
        sources = graph.sources[node.name]
        coming = frames.astype(np.float64) if node.name == graph.input else sum_of(values, sources)
        values[node.name] = made = _run(node, coming, rules)
        if tap is not None:
            tap(node.name, made)
        for name in sources:
            readers[name] -= 1
            if not readers[name]:
                del values[name]
    return values[graph.output]


def sum_of(values: dict[str, Float64Array], names: tuple[str, ...]) -> Float64Array:
    """The sum of what a node reads."""
    total = values[names[0]]
    for name in names[1:]:
        total = total + values[name]
    return total


def _run(node: Node, coming: Float64Array, rules: Rules) -> Float64Array:
    shape = coming.shape[2:]
    if node.kind in PASSING:
        return coming
    if node.kind in ("Affine", "Linear"):
        return coming @ node.real("weight").T + node.real("bias")
    if node.kind in ("Conv1d", "Conv2d"):
        return _conv(node, coming)
    if node.kind in ("SumPool2d", "AvgPool2d"):
        window = pool_window(node)
        total = sum(seen for _, _, seen in taps(coming, window))
        return np.asarray(total / (np.prod(window.kernel) if node.kind == "AvgPool2d" else 1))
    if node.kind == "Scale":
        return coming * node.spread("scale", shape).reshape(shape)
    if node.kind == "Delay":
        return _delay(coming, delay_steps(node, shape, rules))
    if node.kind == "Flatten":
        first = node.whole("start_dim")[0] % len(shape)
        last = node.whole("end_dim")[0] % len(shape)
        return coming.reshape(*coming.shape[: 2 + first], -1, *shape[last + 1 :])
    assert node.kind in NEURONS
    made, problems = dynamics(node, shape, rules)
    assert made is not None, problems
    flat = coming.reshape(*coming.shape[:2], -1)
    return _neurons(made, flat, membrane=node.kind in ("LI", "I")).reshape(coming.shape)


def _neurons(neuron: Dynamics, current: Float64Array, *, membrane: bool) -> Float64Array:
    """Spikes, or membranes where the node is no neuron that fires, ``[n, frames, c]``."""
    out = np.empty_like(current)
    v = np.broadcast_to(neuron.start, current[:, 0].shape).copy()
    late = np.zeros_like(v)
    for frame in range(current.shape[1]):
        v = neuron.beta * v + neuron.gain * current[:, frame] + neuron.drive - late
        fired = (v >= neuron.theta if neuron.inclusive else v > neuron.theta).astype(np.float64)
        if neuron.many:
            fired = np.where(v > 0, np.trunc(v / neuron.theta), 0.0)
        out[:, frame] = v if membrane else fired
        if neuron.reset == "zero":
            v = np.where(fired > 0, neuron.reset_to, v)
        elif neuron.late:
            late = fired * neuron.theta
        elif neuron.reset == "subtract":
            v = v - fired * neuron.theta
    return out


def delay_steps(node: Node, shape: tuple[int, ...], rules: Rules) -> npt.NDArray[np.int64]:
    """Delays of a node in frames, ``[c]``.

    Raises:
        ValueError: They are no whole, not negative numbers of time steps; the end of a sentence.
    """
    steps = node.spread("delay", shape) / rules.dt
    whole = np.rint(steps)
    if (np.abs(steps - whole) > 1e-3).any() or (whole < 0).any():
        raise ValueError(f"delays that are no whole number of time steps of {rules.dt:g} s")
    return whole.astype(np.int64)


def _delay(coming: Float64Array, steps: npt.NDArray[np.int64]) -> Float64Array:
    flat = coming.reshape(*coming.shape[:2], -1)
    out = np.zeros_like(flat)
    for one in np.unique(steps):
        channels = steps == one
        if one < flat.shape[1]:
            out[:, one:, channels] = flat[:, : flat.shape[1] - one, channels]
    return out.reshape(coming.shape)


def _conv(node: Node, coming: Float64Array) -> Float64Array:
    weight = node.real("weight")
    flat = node.kind == "Conv1d"
    if flat:
        coming, weight = coming[..., None, :], weight[:, :, None, :]
    groups = node.whole("groups")[0]
    out, inside = weight.shape[:2]
    window = conv_window(node)
    high, wide = window.over((coming.shape[-2], coming.shape[-1]))
    total = np.zeros((*coming.shape[:2], groups, out // groups, high * wide))
    for u, v, seen in taps(coming, window):
        parts = seen.reshape(*seen.shape[:2], groups, inside, high * wide)
        total += weight[:, :, u, v].reshape(groups, out // groups, inside) @ parts
    bias = np.broadcast_to(node.real("bias").reshape(-1), (out,))
    made = total.reshape(*coming.shape[:2], out, high, wide) + bias[:, None, None]
    return made[..., 0, :] if flat else made


def taps(coming: Float64Array, window: KernelWalk) -> Iterator[tuple[int, int, Float64Array]]:
    """What each tap of a window sees of maps ``[n, frames, c, height, width]``, zeros outside."""
    rows, columns = window.padding
    maps = np.pad(coming, [(0, 0)] * 3 + [(rows, rows), (columns, columns)])
    high, wide = window.over((coming.shape[-2], coming.shape[-1]))
    for u in range(window.kernel[0]):
        for v in range(window.kernel[1]):
            y, x = u * window.dilation[0], v * window.dilation[1]
            yield (
                u,
                v,
                maps[
                    ...,
                    y : y + (high - 1) * window.stride[0] + 1 : window.stride[0],
                    x : x + (wide - 1) * window.stride[1] + 1 : window.stride[1],
                ],
            )
