"""Drawing the next tokens of a batch from a teacher's logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesnn.errors import UsageError

_NEAR = 15.0
"""Logits so far below the best, after temperature, are looked at only where the nucleus reaches them."""

_ROWS = 8
"""Rows looked at together, few enough to stay near the processor."""


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """How the next token is chosen.

    Attributes:
        temperature: Divides the logits; 0 takes the best token.
        top_p: Only the fewest best tokens whose probability reaches this can be drawn; 1 for all.
        repetition_penalty: Divides the positive logits of tokens that stand in the context and multiplies
            the negative ones (Keskar et al., arXiv 1909.05858); 1 for none.

    Raises:
        UsageError: A value is out of range.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.05

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A value is out of range.
        """
        if not 0 <= self.temperature < float("inf"):
            raise UsageError("temperature out of range", actual=self.temperature, limit=">= 0")
        if not 0 < self.top_p <= 1:
            raise UsageError("top-p out of range", actual=self.top_p, limit="in (0, 1]")
        if not 0 < self.repetition_penalty < float("inf"):
            raise UsageError("repetition penalty out of range", actual=self.repetition_penalty, limit="> 0")


def uniforms(seed: int, answer: int, count: int) -> NDArray[np.float64]:
    """The draws of one answer, in [0, 1): they depend on nothing but seed and answer (Philox).

    Args:
        seed: Seed of the run.
        answer: Number of the answer.
        count: How many.
    """
    return np.random.Generator(np.random.Philox(key=[seed, answer])).random(count)


def draw(
    logits: Tensor, context: Tensor, banned: Tensor, u: NDArray[np.float64], settings: DrawSettings
) -> NDArray[np.int64]:
    """The next token of every row.

    Args:
        logits: float ``[b, rows]``; left as it is.
        context: int64 ``[b, n]``, all ids before it.
        banned: bool ``[rows]``, ids that cannot be drawn.
        u: float64 ``[b]``, in [0, 1).
        settings: How to choose.

    Returns:
        int64 ``[b]``; of equal logits the smaller id.
    """
    parts = [slice(first, first + _ROWS) for first in range(0, len(logits), _ROWS)]
    chosen = [_draw(logits[part], context[part], banned, u[part], settings) for part in parts]
    return np.concatenate(chosen)


def _draw(
    logits: Tensor, context: Tensor, banned: Tensor, u: NDArray[np.float64], settings: DrawSettings
) -> NDArray[np.int64]:
    """`draw` of some rows."""
    scores = logits.float().clone()
    if settings.repetition_penalty != 1:
        seen = scores.gather(1, context)
        penalty = settings.repetition_penalty
        scores.scatter_(1, context, torch.where(seen > 0, seen / penalty, seen * penalty))
    scores.masked_fill_(banned, -torch.inf)
    if settings.temperature == 0:
        return scores.argmax(1).cpu().numpy()
    weights = scores.sub_(scores.amax(1, keepdim=True)).div_(settings.temperature).exp_()
    total = weights.sum(1, dtype=torch.float64).cpu().numpy()
    values = weights.cpu().numpy()
    least = np.float32(np.exp(-_NEAR))
    chosen = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        if settings.top_p == 1:
            ids = np.flatnonzero(value)
            kept = np.cumsum(value[ids], dtype=np.float64)
        else:
            ids, kept = _nucleus(value, np.flatnonzero(value > least), settings.top_p * total[row])
            if kept[-1] < settings.top_p * total[row]:
                ids, kept = _nucleus(value, np.flatnonzero(value), settings.top_p * total[row])
        chosen[row] = ids[min(int(np.searchsorted(kept, u[row] * kept[-1], side="right")), len(ids) - 1)]
    return chosen


def _nucleus(
    value: NDArray[np.float32], ids: NDArray[np.int64], wanted: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best of some ids until their weights reach what is wanted, and the running sum of the weights."""
    ids = ids[np.argsort(-value[ids], kind="stable")]
    sums = np.cumsum(value[ids], dtype=np.float64)
    count = int(np.searchsorted(sums, wanted)) + 1
    return ids[:count], sums[:count]
