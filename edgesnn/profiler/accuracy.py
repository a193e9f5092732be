"""Quality of a student on held-out text: measured once, on golden; devices then only prove the bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import EvalSlice
from edgesnn.profiler.results import AccuracyResult
from edgesnn.program.golden import Golden
from edgesnn.program.program import Program
from edgesnn.program.scoring import score_documents

_RESAMPLES = 2000
_LEVEL = 0.95

NO_TEACHER = "the student was trained on text, without a teacher to compare with"
TEACHER_NEVER_RIGHT = "the teacher's best token was never right on this text"


def measure_accuracy(
    program: Program,
    held_out: EvalSlice,
    text: str,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> AccuracyResult:
    """Bits per byte and top-1 of the integer program, with intervals by document.

    Args:
        program: The program.
        held_out: Held-out documents.
        text: What the text is.
        on_progress: Called with documents done and documents in all.
        seed: Seed of the bootstrap.

    Returns:
        The result. Retention is None with its reason when the slice brings no teacher.
    """
    golden = Golden(program)
    documents = held_out.documents()
    scale = np.float32(program.logit_scale)
    scores = score_documents(
        lambda ids: golden.sequence(ids) * scale,
        documents,
        held_out.doc_bytes,
        on_progress=None if on_progress is None else lambda done: on_progress(done, len(documents)),
    )
    retention = retention_interval = None
    if held_out.teacher_top1 is not None:
        starts = np.concatenate([[0], np.cumsum(scores.positions)])
        right = np.asarray(held_out.teacher_top1, np.int64)
        teacher = np.array([right[a:b].sum() for a, b in zip(starts[:-1], starts[1:], strict=True)])
        if teacher.sum() > 0:
            retention = float(scores.hits.sum() / teacher.sum())
            retention_interval = bootstrap_ratio(scores.hits, teacher, seed)
    return AccuracyResult(
        bits_per_byte=scores.bits_per_byte,
        bits_per_byte_interval=bootstrap_ratio(scores.nats / np.log(2), scores.doc_bytes, seed),
        top1=scores.top1,
        top1_interval=bootstrap_ratio(scores.hits, scores.positions, seed),
        tokens=int(scores.positions.sum()),
        documents=len(documents),
        retention=retention,
        retention_interval=retention_interval,
        retention_reason=_why_no_retention(retention, held_out),
        text=text,
    )


def _why_no_retention(retention: float | None, held_out: EvalSlice) -> str | None:
    if retention is not None:
        return None
    return NO_TEACHER if held_out.teacher_top1 is None else TEACHER_NEVER_RIGHT


def bootstrap_ratio(
    numerator: npt.NDArray[np.number], denominator: npt.NDArray[np.number], seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of a ratio of sums, documents drawn with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Documents are drawn, not
    tokens, because tokens of one document are correlated.

    Args:
        numerator: Per document ``[documents]``.
        denominator: Per document ``[documents]``.
        seed: Seed of the draws.

    Returns:
        The interval, or None with fewer than two documents.
    """
    count = len(numerator)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, (_RESAMPLES, count))
    ratios = numerator[drawn].sum(axis=1) / denominator[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
