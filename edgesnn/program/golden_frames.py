"""Golden's part for programs of frames: the equations of `edgesnn.program.ops_frames` in numpy.

Values are ``[batch, frame, 1, channels]``. As in `edgesnn.program.golden`, sums run in float32 or float64
where every partial sum is an integer that the format holds exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import DECAY_DENOMINATOR, MEMBRANE_MAX, Int32Array, Op, inputs_of
from edgesnn.program.ops_frames import (
    COUNT_MAX,
    GRADED_MAX,
    Conv,
    Delay,
    FrameOutput,
    Frames,
    Reset,
    StatefulLIF,
    SumPool,
)
from edgesnn.program.program import Program
from edgesnn.program.state import State, ring_from_history

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]
#: State tensors by name, as a step or a prefill leaves them.
StateArrays = MutableMapping[str, npt.NDArray[Any]]
_FLOAT32_EXACT = 2**24


def spread(parameter: IntArray, channels: int) -> Int64Array:
    """A tensor of parameters ``[P]`` with one element for each channel, int64 ``[channels]``."""
    return np.repeat(parameter.astype(np.int64), channels // len(parameter))


def stateful_lif(
    current: IntArray, op: StatefulLIF, membrane: IntArray
) -> tuple[Int64Array, Int32Array, Int64Array]:
    """Frames of a neuron whose membrane lives on.

    Args:
        current: ``[batch, frame, 1, c]``.
        op: The neuron.
        membrane: V before the first frame, ``[batch, c]``.

    Returns:
        Membranes before the reset, int64, and spikes, int32, both of the shape of ``current``; V after the
        last frame, int64 ``[batch, c]``.
    """
    width = current.shape[-1]
    n, theta, drop = spread(op.decay, width), spread(op.threshold, width), spread(op.drop, width)
    drive = (current.astype(np.int64) << op.fraction) + spread(op.bias, width)
    v = membrane.astype(np.int64)
    membranes, spikes = np.empty_like(drive), np.zeros(drive.shape, np.int32)
    for frame in range(drive.shape[1]):
        late = np.where(v > theta, drop, 0) if op.reset is Reset.LATE else 0
        product = v * n
        decayed = (product + np.where(product < 0, DECAY_DENOMINATOR - 1, 0)) // DECAY_DENOMINATOR
        v = np.clip(decayed + drive[:, frame, 0] - late, -MEMBRANE_MAX, MEMBRANE_MAX)
        membranes[:, frame, 0] = v
        fired = (v > theta).astype(np.int64)
        if op.reset is Reset.MANY:
            fired *= np.maximum(v, 0) // drop
        spikes[:, frame, 0] = fired
        if op.reset is Reset.ZERO:
            v = np.where(fired > 0, 0, v)
        elif op.reset in (Reset.SUBTRACT, Reset.MANY):
            v = v - fired * drop
    return membranes, spikes, v


def conv_currents(value: IntArray, op: Conv, largest: int) -> Int64Array:
    """Currents of a convolution, int64 ``[batch, frame, 1, out]``.

    Args:
        value: ``[batch, frame, 1, in]``.
        op: The convolution.
        largest: Largest magnitude in ``value``.
    """
    out, high, wide = op.out_shape
    inside = op.shape[0] // op.groups
    sums = np.abs(op.weight.astype(np.int64)).sum(axis=(1, 2, 3))
    exact = int(sums.max()) * largest < _FLOAT32_EXACT
    weight = op.weight.astype(np.float32 if exact else np.float64)
    weight = weight.reshape(op.groups, out // op.groups, inside, *op.weight.shape[2:])
    maps = _padded(value, op, weight.dtype)
    total = np.zeros((maps.shape[0], op.groups, out // op.groups, high * wide), weight.dtype)
    for u in range(weight.shape[3]):
        for v in range(weight.shape[4]):
            seen = _seen(maps, op, (u * op.dilation[0], v * op.dilation[1]), (high, wide))
            seen = seen.reshape(maps.shape[0], op.groups, inside, high * wide)
            total += np.matmul(weight[:, :, :, u, v], seen)
    currents = total.astype(np.int64)
    return currents.reshape(*value.shape[:-1], op.channels)


def conv_bounds(op: Conv, low: Int64Array, high: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Least and largest currents of a convolution, int64 ``[out]``, where its input lies between two bounds.

    Args:
        op: The convolution.
        low: Lower bounds of its input, int64 ``[in]``, at most 0: padding is 0.
        high: Upper bounds, at least 0.
    """
    largest = int(max(high.max(), -low.min()))
    edges = np.stack([low, high])[None, :, None]
    positive = conv_currents(edges, replace(op, weight=np.maximum(op.weight, 0)), largest)[0, :, 0]
    negative = conv_currents(edges, replace(op, weight=np.minimum(op.weight, 0)), largest)[0, :, 0]
    wide = np.int64
    return positive[0].astype(wide) + negative[1], positive[1].astype(wide) + negative[0]


