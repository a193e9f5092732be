"""What a caller learns of a training run while and after it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step.

    Attributes:
        step: Optimizer steps done.
        num_steps: Steps in all.
        loss: Mean loss of the step, nats per token.
        lr: Learning rate of the step.
        spike_rate: Mean over the layers, None where it was not measured in this step.
        tokens_per_s: Mean of this process.
        seconds_left: Estimate.
        logged: Whether this is a step of the log interval.
    """

    step: int
    num_steps: int
    loss: float
    lr: float
    spike_rate: float | None
    tokens_per_s: float
    seconds_left: float
    logged: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: its directory and the content of metadata.json."""

    directory: Path
    metadata: dict[str, Any]


OnProgress = Callable[[Progress], None]

OnDoubt = Callable[[str], None]
"""Told, as a clause, why a teacher is not worth being measured by."""
