"""BatchNorm that folds: per channel, over inner time, batch and position, with freezable statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesnn.student.kernels.fused_lif import kernels_for
from edgesnn.student.model.neurons import Statistics

MIN_GAIN = 0.05
"""Gains stay at or above this, so that a norm folds into a positive threshold."""


class FoldableNorm(nn.Module):
    """``weight * (y - mean) / sqrt(var + eps) + bias`` per channel.

    While training and not frozen, mean and variance are those of the batch over all leading axes;
    otherwise the running ones, so that the layer is the affine that is deployed. The layer holds parameters
    and statistics; `edgesnn.student.model.neurons` applies them together with what follows.

    Args:
        channels: Size of the last axis.
        gain: Initial weight.
        eps: Added to the variance.
        momentum: Share of the newest batch in the running statistics.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, gain: float = 1.0, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.frozen = False
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def statistics(self, y: Tensor, update: bool = True) -> Statistics:
        """What y ``[..., C]`` is normalised with.

        Args:
            y: The currents.
            update: Whether the batch's statistics join the running ones; False where a checkpointed pass
                runs again.
        """
        if not self.training or self.frozen:
            return Statistics(self.running_mean, torch.rsqrt(self.running_var + self.eps), False)
        with torch.no_grad():
            mean, variance = kernels_for(y).moments(y.detach())
            if update:
                rows = y.numel() // y.shape[-1]
                unbiased = variance * (rows / max(rows - 1, 1))
                self.running_mean.lerp_(mean.float(), self.momentum)
                self.running_var.lerp_(unbiased.float(), self.momentum)
            return Statistics(mean.float(), torch.rsqrt(variance + self.eps).float(), True)

    def forward(self, y: Tensor) -> Tensor:
        """Normalise ``[..., C]`` with the statistics of `statistics`, here taken as constants."""
        stats = self.statistics(y)
        gain = self.weight * stats.rstd
        return torch.addcmul(self.bias - stats.mean * gain, y, gain)

    @torch.no_grad()
    def constrain_(self) -> None:
        """Project the gain back to ``MIN_GAIN`` or more."""
        self.weight.clamp_(min=MIN_GAIN)
