"""A program: ops in order, and what can be said of them without running them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesnn.errors import TextError
from edgesnn.program.ops import (
    LIF,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Op,
    Readout,
    Saturate,
    Shift,
    inputs_of,
)

_OpT = TypeVar("_OpT", Embed, Linear, LIF, Shift, Attend, Add, Saturate, Count, Readout)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """One integer program.

    Attributes:
        timesteps: T, inner timesteps per token, 1..127.
        ops: In order of execution; the first is `Embed`, the last `Readout`.
    """

    timesteps: int
    ops: tuple[Op, ...]

    def all(self, kind: type[_OpT]) -> Iterator[_OpT]:
        """Every op of one kind, in order."""
        return (op for op in self.ops if isinstance(op, kind))

    @property
    def embed(self) -> Embed:
        """The embedding."""
        return next(self.all(Embed))

    @property
    def readout(self) -> Readout:
        """The readout."""
        return next(self.all(Readout))

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return int(self.embed.table.shape[0])

    @property
    def logit_scale(self) -> float:
        """Float logits are integer logits times this power of two."""
        return float(2.0**-self.readout.exponent)

    @property
    def context_window(self) -> int:
        """The longest attention window in tokens; 1 without attention."""
        return max((max(op.windows) for op in self.all(Attend)), default=1)

    def check_ids(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Token ids that this program can run.

        Args:
            ids: Whole sequences ``[batch, length]`` of any integer dtype.

        Returns:
            The same, int64 and contiguous.

        Raises:
            TextError: They are no such array, or one of them is outside the vocabulary.
        """
        return check_ids(ids, self.vocab_size)

    def channels(self) -> dict[str, int]:
        """Channels of every value, by name."""
        width: dict[str, int] = {}
        for op in self.ops:
            if isinstance(op, Embed):
                width[op.out] = int(op.projection.shape[1])
            elif isinstance(op, Linear):
                width[op.out] = int(op.weight.shape[1])
            elif isinstance(op, Attend):
                width[op.out] = op.channels
            elif isinstance(op, Readout):
                width[op.out] = int(op.table.shape[0])
            else:
                width[op.out] = width[inputs_of(op)[0]]
        return width

    def consumers(self, value: str) -> tuple[Op, ...]:
        """The ops that read a value."""
        return tuple(op for op in self.ops if value in inputs_of(op))


def check_ids(ids: npt.NDArray[np.integer], vocab_size: int) -> npt.NDArray[np.int64]:
    """Token ids that a model can run.

    Args:
        ids: Whole sequences ``[batch, length]`` of any integer dtype.
        vocab_size: Ids lie below it.

    Returns:
        The same, int64 and contiguous.

    Raises:
        TextError: They are no such array, or one of them is outside the vocabulary.
    """
    given = np.asarray(ids)
    if given.ndim != 2 or given.size == 0 or not np.issubdtype(given.dtype, np.integer):
        raise TextError(
            "token ids must be a non-empty integer array [batch, length]",
            actual=f"{given.dtype} {list(given.shape)}",
        )
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= vocab_size:
        raise TextError(
            "token id outside the vocabulary",
            actual=low if low < 0 else high,
            limit=f"0..{vocab_size - 1}",
            remedy="encode the text with the tokenizer.json of this student",
        )
    return np.ascontiguousarray(given, np.int64)
