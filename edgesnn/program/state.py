"""What a program remembers between tokens, and the host's part in keeping it.

Of programs that read text, both 0/1 and int8, zero at reset:

* ``shift.{name}``, ``[batch, T, channels]``: the previous token's spikes of the shifted channels.
* ``k.{name}`` ``[batch, T, dh, slots]`` and ``v.{name}`` ``[batch, T, slots, dh]``: the keys and values of
  past tokens. Every head owns a ring of ``W_h - 1`` neighbouring slots, head after head, so
  ``slots = sum(W_h - 1)``; a score of a head with a slot of another head is ignored. Attention is a sum, so
  the order inside a ring is free: the host writes token number n (counted since reset or prefill) into slot
  ``n mod (W_h - 1)`` of the ring of every head, over the token that has just left that window. A head with
  ``W_h = 1`` owns no slot.

Of programs that read frames, zero at reset:

* ``membrane.{name}``, int32 ``[batch, channels]``: V of a `StatefulLIF` after its reset.
* ``delay.{name}``, int16 ``[batch, longest, channels]``: what entered a `Delay` in the frames before, a ring
  with frame n in slot ``n mod longest``.
* ``count.{name}``, int32 ``[batch, channels]``: the sums of a `FrameOutput`.

A step reads the state and gives only this token's part: spikes ``[batch, T, channels]``, ``k`` and ``v``
``[batch, T, heads, dh]``, membranes, counts and the entry of a delay ``[batch, channels]``. A prefill gives
whole state tensors, the oldest token first in every ring, with n = 0 again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import Attend, Shift
from edgesnn.program.ops_frames import Delay, FrameOutput, StatefulLIF
from edgesnn.program.program import Program

SpikeArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One state tensor.

    Attributes:
        name: ``shift.{op}``, ``k.{op}``, ``v.{op}``, ``membrane.{op}``, ``delay.{op}`` or ``count.{op}``.
        shape: Shape without the batch dimension, which stands first.
        kind: ``shift``, ``key``, ``value``, ``membrane``, ``delay`` or ``count``.
        op: Name of the op that owns it.
        dtype: Name of its type of element.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    op: str
    dtype: Literal["int8", "int16", "int32"] = "int8"


def state_tensors(program: Program) -> tuple[StateTensor, ...]:
    """The state tensors of a program in order of its ops. Attention without a past has none."""
    tensors: list[StateTensor] = []
    channels = program.channels()
    for op in program.ops:
        if isinstance(op, Shift):
            shape: tuple[int, ...] = (program.timesteps, len(op.channels))
            tensors.append(StateTensor(f"shift.{op.name}", shape, "shift", op.name))
        elif isinstance(op, Attend) and op.slots > 0:
            keys = (program.timesteps, op.head_dim, op.slots)
            values = (program.timesteps, op.slots, op.head_dim)
            tensors.append(StateTensor(f"k.{op.name}", keys, "key", op.name))
            tensors.append(StateTensor(f"v.{op.name}", values, "value", op.name))
        elif isinstance(op, StatefulLIF):
            shape = (channels[op.out],)
            tensors.append(StateTensor(f"membrane.{op.name}", shape, "membrane", op.name, "int32"))
        elif isinstance(op, Delay):
            shape = (op.longest, channels[op.out])
            tensors.append(StateTensor(f"delay.{op.name}", shape, "delay", op.name, "int16"))
        elif isinstance(op, FrameOutput) and op.summed:
            tensors.append(StateTensor(f"count.{op.name}", (channels[op.out],), "count", op.name, "int32"))
    return tuple(tensors)


class State:
    """The state of a running program, kept by the host.

    Args:
        program: The program.
        batch: Number of sequences that run side by side.
        dtype: Element type of the tensors, None for their own; engines of the float baseline hold the same 0
            and 1 as float32.

    Attributes:
        tensors: The arrays by name, batch first.
        count: n, tokens stepped since reset or prefill.
    """

    def __init__(self, program: Program, batch: int = 1, dtype: npt.DTypeLike | None = None) -> None:
        self.batch = batch
        self.count = 0
        self.tensors: dict[str, npt.NDArray[Any]] = {
            tensor.name: np.zeros((batch, *tensor.shape), dtype or tensor.dtype)
            for tensor in state_tensors(program)
        }
        self._rings = tuple(
            (
                self.tensors[f"k.{op.name}"],
                self.tensors[f"v.{op.name}"],
                f"k.{op.name}",
                f"v.{op.name}",
                tuple((head, first, size) for head, (first, size) in enumerate(op.rings) if size > 0),
            )
            for op in program.all(Attend)
            if op.slots > 0
        )
        self._delays = tuple(f"delay.{op.name}" for op in program.all(Delay))
        self._replaced = tuple(
            tensor.name for tensor in state_tensors(program) if tensor.kind in ("shift", "membrane", "count")
        )

    def push(self, new: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take in what a step gave. Call after each step.

        Args:
            new: This token's part by state tensor name: shift ``[batch, T, channels]``, key and value
                ``[batch, T, heads, dh]``, membrane, delay and count ``[batch, channels]``.
        """
        for keys, values, key_name, value_name, rings in self._rings:
            key, value = new[key_name], new[value_name]
            for head, first, size in rings:
                slot = first + self.count % size
                keys[:, :, :, slot] = key[:, :, head]
                values[:, :, slot] = value[:, :, head]
        for name in self._delays:
            ring = self.tensors[name]
            ring[:, self.count % ring.shape[1]] = new[name]
        for name in self._replaced:
            self.tensors[name][...] = new[name]
        self.count += 1

    def load(self, tensors: Mapping[str, npt.NDArray[Any]], count: int = 0) -> None:
        """Replace the whole state by what a prefill gave, or by another state at its ``count``."""
        for name, array in self.tensors.items():
            array[...] = tensors[name]
        self.count = count

    def flat(self, program: Program, sequence: int) -> SpikeArray:
        """One sequence as the C engine keeps it: bytes of all tensors in order of the ops, little-endian."""
        parts = [
            self.tensors[tensor.name][sequence].ravel().astype(_stored(tensor)).view(np.int8)
            for tensor in state_tensors(program)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int8)

    def take(self, program: Program, sequence: int, flat: npt.NDArray[Any]) -> None:
        """Put in what `flat` gives; ``count`` stays as it is."""
        at = 0
        for tensor in state_tensors(program):
            stored = _stored(tensor)
            size = int(np.prod(tensor.shape)) * stored.itemsize
            part = np.ascontiguousarray(flat[at : at + size], np.int8).view(stored)
            self.tensors[tensor.name][sequence] = part.reshape(tensor.shape)
            at += size

    def oldest_first(self, program: Program) -> State:
        """The same state of a program that reads frames, its delays turned as a prefill gives them, n = 0.

        Args:
            program: Its program.
        """
        turned = self.copied(program)
        for name in turned._delays:
            ring = turned.tensors[name]
            ring[...] = np.roll(ring, -(self.count % ring.shape[1]), axis=1)
        turned.count = 0
        return turned

    def copied(self, program: Program, dtype: npt.DTypeLike | None = None) -> State:
        """The same state in memory of its own.

        Args:
            program: Its program.
            dtype: Element type of the copy, None for the tensors' own.
        """
        copy = State(program, self.batch, dtype)
        copy.load(self.tensors, self.count)
        return copy


def _stored(tensor: StateTensor) -> np.dtype[np.integer]:
    """Type of a tensor's elements in a saved state."""
    return np.dtype(tensor.dtype).newbyteorder("<")


def ring_from_history(history: npt.NDArray[Any], ring: int) -> npt.NDArray[Any]:
    """The last ``ring`` tokens of a history, oldest first, zeros in front when it is shorter.

    Args:
        history: ``[batch, length, ...]``.
        ring: Number of slots.

    Returns:
        ``[batch, ring, ...]``.
    """
    length = history.shape[1]
    recent = history[:, max(0, length - ring) :]
    front = ring - recent.shape[1]
    if front == 0:
        return recent
    return np.pad(recent, [(0, 0), (front, 0)] + [(0, 0)] * (history.ndim - 2))
