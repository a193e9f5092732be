"""From a teacher's distribution over native tokens to one over student tokens, and its best k.

Every native token gives its probability to the first piece of its trimmed spelling, so a student token's
probability is a sum, and nothing is renormalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesnn.student.teacher.trimming import NO_TOKEN

FLOOR = -65504.0
"""Log-probability of what has none: the lowest float16, whose exponential is 0."""

_ROWS = 32
"""Positions aggregated at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What the cache keeps of ``m`` distributions.

    Attributes:
        topk_ids: int32 ``[m, k]``, student ids by falling probability.
        topk_logp: float16 ``[m, k]``.
        tail_logp: float32 ``[m]``, log of the probability outside the k.
        tail_log_sum_tau: float32 ``[m]``, log of the sum over the tail's tokens of ``q ** (1 / tau)``.
        native_logp: float32 ``[m]``, log-probability of the native token that stands there.
        target_logp: float32 ``[m]``, log-probability of the student token that stands there.
    """

    topk_ids: NDArray[np.int32]
    topk_logp: NDArray[np.float16]
    tail_logp: NDArray[np.float32]
    tail_log_sum_tau: NDArray[np.float32]
    native_logp: NDArray[np.float32]
    target_logp: NDArray[np.float32]

    def slice(self, first: int, last: int) -> Targets:
        """Some of the positions."""
        return Targets(**{field.name: getattr(self, field.name)[first:last] for field in fields(self)})

    @classmethod
    def join(cls, parts: Sequence[Targets]) -> Targets:
        """Positions one after another."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )


class Aggregator:
    """Sums a teacher's probabilities by first piece.

    Args:
        first_piece: Student id of each native id, ``NO_TOKEN`` where there is none.
        rows: Rows of the teacher's readout; those beyond ``first_piece`` stand for no token.
        student_size: Student ids.
        k: How many are kept; all of them where the student has fewer.
        tau: Temperature of the distillation.
        turn_end: Native id that ends a turn.
        prompt_end: Student id that it stands for at the end of a prompt.
        device: Where the logits are.
    """

    def __init__(
        self,
        first_piece: NDArray[np.int32],
        rows: int,
        student_size: int,
        *,
        k: int,
        tau: float,
        turn_end: int,
        prompt_end: int,
        device: torch.device | str = "cpu",
    ) -> None:
        padded = np.full(rows, student_size, np.int64)
        known = first_piece != NO_TOKEN
        padded[: len(first_piece)][known] = first_piece[known]
        order = np.argsort(padded, kind="stable")
        # bag s holds the native ids of student token s; the last bag those of none
        offsets = np.searchsorted(padded[order], np.arange(student_size + 1))
        self._order = torch.from_numpy(order).to(device)
        self._offsets = torch.from_numpy(offsets).to(device)
        self._student_size = student_size
        self.k = min(k, student_size)
        self._tau = tau
        self._turn_end = turn_end
        self._turn_end_piece = int(padded[turn_end])
        self._prompt_end = prompt_end

    def distributions(self, logits: Tensor, at_prompt_end: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of probabilities.

        Args:
            logits: float ``[m, rows]``.
            at_prompt_end: bool ``[m]``, positions where the end of a turn stands for the end of a prompt.

        Returns:
            float32 ``[m, student_size + 1]``, the last column what stands for no token; and the log of the
            softmax's denominator, float32 ``[m]``.
        """
        highest = logits.amax(-1, keepdim=True).float()
        # one token per row, so that a bag adds whole rows
        native = torch.sub(logits, highest).exp_().T.contiguous()
        summed = torch.nn.functional.embedding_bag(self._order, native, self._offsets, mode="sum")
        moved = native[self._turn_end] * at_prompt_end
        summed[self._turn_end_piece] = (summed[self._turn_end_piece] - moved).clamp_min_(0)
        summed[self._prompt_end] += moved
        total = summed.sum(0)
        return (summed / total).T.contiguous(), total.log() + highest[:, 0]

    def __call__(
        self, logits: Tensor, native_targets: Tensor, student_targets: Tensor, at_prompt_end: Tensor
    ) -> Targets:
        """Aggregate and keep the best k.

        Args:
            logits: float ``[m, rows]``.
            native_targets: int64 ``[m]``, the native token that stands at each position.
            student_targets: int64 ``[m]``, the student's.
            at_prompt_end: bool ``[m]``.
        """
        parts = [
            self._part(*(tensor[first : first + _ROWS] for tensor in inputs))
            for inputs in [(logits, native_targets, student_targets, at_prompt_end)]
            for first in range(0, len(logits), _ROWS)
        ]
        return Targets.join(parts)

    def _part(
        self, logits: Tensor, native_targets: Tensor, student_targets: Tensor, at_prompt_end: Tensor
    ) -> Targets:
        """Some rows, few enough to stay near the processor."""
        bags, log_sum = self.distributions(logits, at_prompt_end)
        best, ids = bags[:, : self._student_size].topk(self.k, dim=-1)
        target = bags.gather(1, student_targets[:, None])[:, 0]
        rest = bags.scatter(1, ids, 0.0)
        native = logits.gather(1, native_targets[:, None])[:, 0].float() - log_sum
        return Targets(
            topk_ids=ids.to(torch.int32).cpu().numpy(),
            topk_logp=_log(best).half().cpu().numpy(),
            tail_logp=_log(rest.sum(-1)).cpu().numpy(),
            tail_log_sum_tau=_log(rest.pow(1 / self._tau).sum(-1)).cpu().numpy(),
            native_logp=native.clamp_min(FLOOR).cpu().numpy(),
            target_logp=_log(target).cpu().numpy(),
        )


def _log(values: Tensor) -> Tensor:
    return values.log().clamp_min(FLOOR)
