"""What training minimises: one object that the trainer calls with logits and batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from edgesnn.student.batches import IGNORED, Batch


class Loss(Protocol):
    """A differentiable loss in nats per token."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Scalar loss of logits float32 ``[B, L, V]``."""
        ...


class CrossEntropy:
    """Cross-entropy with the next token, padding masked out."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean over the scored positions of the batch."""
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED
        )
