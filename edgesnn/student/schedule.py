"""Learning rate as a function of the step, so that resuming needs no state."""

from __future__ import annotations

import math

from edgesnn.student.config import TrainConfig


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
