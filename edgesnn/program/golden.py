"""The golden interpreter: the definition of an integer program, executed in numpy.

Every backend must give its spikes and logits bit for bit. It is written to be read and to be right;
matrix products run in float32 or float64 BLAS where every partial sum is an integer that the format
holds exactly (below 2**24 or 2**53), which the constructor checks.

Three forms: `Golden.sequence` (whole sequences), `Golden.step` (one token and a `State`) and
`Golden.prefill` (a sequence that leaves a state from which `step` continues).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesnn.program.golden_frames import FrameOps, StateArrays
from edgesnn.program.ops import (
    DECAY_DENOMINATOR,
    LIF,
    MEMBRANE_MAX,
    MEMBRANE_SCALE,
    RESIDUAL_MAX,
    Add,
    Attend,
    Count,
    Embed,
    Int8Array,
    Int32Array,
    Linear,
    Readout,
    Saturate,
    Shift,
    inputs_of,
)
from edgesnn.program.ops_frames import Frames
from edgesnn.program.program import Program
from edgesnn.program.state import SpikeArray, State, ring_from_history

IntArray = npt.NDArray[np.integer]
#: Called with the name and array of every value while a program runs.
Tap = Callable[[str, npt.NDArray[np.integer]], None]

_QUERY_BLOCK = 128
_FLOAT32_EXACT = 2**24


def trunc_shift(value: npt.NDArray[np.int64], shift: int) -> npt.NDArray[np.int64]:
    """``trunc(value / 2**shift)``: division that rounds toward zero, int64."""
    toward_zero = value >> 63  # -1 where negative, else 0
    toward_zero &= (1 << shift) - 1
    toward_zero += value
    toward_zero >>= shift
    return toward_zero


def decay(membrane: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """``trunc(V * n / 256)``, int64."""
    return trunc_shift(membrane * n, DECAY_DENOMINATOR.bit_length() - 1)


def lif_membranes(current: IntArray, op: LIF) -> tuple[npt.NDArray[np.int64], SpikeArray]:
    """Membranes before reset, and spikes, of a LIF.

    Args:
        current: ``[.., T, c]``.
        op: The LIF.

    Returns:
        Membranes int64 ``[.., T, c]`` as compared with the threshold, and spikes int8 of the same shape.
    """
    drive = current.astype(np.int64) * MEMBRANE_SCALE + op.bias
    membranes = np.empty_like(drive)
    spikes = np.empty(drive.shape, np.int8)
    kept: npt.NDArray[np.int64] | int = 0  # what a token begins with
    for t in range(drive.shape[-2]):
        membrane = membranes[..., t, :]
        np.add(drive[..., t, :], kept, out=membrane)
        np.clip(membrane, -MEMBRANE_MAX, MEMBRANE_MAX, out=membrane)
        fired = np.greater(membrane, op.threshold, out=spikes[..., t, :].view(np.bool_))
        if t + 1 < drive.shape[-2]:
            kept = decay(np.where(fired, 0, membrane), op.decay)
    return membranes, spikes


def readout_codes(counts: IntArray, op: Readout) -> npt.NDArray[np.int64]:
    """The int8 codes z8 of a readout, int64 ``[.., r]``, from counts ``[.., d]``."""
    z = counts.astype(np.int64) @ op.weight.astype(np.int64) + op.bias
    return np.clip(trunc_shift(z * op.multiplier, op.shift), -127, 127)


class _Matrix:
    """An int8 matrix ready for exact products with small non-negative or int8 integers.

    Args:
        weight: int8 ``[in, out]``.
        largest: Largest magnitude on the other side.
    """

    def __init__(self, weight: Int8Array, largest: int) -> None:
        sums = np.abs(weight.astype(np.int64)).sum(axis=0)
        exact = int(sums.max(initial=0)) * largest < _FLOAT32_EXACT
        self._weight = weight.astype(np.float32 if exact else np.float64)

    def __call__(self, left: IntArray) -> Int32Array:
        """``left @ weight``, int32."""
        flat = left.reshape(-1, left.shape[-1]).astype(self._weight.dtype)
        product = flat @ self._weight
        integers: Int32Array = product.astype(np.int32)
        return integers.reshape(*left.shape[:-1], -1)


class Golden:
    """The interpreter of one program.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._frame_ops = FrameOps(program)
        largest = self._frame_ops.largest
        self._linear = {op.name: _Matrix(op.weight, largest.get(op.input, 1)) for op in program.all(Linear)}
        if program.frames is not None:
            return
        self._tied = _Matrix(np.ascontiguousarray(program.readout.table.T), 127)
        embed = program.embed
        codes = embed.table.astype(np.int64) @ embed.projection.astype(np.int64)
        self._embedding = trunc_shift(codes * embed.multiplier, embed.shift).astype(np.int32)

    def sequence(self, ids: IntArray, tap: Tap | None = None) -> Int32Array:
        """Logits of whole sequences, each from an empty context.

        Args:
            ids: Token ids ``[batch, length]``, or frames ``[batch, length, channels]``
                (`edgesnn.program.program.Program.check_input`).
            tap: Sees every value by name, shape ``[batch, length, T, c]`` (counts, logits and outputs
                without T).

        Returns:
            Integer logits, int32 ``[batch, length, vocab]``, or outputs ``[batch, length, channels]``.
        """
        return self._run(self.program.check_input(ids), None, tap, None)

    def counts(self, ids: IntArray, tap: Tap | None = None) -> Int32Array:
        """Spike counts that reach the readout, int32 ``[batch, length, d]``, of whole sequences.

        Args:
            ids: Token ids ``[batch, length]``.
            tap: As in `sequence`.
        """
        return self._run(self.program.check_ids(ids), None, tap, None, until=self.program.readout)

    def logits_of(self, counts: IntArray) -> Int32Array:
        """Integer logits, int32 ``[.., vocab]``, of spike counts ``[.., d]`` that reach the readout."""
        return self._tied(readout_codes(counts, self.program.readout))

    def prefill(self, ids: IntArray) -> tuple[Int32Array, State]:
        """Logits of whole sequences, and the state after them.

        Args:
            ids: As in `sequence`, at least one token or frame.

        Returns:
            What `sequence` gives, and the state from which `step` continues.
        """
        ids = self.program.check_input(ids)
        history: StateArrays = {}
        logits = self._run(ids, None, None, history)
        state = State(self.program, ids.shape[0])
        state.load(history)
        return logits, state

    def step(self, tokens: IntArray, state: State, tap: Tap | None = None) -> Int32Array:
        """Logits of one more token; the state is updated in place.

        Args:
            tokens: Token ids ``[batch]``, or frames ``[batch, channels]``.
            state: The state, of the same batch.
            tap: As in `sequence`, with length 1.

        Returns:
            Integer logits, int32 ``[batch, vocab]``, or outputs ``[batch, channels]``.
        """
        ids = self.program.check_input(np.asarray(tokens)[:, None])
        new: StateArrays = {}
        logits = self._run(ids, state, tap, new)
        state.push(new)
        return logits[:, 0]

    def _run(
        self,
        ids: IntArray,
        state: State | None,
        tap: Tap | None,
        out_state: StateArrays | None,
        until: Readout | None = None,
    ) -> Int32Array:
        values: dict[str, npt.NDArray[np.integer]] = {}
        last_use = {name: op for op in self.program.ops for name in inputs_of(op)}
        for op in self.program.ops:
            result: npt.NDArray[np.integer]
            if op is until:
                return values[op.input].astype(np.int32, copy=False)
            if isinstance(op, (Embed, Frames)):
                given = ids if isinstance(op, Frames) else self._embedding[ids]
                result = np.repeat(given[:, :, None, :], self.program.timesteps, axis=2)
            elif isinstance(op, Linear):
                result = self._linear[op.name](values[op.input])
            elif isinstance(op, LIF):
                result = lif_membranes(values[op.input], op)[1]
            elif isinstance(op, Shift):
                result = _shift(values[op.input].astype(np.int8), op, state, out_state)
            elif isinstance(op, Attend):
                result = _attend(values[op.input].astype(np.int8), op, state, out_state)
            elif isinstance(op, Add):
                result = values[op.left] + values[op.right]
            elif isinstance(op, Saturate):
                result = np.clip(values[op.input], -RESIDUAL_MAX, RESIDUAL_MAX)
            elif isinstance(op, Count):
                result = values[op.input].sum(axis=2, dtype=np.int32)
            elif isinstance(op, Readout):
                result = self._tied(readout_codes(values[op.input], op))
            else:
                result = self._frame_ops.run(op, values, state, out_state)
            values[op.out] = result
            if tap is not None:
                tap(op.out, result)
            for name in inputs_of(op):
                if last_use[name] is op:
                    values.pop(name, None)
        return values[self.program.ops[-1].out].astype(np.int32, copy=False)


