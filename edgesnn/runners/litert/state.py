"""The state of a step, kept where the runtime reads it: no copy of a ring per token.

The rules are those of `edgesnn.program.state`; only the memory is the runtime's. Of a network that reads
frames a step gives whole tensors, delays oldest first, so n stays 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.program.ops import Attend, Shift
from edgesnn.program.program import Program
from edgesnn.program.state import State, state_tensors


class PlacedState:
    """State tensors in given memory.

    Args:
        program: The program.
        tensors: Arrays by name of the state tensor, batch first.
        new: What a step writes for each of them, by the same names; read by `push`.

    Attributes:
        count: n, tokens stepped since `clear` or `load`.
    """

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, npt.NDArray[Any]],
        new: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.count = 0
        self._tensors = dict(tensors)
        self._frames = program.frames is not None
        self._rings = [
            (
                self._tensors[f"k.{op.name}"][:, :, :, first : first + size],
                self._tensors[f"v.{op.name}"][:, :, first : first + size],
                new[f"k.{op.name}"][:, :, head],
                new[f"v.{op.name}"][:, :, head],
                size,
            )
            for op in program.all(Attend)
            if op.slots > 0
            for head, (first, size) in enumerate(op.rings)
            if size > 0
        ]
        self._shifts = [
            (self._tensors[f"shift.{op.name}"], new[f"shift.{op.name}"])
            for op in program.all(Shift)
            if len(op.channels) > 0
        ]
        if self._frames:
            self._shifts = [(array, new[name]) for name, array in self._tensors.items()]

    def push(self) -> None:
        """Take in what the step has just written."""
        count = self.count
        for keys, values, key, value, size in self._rings:
            slot = count % size
            keys[:, :, :, slot] = key
            values[:, :, slot] = value
        for shifted, latest in self._shifts:
            shifted[...] = latest
        self.count = count + (not self._frames)

    def clear(self) -> None:
        """Forget everything."""
        for array in self._tensors.values():
            array[...] = 0
        self.count = 0

    def load(self, tensors: Mapping[str, npt.NDArray[Any]], count: int = 0) -> None:
        """Replace the whole state by what a prefill gave, or by another state at its ``count``."""
        for name, array in self._tensors.items():
            array[...] = tensors[name]
        self.count = count

    def copied(self, program: Program, batch: int) -> State:
        """The same state in memory of its own.

        Args:
            program: Its program.
            batch: Number of sequences.
        """
        copy = State(program, batch)
        for name, array in self._tensors.items():
            copy.tensors[name][...] = array
        copy.count = self.count
        return copy


def step_names(program: Program) -> list[str]:
    """Names of the state tensors that a step has; one without elements is no tensor."""
    return [tensor.name for tensor in state_tensors(program) if np.prod(tensor.shape) > 0]
