"""What a program remembers between tokens, and the host's part in keeping it.

Two kinds of state, both 0/1 and int8, zero at reset:

* ``shift.{name}``, ``[batch, T, channels]``: the previous token's spikes of the shifted channels.
* ``k.{name}`` ``[batch, T, heads, dh, ring]`` and ``v.{name}`` ``[batch, T, heads, ring, dh]``: the keys and
  values of the last ``ring = max(W_h) - 1`` tokens. Attention is a sum, so the order of slots is free: the
  host writes token number n (counted since reset or prefill) into slot ``n mod ring``, and before token n it
  zeroes, for every head with a shorter window, the key in slot ``(n - W_h) mod ring``, which has just left
  that window.

A step reads the state and gives only this token's part: spikes ``[batch, T, channels]``, ``k`` and ``v``
``[batch, T, heads, dh]``. A prefill gives whole state tensors, oldest token in slot 0, with n = 0 again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import Attend, Shift
from edgesnn.program.program import Program

SpikeArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One state tensor.

    Attributes:
        name: ``shift.{op}``, ``k.{op}`` or ``v.{op}``.
        shape: Shape without the batch dimension, which stands first.
        kind: ``shift``, ``key`` or ``value``.
        op: Name of the op that owns it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    op: str


def state_tensors(program: Program) -> tuple[StateTensor, ...]:
    """The state tensors of a program in order of its ops. Attention without a past has none."""
    tensors: list[StateTensor] = []
    for op in program.ops:
        if isinstance(op, Shift):
            shape = (program.timesteps, len(op.channels))
            tensors.append(StateTensor(f"shift.{op.name}", shape, "shift", op.name))
        elif isinstance(op, Attend) and op.ring > 0:
            heads = len(op.windows)
            keys = (program.timesteps, heads, op.head_dim, op.ring)
            values = (program.timesteps, heads, op.ring, op.head_dim)
            tensors.append(StateTensor(f"k.{op.name}", keys, "key", op.name))
            tensors.append(StateTensor(f"v.{op.name}", values, "value", op.name))
    return tuple(tensors)


class State:
    """The state of a running program, kept by the host.

    Args:
        program: The program.
        batch: Number of sequences that run side by side.

    Attributes:
        tensors: The arrays by name, int8, batch first.
        count: n, tokens stepped since reset or prefill.
    """

    def __init__(self, program: Program, batch: int = 1) -> None:
        self.batch = batch
        self.count = 0
        self.tensors: dict[str, SpikeArray] = {
            tensor.name: np.zeros((batch, *tensor.shape), np.int8) for tensor in state_tensors(program)
        }
        self._rings = tuple(
            (
                self.tensors[f"k.{op.name}"],
                self.tensors[f"v.{op.name}"],
                f"k.{op.name}",
                f"v.{op.name}",
                op.ring,
                tuple((head, w) for head, w in enumerate(op.windows) if w < op.ring + 1),
            )
            for op in program.all(Attend)
            if op.ring > 0
        )
        self._shifts = tuple(f"shift.{op.name}" for op in program.all(Shift))

    def expire(self) -> None:
        """Zero the keys that left a shorter window. Call before each step."""
        for keys, _, _, _, ring, shorter in self._rings:
            for head, window in shorter:
                keys[:, :, head, :, (self.count - window) % ring] = 0

    def push(self, new: dict[str, SpikeArray]) -> None:
        """Take in what a step gave. Call after each step.

        Args:
            new: This token's spikes by state tensor name: shift ``[batch, T, channels]``, key and value
                ``[batch, T, heads, dh]``.
        """
        for keys, values, key_name, value_name, ring, _ in self._rings:
            slot = self.count % ring
            keys[:, :, :, :, slot] = new[key_name]
            values[:, :, :, slot, :] = new[value_name]
        for name in self._shifts:
            self.tensors[name][...] = new[name]
        self.count += 1

    def load(self, tensors: dict[str, SpikeArray]) -> None:
        """Replace the whole state by what a prefill gave."""
        for name, array in self.tensors.items():
            array[...] = tensors[name]
        self.count = 0


def ring_from_history(history: SpikeArray, ring: int) -> SpikeArray:
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