def _shift(spikes: SpikeArray, op: Shift, state: State | None, out_state: StateArrays | None) -> SpikeArray:
    name = f"shift.{op.name}"
    moved = spikes[..., op.channels]
    first = np.zeros_like(moved[:, :1]) if state is None else state.tensors[name][:, None]
    if out_state is not None:
        out_state[name] = moved[:, -1]
    shifted = spikes.copy()
    shifted[..., op.channels] = np.concatenate([first, moved[:, :-1]], axis=1)
    return shifted


def _attend(qkv: SpikeArray, op: Attend, state: State | None, out_state: StateArrays | None) -> Int32Array:
    batch, length, timesteps, _ = qkv.shape
    split = qkv.reshape(batch, length, timesteps, 3, len(op.windows), op.head_dim)
    query, key, value = split[..., 0, :, :], split[..., 1, :, :], split[..., 2, :, :]
    key_name, value_name = f"k.{op.name}", f"v.{op.name}"
    if state is not None:
        out = _attend_step(query[:, 0], key[:, 0], value[:, 0], op, state)[:, None]
        if out_state is not None and op.slots > 0:
            out_state[key_name], out_state[value_name] = key[:, 0], value[:, 0]
    else:
        out = _attend_sequence(query, key, value, op)
        if out_state is not None and op.slots > 0:
            rings = [(head, size) for head, (_, size) in enumerate(op.rings) if size > 0]
            keys = [ring_from_history(key[:, :, :, head], size) for head, size in rings]
            values = [ring_from_history(value[:, :, :, head], size) for head, size in rings]
            out_state[key_name] = np.concatenate(keys, axis=1).transpose(0, 2, 3, 1)
            out_state[value_name] = np.concatenate(values, axis=1).transpose(0, 2, 1, 3)
    return out.reshape(batch, length, timesteps, op.channels)


