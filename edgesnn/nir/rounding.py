"""Rounding weights so that the sums that neurons see stay what they were.

Rounding each weight to its nearest code errs by up to half a code each time that its input fires, and a
membrane sums these errors over frames. With calibration frames the error of one weight is passed on to those
not yet rounded, as far as their inputs come together with its own, so that the error of the sum is small.

Source: the method is GPTQ's (E. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers, ICLR 2023), its second moments taken of inputs as a leaky membrane sums them.
"""

from __future__ import annotations

import numpy as np

from edgesnn.nir.graph import Graph
from edgesnn.nir.nodes import NEURONS, WEIGHTS, Float64Array, Node, Shape, conv_window
from edgesnn.nir.simulate import simulate, taps
from edgesnn.nir.sources import Rules, dynamics
from edgesnn.program.ops import WEIGHT_MAX

#: Inputs are summed as a membrane with at most this beta sums them; resets cut longer memories short.
_BETA_MAX = 0.95
#: Of the mean second moment, added to each: inputs that hardly fire are no reason to move others.
_DAMPING = 0.02
#: Weights of one row above which rounding is to the nearest: the moments would have millions of elements.
_INPUTS_MAX = 2048
#: Sums of inputs that the moments of one layer are taken of.
_SUMS = 20_000
_BLOCK = 64


def round_weights(codes: Float64Array, moments: Float64Array | None) -> Float64Array:
    """Round rows of weights to codes.

    Args:
        codes: Weights divided by the scale of their row, ``[out, in]``.
        moments: Second moments of what they read, ``[in, in]``; None rounds to the nearest.

    Returns:
        Whole numbers in -127..127, ``[out, in]``.
    """
    if moments is None:
        return np.asarray(np.clip(np.rint(codes), -WEIGHT_MAX, WEIGHT_MAX))
    order = np.argsort(-np.diag(moments), kind="stable")
    hessian = moments[np.ix_(order, order)]
    hessian = hessian + np.eye(len(order)) * max(_DAMPING * float(np.trace(moments)) / len(order), 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    left, out = codes[:, order].copy(), np.empty_like(codes)
    for start in range(0, len(order), _BLOCK):
        end = min(start + _BLOCK, len(order))
        errors = np.empty((len(codes), end - start))
        for j in range(start, end):
            whole = np.clip(np.rint(left[:, j]), -WEIGHT_MAX, WEIGHT_MAX)
            out[:, order[j]] = whole
            errors[:, j - start] = (left[:, j] - whole) / upper[j, j]
            left[:, j + 1 : end] -= np.outer(errors[:, j - start], upper[j, j + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    return out


def input_moments(graph: Graph, rules: Rules, frames: Float64Array) -> dict[str, Float64Array]:
    """Second moments of what each node with weights reads, summed over time as its neurons sum it.

    Args:
        graph: The network; all of its neurons have dynamics.
        rules: What they do.
        frames: Real values ``[n, frames, *shape]``.

    Returns:
        By node: ``[groups, in, in]``, of a convolution over the weights of one output element.
    """
    found: dict[str, Float64Array] = {}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.kind in WEIGHTS and len(graph.sources[node.name]) == 1:
            readers.setdefault(graph.sources[node.name][0], []).append(node)

    def see(name: str, value: Float64Array) -> None:
        for node in readers.get(name, ()):
            inputs = int(np.prod(node.real("weight").shape[1:]))
            if inputs <= _INPUTS_MAX:
                found[node.name] = _moments(node, _summed(value, _beta(graph, node, rules)))

    simulate(graph, rules, frames, see)
    return found


def _beta(graph: Graph, node: Node, rules: Rules) -> float:
    """Mean beta of the neurons behind a node with weights."""
    for reader in graph.nodes:
        if node.name in graph.sources[reader.name]:
            if reader.kind in NEURONS:
                made, _ = dynamics(reader, graph.shapes[reader.name], rules)
                return _BETA_MAX if made is None else min(float(made.beta.mean()), _BETA_MAX)
            return _beta(graph, reader, rules)
    return 0.0


def _summed(value: Float64Array, beta: float) -> Float64Array:
    total = np.empty_like(value)
    membrane = np.zeros_like(value[:, 0])
    for frame in range(value.shape[1]):
        membrane = beta * membrane + value[:, frame]
        total[:, frame] = membrane
    return total


def _moments(node: Node, value: Float64Array) -> Float64Array:
    weight = node.real("weight")
    if node.kind in ("Affine", "Linear"):
        rows = _some(value.reshape(-1, weight.shape[1]))
        return (rows.T @ rows / len(rows))[None]
    shape: Shape = value.shape[2:]
    maps = value[..., None, :] if node.kind == "Conv1d" else value
    groups = node.whole("groups")[0]
    window = conv_window(node)
    high, wide = window.over((maps.shape[-2], maps.shape[-1]))
    windows = max(1, min(len(maps) * maps.shape[1], -(-_SUMS // (high * wide))))
    maps = _some(maps.reshape(-1, 1, *maps.shape[2:]), windows)
    seen = [tap.reshape(len(maps), shape[0], high * wide) for _, _, tap in taps(maps, window)]
    patches = np.stack(seen, 2)  # [n, channels, taps, places]
    patches = patches.reshape(len(maps), groups, -1, high * wide).transpose(1, 0, 3, 2)
    rows = patches.reshape(groups, -1, patches.shape[-1])
    return np.asarray(rows.transpose(0, 2, 1) @ rows / rows.shape[1])


def _some(rows: Float64Array, most: int = _SUMS) -> Float64Array:
    """At most so many rows, spread evenly."""
    return rows[:: max(1, -(-len(rows) // most))]
