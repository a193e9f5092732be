"""Quality of a student on held-out text: measured once, on golden; devices then only prove the bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgesnn.bootstrap import draws_beyond
from edgesnn.bundle.bundle import EvalSlice
from edgesnn.profiler.results import AccuracyResult
from edgesnn.program.golden import Golden
from edgesnn.program.program import Program
from edgesnn.program.scoring import LogitFunction, score_documents
from edgesnn.text.chance import doubt_of_teacher

_RESAMPLES = 2000
_LEVEL = 0.95
#: Largest exponent of a perplexity; exp(709) is the largest that float64 holds.
_MOST_NATS = 700.0

NO_TEACHER = "the student was trained on text, without a teacher to compare with"
NO_TEACHER_PROBABILITIES = "the bundle holds the teacher's answers without their probabilities"
TEACHER_NEVER_RIGHT = "the teacher's best token was never right on this text"


def measure_accuracy(
    program: Program,
    held_out: EvalSlice,
    text: str,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> AccuracyResult:
    """Bits per byte and top-1 of the integer program, run by golden; see `measure_logits`."""
    golden, scale = Golden(program), np.float32(program.logit_scale)
    return measure_logits(
        lambda ids: golden.sequence(ids) * scale,
        program.vocab_size,
        held_out,
        text,
        on_progress=on_progress,
        seed=seed,
    )


def measure_logits(
    logits_of: LogitFunction,
    vocab_size: int,
    held_out: EvalSlice,
    text: str,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> AccuracyResult:
    """Bits per byte and top-1 of whatever gives logits, with intervals by document.

    Args:
        logits_of: Gives the logits; those of a place must not depend on what is behind it.
        vocab_size: Token ids.
        held_out: Held-out documents.
        text: What the text is.
        on_progress: Called with documents done and documents in all.
        seed: Seed of the bootstrap.

    Returns:
        The result. Retention, the student's hits over the teacher's where a native token of the teacher
        starts, is None with its reason when the slice brings no teacher or its teacher was never right.
    """
    counted, right = _teacher_flags(held_out)
    documents = held_out.documents()
    scores = score_documents(
        logits_of,
        documents,
        held_out.doc_bytes,
        counted=counted,
        on_progress=None if on_progress is None else lambda done: on_progress(done, len(documents)),
    )
    retention = retention_interval = None
    teacher = np.array([answers.sum() for answers in right or []], np.int64)
    if teacher.sum() > 0:
        retention = float(scores.counted_hits.sum() / teacher.sum())
        retention_interval = bootstrap_ratio(scores.counted_hits, teacher, seed)
    why = NO_TEACHER if right is None else TEACHER_NEVER_RIGHT
    native = _native_tokens(held_out)
    bits = _teacher_bits(held_out)
    sizes = held_out.doc_bytes
    own, per_native = (perplexity(scores.nats, count, seed) for count in (scores.positions, native))
    teachers = perplexity(None if bits is None else bits * np.log(2), native, seed)
    by_document: dict[str, npt.NDArray[np.generic]] = {
        "bytes": scores.doc_bytes,
        "positions": scores.positions,
        "hits": scores.hits,
        "bits": scores.nats / np.log(2),
    }
    if retention is not None:
        by_document |= {"counted_hits": scores.counted_hits, "teacher_hits": teacher}
    return AccuracyResult(
        bits_per_byte=scores.bits_per_byte,
        bits_per_byte_interval=bootstrap_ratio(scores.nats / np.log(2), scores.doc_bytes, seed),
        top1=scores.top1,
        top1_interval=bootstrap_ratio(scores.hits, scores.positions, seed),
        tokens=int(scores.positions.sum()),
        documents=len(documents),
        retention=retention,
        retention_interval=retention_interval,
        retention_reason=None if retention is not None else why,
        text=text,
        teacher_bits_per_byte=None if bits is None else float(bits.sum() / sizes.sum()),
        teacher_bits_per_byte_interval=None if bits is None else bootstrap_ratio(bits, sizes, seed),
        teacher_reason=None
        if bits is not None
        else NO_TEACHER
        if right is None
        else NO_TEACHER_PROBABILITIES,
        perplexity=per_native.value,
        perplexity_interval=per_native.interval,
        own_perplexity=own.value,
        own_perplexity_interval=own.interval,
        teacher_perplexity=teachers.value,
        teacher_perplexity_interval=teachers.interval,
        native_tokens=None if native is None else int(native.sum()),
        teacher_top1=None if right is None or native is None else float(teacher.sum() / native.sum()),
        teacher_doubt=doubt_of_teacher(held_out, vocab_size),
        by_document=by_document,
    )


class Perplexity(NamedTuple):
    """Exponential of nats per token.

    Attributes:
        value: It, or None where there are no nats or no tokens.
        interval: 95 % interval by document bootstrap, or None.
    """

    value: float | None
    interval: tuple[float, float] | None


def perplexity(
    nats: npt.NDArray[np.float64] | None, tokens: npt.NDArray[np.integer] | None, seed: int = 0
) -> Perplexity:
    """Perplexity of documents, as ``exp(sum of nats / sum of tokens)``.

    Args:
        nats: Of each document, ``[documents]``.
        tokens: Tokens that each document is written in, ``[documents]``; of any vocabulary.
        seed: Seed of the bootstrap.
    """
    if nats is None or tokens is None or not tokens.sum() > 0:
        return Perplexity(None, None)
    interval = bootstrap_ratio(nats, tokens, seed)
    ends = None if interval is None else (_exp(interval[0]), _exp(interval[1]))
    return Perplexity(_exp(float(nats.sum() / tokens.sum())), ends)


def _exp(nats: float) -> float:
    """The exponential, kept finite."""
    return math.exp(min(nats, _MOST_NATS))


def _documents_of(held_out: EvalSlice, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.searchsorted(held_out.doc_starts, places, side="right") - 1


def _native_tokens(held_out: EvalSlice) -> npt.NDArray[np.int64] | None:
    """Native tokens of the teacher in each document; None where nobody says where they start."""
    if held_out.positions is None or len(held_out.positions) == 0:
        return None
    return np.bincount(_documents_of(held_out, held_out.positions), minlength=len(held_out.doc_bytes))


def _teacher_bits(held_out: EvalSlice) -> npt.NDArray[np.float64] | None:
    """Bits that the teacher needs for each document over its native tokens; None where nobody kept them."""
    if held_out.positions is None or held_out.teacher_native_logp is None:
        return None
    document = _documents_of(held_out, held_out.positions)
    nats = -held_out.teacher_native_logp.astype(np.float64)
    bits = np.zeros(len(held_out.doc_bytes))
    np.add.at(bits, document, nats / np.log(2))
    return bits


_Flags = list[npt.NDArray[np.bool_]]


def _teacher_flags(held_out: EvalSlice) -> tuple[_Flags, _Flags] | tuple[None, None]:
    """Where retention looks, and where the teacher was right: every scored position, document by document."""
    if held_out.positions is None or held_out.teacher_top1 is None:
        return None, None
    counted = np.zeros(len(held_out.ids), np.bool_)
    right = counted.copy()
    counted[held_out.positions] = True
    right[held_out.positions] = held_out.ids[held_out.positions] == held_out.teacher_top1
    bounds = list(zip(held_out.doc_starts[:-1].tolist(), held_out.doc_starts[1:].tolist(), strict=True))
    return [counted[a + 1 : b] for a, b in bounds], [right[a + 1 : b] for a, b in bounds]


def bootstrap_ratio(
    numerator: npt.NDArray[np.number], denominator: npt.NDArray[np.number], seed: int = 0
) -> tuple[float, float] | None:
    """95 % expanded percentile interval of a ratio of sums, documents drawn with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13, and
    `edgesnn.bootstrap`. Documents are drawn, not
    tokens, because tokens of one document are correlated.

    Args:
        numerator: Per document ``[documents]``.
        denominator: Per document ``[documents]``.
        seed: Seed of the draws.

    Returns:
        The interval, or None with fewer than two documents, or where a draw may have no denominator.
    """
    count = len(numerator)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, (_RESAMPLES, count))
    below = denominator[drawn].sum(axis=1)
    if not (below > 0).all():
        return None
    ratios = numerator[drawn].sum(axis=1) / below
    beyond = draws_beyond((1 - _LEVEL) / 2, count)
    low, high = np.quantile(ratios, [beyond, 1 - beyond])
    return float(low), float(high)
