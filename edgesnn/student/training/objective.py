"""What training minimises and how fast: the loss, the optimizer and its learning rate.

The loss is one object that the trainer calls with logits and batch. The learning rate is a function of the
step, so that resuming needs no state.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from edgesnn.student.config import TrainConfig
from edgesnn.student.teacher.rows import JoinedReaders
from edgesnn.student.text.batches import Batch
from edgesnn.student.training.distil_loss import distil_loss

FREE_RATE = 0.25
"""Target of the first step: students without a penalty start, and stay, at 10 to 25 % spikes."""

ANNEALED = 0.5
"""Share of the steps over which the target falls."""


class Distillation:
    """Cross-entropy with the text and, where the cache has a row, KL from the teacher.

    Args:
        cache: The teacher's distributions, or None for the text alone.
        config: Temperature and weights.
    """

    def __init__(self, cache: JoinedReaders | None, config: TrainConfig) -> None:
        self._cache = cache
        self._tau = config.temperature
        self._ce, self._kd = config.weights
        self.parts: dict[str, float] = {}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Loss per scored position; ``parts`` then holds its two parts."""
        rows = None if self._cache is None else self._cache.rows_at(batch.places)
        loss, ce, kd = distil_loss(
            logits, batch.targets, rows, tau=self._tau, alpha_ce=self._ce, alpha_kd=self._kd
        )
        self.parts = {"ce": float(ce), "kd": float(kd)}
        return loss


class TokenLoss(Protocol):
    """A differentiable loss in nats per token."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Scalar loss of logits float32 ``[B, L, V]``."""
        ...


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with betas 0.9 and 0.98; weight decay acts on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # one pass over the parameters; on a GPU torch's own choice is as fast and goes with the gradient scale
    fused = True if all(p.device.type == "cpu" for p in matrices) else None
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=fused)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of optimizer step ``step`` (from 0): linear warm-up, then the schedule down to 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.scheduler == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(config.num_steps - config.warmup_steps, 1)
    if config.scheduler == "linear":
        return config.lr * (1 - done)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def spike_rate_target(config: TrainConfig, step: int) -> float | None:
    """Share of spikes that layers are to stay below in optimizer step ``step`` (from 0), or None.

    It falls in a line from `FREE_RATE` to the target of the configuration over the first `ANNEALED` of the
    steps, so that a student first learns to predict and then to be quiet. Like the learning rate it is a
    function of the step, so that resuming needs no state.
    """
    target = config.spike_rate
    if target is None or target >= FREE_RATE:
        return target
    done = min(1.0, step / (ANNEALED * config.num_steps))
    return FREE_RATE + (target - FREE_RATE) * done