def sum_pool(value: IntArray, op: SumPool) -> Int64Array:
    """Sums of a pool, int64 ``[batch, frame, 1, out]``, of ``[batch, frame, 1, in]``."""
    maps = _padded(value, op, np.int64)
    _, high, wide = op.out_shape
    rows = np.zeros((*maps.shape[:3], wide), np.int64)
    for v in range(op.kernel[1]):
        rows += _seen(maps, op, (0, v), (None, wide))
    total = np.zeros((*maps.shape[:2], high, wide), np.int64)
    for u in range(op.kernel[0]):
        total += _seen(rows, op, (u, 0), (high, None))
    return total.reshape(*value.shape[:-1], op.channels)


def _padded(value: IntArray, op: Conv | SumPool, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    maps = value.reshape(-1, *op.shape).astype(dtype)
    rows, columns = op.padding
    return np.pad(maps, [(0, 0), (0, 0), (rows, rows), (columns, columns)])


def _seen(
    maps: npt.NDArray[Any], op: Conv | SumPool, at: tuple[int, int], extents: tuple[int | None, int | None]
) -> npt.NDArray[Any]:
    """What one tap of a kernel sees of padded maps, ``[n, c, height', width']``; None is all of an axis."""
    rows, columns = (
        slice(None)
        if extent is None
        else slice(at[axis], at[axis] + (extent - 1) * op.stride[axis] + 1, op.stride[axis])
        for axis, extent in enumerate(extents)
    )
    return maps[:, :, rows, columns]


def delayed(value: IntArray, op: Delay, past: IntArray) -> IntArray:
    """Values of earlier frames.

    Args:
        value: ``[batch, frame, 1, c]``.
        op: The delay.
        past: The frames before, oldest first, ``[batch, longest, c]``.

    Returns:
        As ``value``.
    """
    frames, width = value.shape[1], value.shape[-1]
    history = np.concatenate([past.astype(value.dtype), value[:, :, 0]], axis=1)
    delays = spread(op.delays, width)
    at = op.longest + np.arange(frames)[:, None] - delays[None, :]
    return history[:, at, np.arange(width)][:, :, None]


def largest_values(program: Program) -> dict[str, int]:
    """Largest magnitude that every spike and graded value can have, by name."""
    largest: dict[str, int] = {}
    for op in program.ops:
        if isinstance(op, Frames):
            largest[op.out] = max(-op.low, op.high)
        elif isinstance(op, SumPool):
            largest[op.out] = largest[op.input] * op.kernel[0] * op.kernel[1]
        elif isinstance(op, Delay):
            largest[op.out] = largest[op.input]
        elif isinstance(op, StatefulLIF):
            largest[op.out] = GRADED_MAX if op.reset is Reset.MANY else 1
    return largest


class FrameOps:
    """Executes the ops that only programs of frames have.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        self.largest = largest_values(program)

    def run(
        self,
        op: Op,
        values: Mapping[str, IntArray],
        state: State | None,
        out_state: StateArrays | None,
    ) -> IntArray:
        """The output of one op.

        Args:
            op: The op.
            values: What earlier ops made.
            state: The state before the first frame, or None at reset.
            out_state: Takes the state: the whole one of a prefill, this frame's part of a step; or None.
        """
        value = values[inputs_of(op)[0]]
        if isinstance(op, Conv):
            return conv_currents(value, op, self.largest[op.input]).astype(np.int32)
        if isinstance(op, SumPool):
            return sum_pool(value, op).astype(np.int32)
        if isinstance(op, StatefulLIF):
            return _run_lif(value, op, state, out_state)
        if isinstance(op, Delay):
            return _run_delay(value, op, state, out_state)
        if isinstance(op, FrameOutput):
            return _run_output(value[:, :, 0], op, state, out_state)
        raise TypeError(f"no op of frames: {op.name}")


def _run_lif(
    current: IntArray, op: StatefulLIF, state: State | None, out_state: StateArrays | None
) -> IntArray:
    name = f"membrane.{op.name}"
    first = (
        np.zeros((current.shape[0], current.shape[-1]), np.int64) if state is None else state.tensors[name]
    )
    membranes, spikes, last = stateful_lif(current, op, first)
    if out_state is not None:
        out_state[name] = last.astype(np.int32)
    return membranes.astype(np.int32) if op.membrane else spikes


def _run_delay(value: IntArray, op: Delay, state: State | None, out_state: StateArrays | None) -> IntArray:
    name = f"delay.{op.name}"
    if state is None:
        past = np.zeros((value.shape[0], op.longest, value.shape[-1]), value.dtype)
        if out_state is not None:
            out_state[name] = ring_from_history(value[:, :, 0].astype(np.int16), op.longest)
    else:
        past = np.roll(state.tensors[name], -(state.count % op.longest), axis=1)
        if out_state is not None:
            out_state[name] = value[:, 0, 0].astype(np.int16)
    return delayed(value, op, past)


def _run_output(
    value: IntArray, op: FrameOutput, state: State | None, out_state: StateArrays | None
) -> Int32Array:
    if not op.summed:
        return value.astype(np.int32)
    name = f"count.{op.name}"
    count = np.zeros((value.shape[0], value.shape[-1]), np.int64)
    if state is not None:
        count = count + state.tensors[name]
    sums = np.empty(value.shape, np.int32)
    for frame in range(value.shape[1]):
        count = np.clip(count + value[:, frame], -COUNT_MAX, COUNT_MAX)
        sums[:, frame] = count
    if out_state is not None:
        out_state[name] = sums[:, -1]
    return sums