def _attend_step(
    query: SpikeArray, key: SpikeArray, value: SpikeArray, op: Attend, state: State
) -> Int32Array:
    """One token against the ring and itself; all arrays ``[batch, T, heads, dh]``."""
    own = np.einsum("bthd,bthd->bth", query.astype(np.int32), key.astype(np.int32))
    out: Int32Array = own[..., None] * value.astype(np.int32)
    for head, (first, size) in enumerate(op.rings):
        if size == 0:
            continue
        keys = state.tensors[f"k.{op.name}"][..., first : first + size].astype(np.float32)
        values = state.tensors[f"v.{op.name}"][:, :, first : first + size].astype(np.float32)
        scores = query[:, :, head, None].astype(np.float32) @ keys
        out[:, :, head] += (scores @ values)[:, :, 0].astype(np.int32)
    return out


def _attend_sequence(query: SpikeArray, key: SpikeArray, value: SpikeArray, op: Attend) -> Int32Array:
    """Whole sequences in blocks of queries; arrays ``[batch, length, T, heads, dh]``."""
    length = query.shape[1]
    out = np.empty(query.shape, np.int32)
    for head, window in enumerate(op.windows):
        q = query[..., head, :].swapaxes(1, 2).astype(np.float32)
        k = key[..., head, :].swapaxes(1, 2).astype(np.float32)
        v = value[..., head, :].swapaxes(1, 2).astype(np.float32)
        for start in range(0, length, _QUERY_BLOCK):
            stop = min(start + _QUERY_BLOCK, length)
            first = max(0, start - window + 1)
            age = np.arange(start, stop)[:, None] - np.arange(first, stop)[None, :]
            scores = q[:, :, start:stop] @ k[:, :, first:stop].swapaxes(-1, -2)
            scores *= (age >= 0) & (age < window)
            block = (scores @ v[:, :, first:stop]).astype(np.int32)
            out[:, start:stop, :, head, :] = block.swapaxes(1, 2)
    return out
