"""The loss of distillation, in one autograd function that touches every logit as few times as it can.

    L = sum over positions of  a CE(student, text) + b tau**2 KL(teacher || student) at temperature tau

per scored position. The teacher's distribution is its k best tokens and one bucket for all others: with the
bucket the KL is that of two distributions over k + 1 outcomes. The student's bucket is the exact sum of its
probabilities outside the k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesnn.student.kernels.fused_loss import loss_rows
from edgesnn.student.text.batches import IGNORED

CHUNK = 128
"""Rows whose logits are worked on at a time, so that they stay in the processor's cache."""

_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class TeacherRows:
    """The teacher's distributions at some positions of a batch.

    Attributes:
        rows: int64 ``[m]``, ascending places in the flattened batch.
        ids: int64 ``[m, k]``, tokens.
        logp: float32 ``[m, k]``, log-probabilities at temperature ``tau``.
        tail: float32 ``[m]``, log of the remaining probability at temperature ``tau``.
    """

    rows: Tensor
    ids: Tensor
    logp: Tensor
    tail: Tensor


def at_temperature(logp: Tensor, tail_log_sum: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Distribution at a temperature from log-probabilities at 1.

    Args:
        logp: ``[m, k]`` log-probabilities of the k best.
        tail_log_sum: ``[m]``, log of the sum of ``q**(1/tau)`` over all others.
        tau: Temperature.

    Returns:
        Log-probabilities ``[m, k]`` and of the tail ``[m]`` at ``tau``.
    """
    scaled = logp / tau
    total = torch.logaddexp(torch.logsumexp(scaled, dim=1), tail_log_sum)
    return scaled - total[:, None], tail_log_sum - total


class _DistilLoss(torch.autograd.Function):
    """Loss and gradient in one pass over chunks of rows; the gradient replaces nothing, it is kept."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917 - torch's interface
        ctx: Any, logits: Tensor, targets: Tensor, teacher: TeacherRows | None, tau: float, alpha_ce: float,
        alpha_kd: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        scored = targets != IGNORED
        count = int(scored.sum())
        grad = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        weights = alpha_ce / max(count, 1), alpha_kd * tau / max(count, 1)
        taught = None if teacher is None else (teacher.rows, teacher.ids, teacher.logp, teacher.tail)
        sums = loss_rows(logits, targets, taught, grad, tau=tau, weights=weights)
        if sums is None:
            sums = _torch_rows(logits, targets, teacher, grad, tau=tau, weights=weights)
        ce = logits.new_tensor(sums[0] / max(count, 1), dtype=torch.float32)
        kd = logits.new_tensor(
            sums[1] / max(0 if teacher is None else len(teacher.rows), 1), dtype=torch.float32
        )
        share = (len(teacher.rows) if teacher is not None else 0) / max(count, 1)
        if grad is not None:
            ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(ce, kd)
        return alpha_ce * ce + alpha_kd * tau * tau * share * kd, ce, kd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (grad,) = ctx.saved_tensors
        if grad.device.type != "cpu" or float(grad_loss) != 1.0:
            grad.mul_(grad_loss.to(grad.dtype))
        return grad, None, None, None, None, None


def _torch_rows(
    logits: Tensor,
    targets: Tensor,
    teacher: TeacherRows | None,
    grad: Tensor | None,
    *,
    tau: float,
    weights: tuple[float, float],
) -> tuple[float, float]:
    """As `edgesnn.student.kernels.fused_loss.loss_rows`, on any device."""
    scored = targets != IGNORED
    ce_sum = logits.new_zeros((), dtype=torch.float64)
    kd_sum = torch.zeros_like(ce_sum)
    bounds = None
    if teacher is not None:
        edges = torch.arange(0, len(logits) + CHUNK, CHUNK, device=logits.device)
        bounds = torch.searchsorted(teacher.rows, edges).tolist()
    for index, start in enumerate(range(0, len(logits), CHUNK)):
        part = logits[start : start + CHUNK].float()
        target, mask = targets[start : start + CHUNK], scored[start : start + CHUNK]
        safe = target.masked_fill(~mask, 0)[:, None]
        log_p = torch.log_softmax(part, dim=1)
        ce_sum -= (log_p.gather(1, safe)[:, 0] * mask).sum(dtype=torch.float64)
        piece = None
        if grad is not None:
            weight = (mask.float() * weights[0])[:, None]
            piece = torch.exp(log_p)
            piece.scatter_add_(1, safe, piece.new_full(safe.shape, -1.0)).mul_(weight)
        if teacher is not None and bounds is not None and bounds[index] < bounds[index + 1]:
            span = slice(bounds[index], bounds[index + 1])
            rows = teacher.rows[span] - start
            kd, kd_grad = _tail_kl(part[rows], teacher.ids[span], teacher.logp[span], teacher.tail[span], tau)
            kd_sum += kd
            if piece is not None:
                piece.index_add_(0, rows, kd_grad, alpha=weights[1])
        if grad is not None and piece is not None:
            grad[start : start + CHUNK] = piece
    return float(ce_sum), float(kd_sum)


def _tail_kl(logits: Tensor, ids: Tensor, logp: Tensor, tail: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Sum of KL(teacher || student) over rows, and its gradient for ``logits / tau``."""
    scaled = logits / tau if tau != 1.0 else logits
    student = torch.log_softmax(scaled, dim=1)
    at = student.gather(1, ids)
    # what is left once the k are gone, summed without subtraction
    p = torch.exp(student)
    rest = p.scatter(1, ids, 0.0)
    rest_sum = rest.sum(dim=1).clamp_min_(_TINY)
    q, q_tail = torch.exp(logp), torch.exp(tail)
    kl = (q * (logp - at)).sum(dim=1) + q_tail * (tail - torch.log(rest_sum))
    # d KL / d scaled_j = p_j - q_j for the k, and p_j (1 - q_tail / p_tail) for the others
    grad = rest.mul_((1 - q_tail / rest_sum)[:, None])
    grad.scatter_(1, ids, torch.exp(at) - q)
    return kl.sum(dtype=torch.float64), grad


def distil_loss(
    logits: Tensor,
    targets: Tensor,
    teacher: TeacherRows | None,
    *,
    tau: float,
    alpha_ce: float,
    alpha_kd: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch.

    Args:
        logits: ``[B, L, V]``, float32 or a 16-bit float; sums are float32 and float64.
        targets: int64 ``[B, L]``, ``IGNORED`` at padding.
        teacher: The teacher's rows at temperature ``tau``, or None.
        tau: Temperature.
        alpha_ce: Weight of the cross-entropy.
        alpha_kd: Weight of the distillation.

    Returns:
        The loss per scored position, which alone is differentiable; the mean cross-entropy in nats; the mean
        KL per row of the teacher in nats at ``tau``. A position without the teacher counts as 0 in the
        distillation's mean.
    """
    result: tuple[Tensor, Tensor, Tensor] = _DistilLoss.apply(  # type: ignore[no-untyped-call]
        logits.flatten(0, 1), targets.flatten(), teacher, tau, alpha_ce, alpha_kd
    )
    return result
