"""What knowing nothing but token frequencies scores on a text, and whether a teacher is better than that.

A student cannot be measured by a teacher that has learnt nothing: its top-1 divides the student's, and a
ratio to almost nothing is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

TIMES_COMMONEST = 1.2
"""A teacher's top-1 is to be more than this many times that of always naming the commonest token. One that
has learnt frequencies only comes out at 1, and some hundred positions scatter that by a fifth: 6 % of 400
positions have a standard error of 1.2 points. Teachers worth distilling are at five times and more."""

BITS_OF_A_BYTE = 8.0
"""Bits per byte of a guess that takes every byte for equally likely."""


class AnsweredText(Protocol):
    """Held-out documents with a teacher's answers, as a bundle and a training run hold them."""

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """Token ids ``[n]``, documents one after another."""

    @property
    def doc_starts(self) -> npt.NDArray[np.int64]:
        """``[documents + 1]``."""

    @property
    def doc_bytes(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes of the scored ids, ``[documents]``."""

    @property
    def positions(self) -> npt.NDArray[np.int64] | None:
        """Places where a native token of the teacher starts, ``[p]``."""

    @property
    def teacher_top1(self) -> npt.NDArray[np.int32] | None:
        """The teacher's best token there, ``[p]``."""

    @property
    def teacher_native_logp(self) -> npt.NDArray[np.float32] | None:
        """Log-probability of the native token there, ``[p]``."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What frequencies alone score.

    Attributes:
        top1: Share of places that hold the commonest token, 0..1.
        bits_per_byte: Of the unigram distribution, at most 8; None where the text has no bytes.
    """

    top1: float
    bits_per_byte: float | None


def chance_on(
    scored: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    *,
    text_bytes: int,
    vocab_size: int,
) -> Chance:
    """Score token frequencies on a text that they were counted on.

    Args:
        scored: Ids of every scored place, ``[n]``; each counts once more than it occurs, so that a short text
            does not know its own words.
        predicted: Ids of the places at which top-1 is taken, ``[p]``, at least one.
        text_bytes: UTF-8 bytes of the scored ids.
        vocab_size: Ids that could stand there.
    """
    counts = np.bincount(scored, minlength=vocab_size)
    nats = -float((counts * np.log((counts + 1) / (counts + 1).sum())).sum())
    bits = min(nats / float(np.log(2)) / text_bytes, BITS_OF_A_BYTE) if text_bytes else None
    return Chance(float(np.bincount(predicted).max() / len(predicted)), bits)


def near_chance(top1: float, bits_per_byte: float | None, chance: Chance, who: str = "teacher") -> str | None:
    """Why a model is no better than frequencies, as a clause; None where it is better.

    Args:
        top1: Its share of right tokens, 0..1.
        bits_per_byte: Its cross entropy on the same text, None where it is not known.
        chance: What frequencies score there.
        who: What it is called.
    """
    if top1 <= TIMES_COMMONEST * chance.top1:
        return (
            f"the {who} is near chance: its top-1 is {top1:.2%}, "
            f"and always naming the commonest token has {chance.top1:.2%}"
        )
    if (
        bits_per_byte is not None
        and chance.bits_per_byte is not None
        and bits_per_byte >= chance.bits_per_byte
    ):
        return (
            f"the {who} is near chance: it needs {bits_per_byte:.2f} bits per byte, "
            f"and token frequencies alone {chance.bits_per_byte:.2f}"
        )
    return None


def doubt_of_teacher(held_out: AnsweredText, vocab_size: int) -> str | None:
    """Why the teacher of a text is no better than token frequencies; None where it is, or there is none.

    Args:
        held_out: The text with the teacher's answers.
        vocab_size: Of the student.
    """
    places, said, logp = held_out.positions, held_out.teacher_top1, held_out.teacher_native_logp
    if places is None or said is None or len(places) == 0:
        return None
    predicted, size = held_out.ids[places], int(held_out.doc_bytes.sum())
    scored = np.delete(held_out.ids, held_out.doc_starts[:-1])
    chance = chance_on(scored, predicted, text_bytes=size, vocab_size=vocab_size)
    bits = None if logp is None or not size else -float(logp.sum(dtype=np.float64) / np.log(2)) / size
    return near_chance(float((predicted == said).mean()), bits, chance)
