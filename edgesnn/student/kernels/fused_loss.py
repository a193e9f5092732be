"""The compiled loss of distillation, ``fused_loss.c``; `edgesnn.student.training.distil_loss` defines it."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from edgesnn.student.kernels.library import NAMES, integer, pointer, serving, split, spread

MIN_ROWS = 64
"""Fewer rows than this per thread are not worth a thread."""

Taught = tuple[Tensor, Tensor, Tensor, Tensor]
"""Places int64 ``[m]``, ids ``[m, k]``, log-probabilities ``[m, k]`` and of the tail ``[m]`` of a teacher."""


def loss_rows(
    logits: Tensor,
    targets: Tensor,
    taught: Taught | None,
    grad: Tensor | None,
    *,
    tau: float,
    weights: tuple[float, float],
) -> tuple[float, float] | None:
    """Sums of cross-entropy and KL over rows, and the gradient of their weighted sum.

    Args:
        logits: float32 or bfloat16 ``[N, V]``.
        targets: int64 ``[N]``; a negative one is not scored.
        taught: The teacher's rows at temperature ``tau``, or None.
        grad: Like logits, filled here; None where no gradient is asked for.
        tau: Temperature.
        weights: What a row's cross-entropy, and the KL of ``logits / tau`` by its own logits, count in grad.

    Returns:
        Nats of the cross-entropy and of the KL, or None where torch has to do it.
    """
    library = serving(logits)
    if library is None or logits.shape[1] < 1:
        return None
    logits, targets = logits.contiguous(), targets.contiguous()
    count, vocab = logits.shape
    rows = torch.full((count,), -1, dtype=torch.int64)
    ids = logp = tail = None
    if taught is not None:
        places, ids, logp, tail = taught
        rows[places] = torch.arange(len(places))
        ids, logp, tail = ids.contiguous(), logp.float().contiguous(), tail.float().contiguous()
    sums = torch.zeros((len(split(count, MIN_ROWS)), 2), dtype=torch.float64)
    function = getattr(library, f"distil_rows_{NAMES[logits.dtype]}")
    spread(
        MIN_ROWS,
        count,
        lambda part, first, last: function(
            pointer(logits), pointer(targets), pointer(rows), pointer(ids), pointer(logp), pointer(tail),
            pointer(grad), pointer(sums[part]), integer(vocab), integer(0 if ids is None else ids.shape[1]),
            ctypes.c_float(tau), ctypes.c_float(weights[0]), ctypes.c_float(weights[1]), integer(first),
            integer(last),
        ),
    )  # fmt: skip
    ce, kd = sums.sum(dim=0).tolist()
    return ce, kd
