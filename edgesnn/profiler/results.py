"""Plain results that one part of a profile hands to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands where a result would stand, and says why there is none.

    Attributes:
        reason: Why, as a clause without a full stop.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """Quality of the student on held-out text, measured once, on golden.

    Attributes:
        bits_per_byte: Cross entropy in bits, per UTF-8 byte of the scored text.
        bits_per_byte_interval: 95 % interval by document bootstrap, or None with fewer than two documents.
        top1: Share of scored positions whose best token was right, 0..1.
        top1_interval: 95 % interval by document bootstrap, or None.
        tokens: Scored positions.
        documents: Documents.
        retention: Top-1 of the student over top-1 of the teacher on identical text, or None.
        retention_interval: 95 % interval by document bootstrap, or None.
        retention_reason: Why `retention` is None; None when it is there.
        text: Which text was scored.
        teacher_bits_per_byte: Cross entropy of the teacher over its native tokens, per UTF-8 byte of the same
            text, or None.
        teacher_bits_per_byte_interval: 95 % interval by document bootstrap, or None.
        teacher_reason: Why `teacher_bits_per_byte` is None; None when it is there.
        perplexity: Exponential of all nats of the text over the native tokens that the teacher's tokenizer
            writes it in, or None where nobody counted these.
        perplexity_interval: 95 % interval by document bootstrap, or None.
        own_perplexity: Exponential of the nats per token of the student's own vocabulary.
        own_perplexity_interval: 95 % interval by document bootstrap, or None.
        teacher_perplexity: Of the teacher per native token, or None.
        teacher_perplexity_interval: 95 % interval by document bootstrap, or None.
        native_tokens: Native tokens of the teacher's tokenizer, or None.
        teacher_top1: Share of the places where retention looks that the teacher had right, or None.
        teacher_doubt: Why the teacher is no better than token frequencies, or None.
        by_document: What the figures are sums of, ``[documents]`` each: ``bytes``, ``positions``, ``hits``,
            ``bits``; and ``counted_hits``, ``teacher_hits`` where retention is there.
    """

    bits_per_byte: float
    bits_per_byte_interval: tuple[float, float] | None
    top1: float
    top1_interval: tuple[float, float] | None
    tokens: int
    documents: int
    retention: float | None
    retention_interval: tuple[float, float] | None
    retention_reason: str | None
    text: str
    teacher_bits_per_byte: float | None = None
    teacher_bits_per_byte_interval: tuple[float, float] | None = None
    teacher_reason: str | None = None
    perplexity: float | None = None
    perplexity_interval: tuple[float, float] | None = None
    own_perplexity: float | None = None
    own_perplexity_interval: tuple[float, float] | None = None
    teacher_perplexity: float | None = None
    teacher_perplexity_interval: tuple[float, float] | None = None
    native_tokens: int | None = None
    teacher_top1: float | None = None
    teacher_doubt: str | None = None
    by_document: Mapping[str, npt.NDArray[np.generic]] = field(
        default_factory=dict, compare=False, repr=False
    )
