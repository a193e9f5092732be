"""One layer of neurons and the weights in front of it as integer ops.

With ``u = (V - shift) / gain`` every layer is ``u = beta u + I + B``, a spike where u reaches
``(theta - shift) / gain``: gain, leak and reset voltage are folded. One scale s for each row of weights
makes them int8; it divides into threshold and bias of the neurons of that row, so that nothing is multiplied
at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.nir.currents import Current, WeightedPart
from edgesnn.nir.nodes import Float64Array
from edgesnn.nir.sources import Dynamics
from edgesnn.program.bounds import membrane_high
from edgesnn.program.ops import (
    DECAY_DENOMINATOR,
    LIF_BIAS_MAX,
    MEMBRANE_MAX,
    THETA_MAX,
    WEIGHT_MAX,
    Add,
    Linear,
    Op,
)
from edgesnn.program.ops_frames import FRACTION_MAX, FRAME_CURRENT_LIMIT, Conv, Reset, StatefulLIF

_RESETS = {"zero": Reset.ZERO, "subtract": Reset.SUBTRACT, "none": Reset.NONE}
#: A threshold is at most this: a membrane may go as far above it before it saturates.
_THETA_ROOM = MEMBRANE_MAX // 2
#: Scales that are tried for each row of weights, where a row has at most so many.
_SCALES, _FEW_WEIGHTS = 48, 512
#: By how much of itself a float32 may be off after a few operations.
_FLOAT32_NOISE = 2.0**-20
#: Frames over which a membrane without threshold sums its input before it may saturate.
_FRAMES_OF_SUM = 64.0


@dataclass(frozen=True, slots=True)
class ImportedLayer:
    """What rounding did to one layer of neurons.

    Attributes:
        node: Name of the node.
        kind: Its type.
        neurons: How many.
        weights: Weights in front of them.
        weight_error: Root mean square of the rounding of weights over root mean square of the weights.
        decay_error: Largest difference between a decay and its multiple of 1/256.
        fraction: Fraction bits of a membrane.
        dead: Neurons whose threshold lies above what a membrane can reach.
        floored: Neurons whose threshold was below the smallest that an integer program has.
    """

    node: str
    kind: str
    neurons: int
    weights: int
    weight_error: float
    decay_error: float
    fraction: int
    dead: int
    floored: int


@dataclass(frozen=True, slots=True, eq=False)
class IntegerLayer:
    """One layer of neurons as integer ops.

    Attributes:
        ops: Weights, sums, neurons.
        report: What rounding did.
        largest: Most spikes of a neuron in a frame.
        worth: What a unit of the membrane is worth, where that is the output.
    """

    ops: tuple[Op, ...]
    report: ImportedLayer
    largest: int
    worth: float


def quantise_layer(
    kind: str,
    current: Current,
    neuron: Dynamics,
    name: str,
    naming: Callable[[str], str],
    *,
    membrane: bool,
) -> IntegerLayer:
    """Weights and neurons as integer ops.

    Args:
        kind: Type of the node, for the report.
        current: What the neurons read.
        neuron: What they do.
        name: Name of their node.
        naming: Gives each op a name of its own, made from a node's.
        membrane: Whether the membrane is the output; all rows then share what a unit of it is worth.
    """
    rows, neurons = current.rows, math.prod(current.shape)
    shift = neuron.reset_to if neuron.reset == "zero" else np.zeros(neurons)
    theta = (neuron.theta - shift) / neuron.gain
    bias = current.bias + (neuron.drive - (1 - neuron.beta) * shift) / neuron.gain
    beta = neuron.beta
    scale, unit = _scales(current, theta, neuron.gain if membrane else None)
    reach = np.repeat(_reach(current) / scale, neurons // rows) + np.abs(bias) / _each(scale, neurons)
    fraction = _fraction(theta / _each(scale, neurons), reach, beta, fires=not membrane)
    steps = 2.0**fraction / _each(scale, neurons)
    if membrane:
        threshold = np.full(neurons, float(THETA_MAX))
        exact = np.full(neurons, 1.0)
    else:
        exact = np.ceil(steps * theta) - 1 if neuron.inclusive else np.floor(steps * theta)
        threshold = np.clip(exact, 1, THETA_MAX)
    decay = np.rint(beta * DECAY_DENOMINATOR)
    offset = np.clip(np.rint(bias * steps), -LIF_BIAS_MAX, LIF_BIAS_MAX)
    ops, error, weights = _weights(current, scale, naming)
    name = naming(name)
    reset = Reset.MANY if neuron.many else Reset.LATE if neuron.late else _RESETS[neuron.reset]
    shared = _shared(rows, decay, threshold, offset)
    made = StatefulLIF(
        name,
        ops[-1].out,
        name,
        shared[0],
        shared[1],
        shared[2],
        reset,
        inclusive=neuron.inclusive and not membrane,
        fraction=fraction,
        membrane=membrane,
    )
    report = ImportedLayer(
        node=name,
        kind=kind,
        neurons=neurons,
        weights=weights,
        weight_error=error,
        decay_error=float(np.abs(decay / DECAY_DENOMINATOR - beta).max()),
        fraction=fraction,
        dead=int((exact > THETA_MAX).sum()),
        floored=int((exact < 1).sum()),
    )
    largest = 1
    if reset is Reset.MANY:
        high = np.repeat(
            np.minimum(np.rint(_reach(current) / scale) + 1, FRAME_CURRENT_LIMIT), neurons // rows
        )
        drop = np.repeat(made.drop.astype(np.int64), neurons // len(made.drop))
        largest = max(1, int((membrane_high(made, high.astype(np.int64)) // drop).max()))
    return IntegerLayer((*ops, made), report, largest, unit / 2.0**fraction)


def _each(rows: Float64Array, neurons: int) -> Float64Array:
    """A number of each row for each neuron of it."""
    return np.repeat(rows, neurons // len(rows))


def _row_sums(part: WeightedPart) -> Float64Array:
    flat = np.abs(part.weight.reshape(len(part.weight), -1))
    return np.asarray(flat.sum(axis=1) * part.source.largest)


def _reach(current: Current) -> Float64Array:
    """Largest magnitude of a current, by row."""
    return np.asarray(np.sum([_row_sums(part) for part in current.parts], axis=0))


def _scales(current: Current, theta: Float64Array, gain: Float64Array | None) -> tuple[Float64Array, float]:
    """Scales of the rows, and, where a membrane is the output, what ``scale * gain`` is, the same for all."""
    largest = np.max(
        [np.abs(part.weight.reshape(len(part.weight), -1)).max(axis=1) for part in current.parts], axis=0
    )
    # half a code of rounding for each weight is in the proof of the current too
    taps = sum(part.weight[0].size * part.source.largest for part in current.parts)
    room = FRAME_CURRENT_LIMIT - 1 - taps / 2
    needed = np.maximum(largest / WEIGHT_MAX, _reach(current) / max(room, 1.0))
    finite = np.where(np.isfinite(theta), theta, 0.0).reshape(current.rows, -1).max(axis=1)
    needed = np.maximum(needed, np.minimum(finite, largest * 2**20) / _THETA_ROOM)
    silent = needed <= 0
    needed = np.where(silent, np.median(needed[~silent]) if (~silent).any() else 1.0, needed)
    if gain is None:
        return _finest(current, needed), 0.0
    each = gain.reshape(current.rows, -1).max(axis=1)
    unit = float((needed * each).max())
    return unit / each, unit


def _finest(current: Current, least: Float64Array) -> Float64Array:
    """Scales of rows by which their weights fall closest to codes.

    Weights that are codes already keep their scale, so that an integer program goes through a file unchanged.
    Of others the scale is the smallest or up to a quarter more.
    """
    rows = np.concatenate([part.weight.reshape(current.rows, -1) for part in current.parts], axis=1)
    grid = _grid(rows, least)
    if (grid > 0).all():
        return grid
    if rows.shape[1] > _FEW_WEIGHTS:  # the errors of many are as large at any scale
        return least
    best, lowest = least, np.full(len(least), np.inf)
    for step in range(_SCALES):
        scale = least * (1 + step / (4 * _SCALES))
        error = np.square(rows - np.rint(rows / scale[:, None]) * scale[:, None]).sum(axis=1)
        best, lowest = np.where(error < lowest, scale, best), np.minimum(error, lowest)
    return best


def _grid(rows: Float64Array, least: Float64Array) -> Float64Array:
    """The smallest scale of each row by which all its weights are whole, up to float32; 0 where none is."""
    largest = np.abs(rows).max(axis=1)
    found = np.zeros(len(rows))
    for code in range(WEIGHT_MAX, 0, -1):
        scale = largest / code
        open_rows = np.flatnonzero((found == 0) & (scale >= least * (1 - _FLOAT32_NOISE)) & (largest > 0))
        for width in (_FEW_WEIGHTS // 8, rows.shape[1]):  # most fall at the first weights
            codes = rows[open_rows, :width] / scale[open_rows, None]
            near = np.abs(codes - np.rint(codes)).max(axis=1, initial=0.0) < WEIGHT_MAX * _FLOAT32_NOISE
            open_rows = open_rows[near]
        found[open_rows] = scale[open_rows]
    return np.where(largest > 0, found, least)


def _fraction(theta: Float64Array, reach: Float64Array, beta: Float64Array, *, fires: bool) -> int:
    """The most fraction bits at which membranes have room."""
    if fires:
        highest = float((theta + np.minimum(reach, 4 * theta)).max())
    else:
        highest = float((reach / np.maximum(1 - beta, 1 / _FRAMES_OF_SUM)).max())
    room = MEMBRANE_MAX / max(highest, 1e-9)
    return int(np.clip(np.floor(np.log2(max(room, 1.0))), 0, FRACTION_MAX))


def _weights(
    current: Current, scale: Float64Array, naming: Callable[[str], str]
) -> tuple[list[Op], float, int]:
    """Ops that make the current, the relative error of their rounding, and how many weights they have."""
    ops: list[Op] = []
    made: list[str] = []
    rounding = square = 0.0
    count = 0
    for part in current.parts:
        steps = scale.reshape(-1, *[1] * (part.weight.ndim - 1))
        codes = np.clip(np.rint(part.weight / steps), -WEIGHT_MAX, WEIGHT_MAX)
        rounding += float(np.square(codes * steps - part.weight).sum())
        square += float(np.square(part.weight).sum())
        count += codes.size
        ops.append(_weight_op(part, codes.astype(np.int8), naming(part.node)))
        made.append(ops[-1].out)
    total = made[0]
    for other in made[1:]:
        name = naming(f"{total}+")
        ops.append(Add(name, total, other, name))
        total = name
    return ops, math.sqrt(rounding / square) if square else 0.0, count


def _weight_op(part: WeightedPart, codes: npt.NDArray[np.int8], name: str) -> Linear | Conv:
    source = part.source.name
    if part.window is None:
        return Linear(name, source, name, np.ascontiguousarray(codes.T))
    window = part.window
    return Conv(
        name, source, name, codes, part.map_shape, window.stride, window.padding, window.dilation, part.groups
    )


def _shared(rows: int, *parameters: Float64Array) -> tuple[npt.NDArray[np.int32], ...]:
    """Parameters for each row where all neurons of a row have the same, else for each neuron."""
    tables = [one.reshape(rows, -1) for one in parameters]
    if all((table == table[:, :1]).all() for table in tables):
        tables = [table[:, :1] for table in tables]
    return tuple(table.reshape(-1).astype(np.int32) for table in tables)
