"""The folded student: the same list of ops as the integer program, before quantisation, in float32.

Folding has turned every BatchNorm into thresholds, biases and weights, so nothing but spikes, currents,
thresholds and the readout is left. It is what the compiler quantises, what the float32 ONNX baseline
executes, and against what calibration measures the cost of the integers. `Shift`, `Attend`, `Add` and
`Count` carry no parameters and are shared with the integer program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import DECAY_DENOMINATOR, Add, Attend, Count, Shift

Float32Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FloatEmbed:
    """``out = E[token] @ P``, at every inner timestep.

    Attributes:
        name: Name of the op.
        out: Name of the current it makes.
        table: E, float32 ``[vocab, r]``.
        projection: P, float32 ``[r, d]``, input-major.
    """

    name: str
    out: str
    table: Float32Array
    projection: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class FloatLinear:
    """``out = spikes @ weight``.

    Attributes:
        name: Name of the op.
        input: Name of a spike value.
        out: Name of the current it makes.
        weight: float32 ``[in, out]``, input-major.
    """

    name: str
    input: str
    out: str
    weight: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class FloatLIF:
    """``V = V * n / 256 + I + bias``; ``s = V >= threshold``; ``V = 0 where s``; V = 0 before each token.

    Attributes:
        name: Name of the op.
        input: Name of a current.
        out: Name of the spike value it makes.
        decay: n, 1..256.
        threshold: float32 ``[c]``, positive.
        bias: float32 ``[c]``.
    """

    name: str
    input: str
    out: str
    decay: int
    threshold: Float32Array
    bias: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class FloatReadout:
    """``z = counts @ weight + bias``; ``logits = z @ E.T``.

    Attributes:
        name: Name of the op.
        input: Name of a count.
        out: Name of the logits it makes.
        weight: D, float32 ``[d, r]``, input-major.
        bias: float32 ``[r]``.
        table: E, float32 ``[vocab, r]``.
    """

    name: str
    input: str
    out: str
    weight: Float32Array
    bias: Float32Array
    table: Float32Array


FloatOp: TypeAlias = FloatEmbed | FloatLinear | FloatLIF | Shift | Attend | Add | Count | FloatReadout


@dataclass(frozen=True, slots=True, eq=False)
class FloatProgram:
    """A folded student.

    Attributes:
        timesteps: T, inner timesteps per token.
        ops: In order; the first is `FloatEmbed`, the last `FloatReadout`.
    """

    timesteps: int
    ops: tuple[FloatOp, ...]

    @property
    def embed(self) -> FloatEmbed:
        """The embedding."""
        return next(op for op in self.ops if isinstance(op, FloatEmbed))

    @property
    def readout(self) -> FloatReadout:
        """The readout."""
        return next(op for op in self.ops if isinstance(op, FloatReadout))


def run_float(
    program: FloatProgram, ids: npt.NDArray[np.integer]
) -> tuple[Float32Array, dict[str, npt.NDArray[np.floating]]]:
    """Execute a folded student on whole sequences in float32.

    Args:
        program: The folded student.
        ids: Token ids ``[batch, length]``.

    Returns:
        Counts before the readout ``[batch, length, d]``, float32, and the mean of every spike value by
        name (its spike rate per channel).
    """
    values: dict[str, Float32Array] = {}
    rates: dict[str, npt.NDArray[np.floating]] = {}
    for op in program.ops:
        if isinstance(op, FloatEmbed):
            x0 = op.table[ids] @ op.projection
            values[op.out] = np.repeat(x0[:, :, None, :], program.timesteps, axis=2)
        elif isinstance(op, FloatLinear):
            values[op.out] = values[op.input] @ op.weight
        elif isinstance(op, FloatLIF):
            values[op.out] = _lif(values[op.input], op)
            rates[op.out] = values[op.out].mean(axis=(0, 1, 2))
        elif isinstance(op, Shift):
            shifted = values[op.input].copy()
            shifted[:, 1:, :, op.channels] = values[op.input][:, :-1, :, op.channels]
            shifted[:, 0, :, op.channels] = 0
            values[op.out] = shifted
        elif isinstance(op, Attend):
            values[op.out] = _attend(values[op.input], op)
        elif isinstance(op, Add):
            values[op.out] = values[op.left] + values[op.right]
        elif isinstance(op, Count):
            values[op.out] = values[op.input].sum(axis=2)
    return values[program.readout.input], rates


def float_logits(program: FloatProgram, ids: npt.NDArray[np.integer]) -> Float32Array:
    """Logits of whole sequences, float32 ``[batch, length, vocab]``.

    Args:
        program: The folded student.
        ids: Token ids ``[batch, length]``.

    Returns:
        The logits.
    """
    counts, _ = run_float(program, ids)
    readout = program.readout
    logits = (counts @ readout.weight + readout.bias) @ readout.table.T
    return logits.astype(np.float32, copy=False)


def _lif(current: Float32Array, op: FloatLIF) -> Float32Array:
    beta = np.float32(op.decay / DECAY_DENOMINATOR)
    spikes = np.empty_like(current)
    membrane = np.zeros_like(current[:, :, 0])
    for t in range(current.shape[2]):
        membrane = membrane * beta + (current[:, :, t] + op.bias)
        fired = membrane >= op.threshold
        spikes[:, :, t] = fired
        membrane = np.where(fired, np.float32(0), membrane)
    return spikes


def _attend(qkv: Float32Array, op: Attend) -> Float32Array:
    batch, length, timesteps, _ = qkv.shape
    split = qkv.reshape(batch, length, timesteps, 3, len(op.windows), op.head_dim)
    age = np.arange(length)[:, None] - np.arange(length)[None, :]
    out = np.empty((batch, length, timesteps, len(op.windows), op.head_dim), np.float32)
    for head, window in enumerate(op.windows):
        q, k, v = (split[..., part, head, :].swapaxes(1, 2) for part in range(3))
        scores = (q @ k.swapaxes(-1, -2)) * ((age >= 0) & (age < window))
        out[..., head, :] = (scores @ v).swapaxes(1, 2)
    return out.reshape(batch, length, timesteps, op.channels)
