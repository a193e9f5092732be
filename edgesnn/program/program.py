"""A program: ops in order, and what can be said of them without running them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesnn.errors import FramesError, TextError, UsageError
from edgesnn.program.ops import (
    Attend,
    Embed,
    Linear,
    Op,
    Readout,
    TokenOp,
    inputs_of,
)
from edgesnn.program.ops_frames import Conv, FrameOutput, Frames, SumPool

_OpT = TypeVar("_OpT", bound=Op)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """One integer program.

    Attributes:
        timesteps: T, inner timesteps per token, 1..127; 1 in a program that reads frames.
        ops: In order of execution; the first is `Embed` and the last `Readout`, or they are `Frames` and
            `FrameOutput`.
    """

    timesteps: int
    ops: tuple[Op, ...]

    def all(self, kind: type[_OpT]) -> Iterator[_OpT]:
        """Every op of one kind, in order."""
        return (op for op in self.ops if isinstance(op, kind))

    @property
    def frames(self) -> Frames | None:
        """What the program reads, or None where it reads token ids."""
        return next(self.all(Frames), None)

    def require_text(self, who: str) -> None:
        """Refuse a program that reads frames.

        Args:
            who: Who can only run programs that read text, for the error.

        Raises:
            UsageError: The program reads frames.
        """
        if self.frames is not None:
            raise UsageError(
                f"{who} cannot run a network that reads frames, only one that reads text",
                remedy="see which targets do: edgesnn verify BUNDLE",
            )

    def text_ops(self, who: str) -> tuple[TokenOp, ...]:
        """The ops of a program that reads text; arguments and errors are those of `require_text`."""
        self.require_text(who)
        return tuple(op for op in self.ops if isinstance(op, TokenOp))

    @property
    def embed(self) -> Embed:
        """The embedding.

        Raises:
            UsageError: The program reads frames.
        """
        self.require_text("this command")
        return next(self.all(Embed))

    @property
    def readout(self) -> Readout:
        """The readout.

        Raises:
            UsageError: The program reads frames.
        """
        self.require_text("this command")
        return next(self.all(Readout))

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return int(self.embed.table.shape[0])

    @property
    def outputs(self) -> int:
        """Width of what comes out: token ids, or the channels of a `FrameOutput`."""
        return self.channels()[self.ops[-1].out]

    @property
    def output_scale(self) -> float:
        """Float outputs are integer outputs times this."""
        last = self.ops[-1]
        return last.scale if isinstance(last, FrameOutput) else self.logit_scale

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

    def check_input(self, given: npt.NDArray[np.integer]) -> npt.NDArray[np.int64] | npt.NDArray[np.int8]:
        """What this program can run: token ids, or frames.

        Args:
            given: Whole sequences: token ids ``[batch, length]``, or frames ``[batch, length, channels]``,
                which may have the dimensions of their shape instead of the last one.

        Returns:
            Ids int64 ``[batch, length]``, or frames int8 ``[batch, length, channels]``, contiguous.

        Raises:
            TextError: They are no such ids, or one of them is outside the vocabulary.
            FramesError: They are no such frames, or a sample is out of range.
        """
        frames = self.frames
        return self.check_ids(given) if frames is None else check_frames(given, frames)

    def channels(self) -> dict[str, int]:
        """Channels of every value, by name."""
        width: dict[str, int] = {}
        for op in self.ops:
            if isinstance(op, Embed):
                width[op.out] = int(op.projection.shape[1])
            elif isinstance(op, Linear):
                width[op.out] = int(op.weight.shape[1])
            elif isinstance(op, (Attend, Frames, Conv, SumPool)):
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


def check_frames(given: npt.NDArray[np.integer], op: Frames) -> npt.NDArray[np.int8]:
    """Frames that a program can run.

    Args:
        given: Whole sequences ``[batch, length, channels]`` or ``[batch, length, *shape]`` of any integer
            dtype.
        op: What the program reads.

    Returns:
        The same, int8 ``[batch, length, channels]`` and contiguous.

    Raises:
        FramesError: They are no such array, or a sample is out of range.
    """
    array = np.asarray(given)
    flat = array.ndim == 3 and array.shape[2] == op.channels  # noqa: PLR2004
    if not (flat or array.shape[2:] == op.shape) or array.size == 0 or array.dtype.kind not in "iub":
        wanted = ", ".join(str(extent) for extent in op.shape)
        raise FramesError(
            "frames must be a non-empty integer array [batch, frames, *shape]",
            actual=f"{array.dtype} {list(array.shape)}",
            limit=f"[batch, frames, {wanted}] or [batch, frames, {op.channels}]",
            remedy="divide real samples by the scale of the input and round them",
        )
    low, high = int(array.min()), int(array.max())
    if low < op.low or high > op.high:
        raise FramesError(
            "a sample is out of range",
            actual=low if low < op.low else high,
            limit=f"{op.low}..{op.high}",
            remedy="clip the samples",
        )
    return np.ascontiguousarray(array.reshape(*array.shape[:2], op.channels), np.int8)
